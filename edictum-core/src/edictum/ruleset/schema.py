"""
The ruleset language as a JSON Schema, for editors and other tools.

The reader does not use it: it would cost time at every load and its error texts help nobody.  A property test
holds the two together.  What a schema cannot say is left to the reader alone: unique ids, nesting of expressions,
whether a pattern is admitted, custom operators and selectors, the size of the whole document.
"""

from __future__ import annotations

from typing import Any

from edictum.ruleset.syntax import API_VERSION, KIND
from edictum.ruleset.vocabulary import (
    ACTIONS,
    AFTER_CALL_ROOTS,
    BUILTIN_OPERATORS,
    DEFAULT_TIMEOUT_SECONDS,
    MAX_ITEMS,
    MAX_MESSAGE_LENGTH,
    MAX_PATTERN_LENGTH,
    MAX_RULES,
    METADATA_NAME,
    MODES,
    OTEL_PROTOCOLS,
    OUTSIDE_ACTIONS,
    RESERVED_METADATA,
    RULE_ID,
    SANDBOX_NEEDS_DOMAINS,
    SANDBOX_NEEDS_ROOTS,
    SANDBOX_ROOTS,
    SANDBOX_SWITCHES,
    SELECTOR_MAPS,
    SELECTOR_ROOTS,
    SIDE_EFFECTS,
    TIMEOUT_ACTIONS,
)

Schema = dict[str, Any]

_TEXT: Schema = {"type": "string", "minLength": 1}
_BOOL: Schema = {"type": "boolean"}
_COUNT: Schema = {"type": "integer", "minimum": 1}
_MESSAGE: Schema = {
    "type": "string",
    "minLength": 1,
    "maxLength": MAX_MESSAGE_LENGTH,
    "description": "Text for the agent: why, and what to do instead.",
}
_PATTERN: Schema = {"type": "string", "minLength": 1, "maxLength": MAX_PATTERN_LENGTH, "format": "regex"}
_OPERANDS: dict[str, Schema] = {
    "any": {},
    "bool": _BOOL,
    "text": {"type": "string"},
    "pattern": _PATTERN,
    "number": {"type": "number"},
    "list": {"type": "array", "minItems": 1, "maxItems": MAX_ITEMS},
    "texts": {"type": "array", "minItems": 1, "maxItems": MAX_ITEMS, "items": {"type": "string"}},
    "patterns": {"type": "array", "minItems": 1, "maxItems": MAX_ITEMS, "items": _PATTERN},
}


def ruleset_schema() -> Schema:
    """
    Build the schema of a ruleset document.

    Returns:
        JSON Schema, draft 2020-12, as plain data that the caller may change.
    """
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Edictum ruleset",
        **_closed(
            {
                "apiVersion": {"const": API_VERSION},
                "kind": {"const": KIND},
                "metadata": _closed(
                    {"name": _name(METADATA_NAME), "description": {"type": "string"}}, required=["name"]
                ),
                "defaults": _closed({"mode": _enum(MODES)}, required=["mode"]),
                "extends": _name(METADATA_NAME),
                "rules": {
                    "type": "array",
                    "maxItems": MAX_RULES,
                    "items": {"$ref": "#/$defs/rule"},
                },
                "tools": {"type": "object", "additionalProperties": {"$ref": "#/$defs/tool"}},
                "observability": {"$ref": "#/$defs/observability"},
                "observe_alongside": {**_BOOL, "default": False},
            },
            required=["apiVersion", "kind", "metadata", "defaults"],
        ),
        "if": {"required": ["extends"]},
        "else": {
            "required": ["rules"],
            "properties": {"rules": {"minItems": 1, "items": {"properties": {"override": {"const": False}}}}},
        },
        "$defs": {
            "rule": _rule(),
            "pre": _call_rule("pre", "before_call"),
            "post": _call_rule("post", "after_call"),
            "session": _session_rule(),
            "sandbox": _sandbox_rule(),
            "before_call": _expression("before_call", AFTER_CALL_ROOTS),
            "after_call": _expression("after_call", frozenset()),
            "test": _test(),
            "tool": _closed(
                {"side_effect": _enum(SIDE_EFFECTS), "idempotent": {**_BOOL, "default": False}},
                required=["side_effect"],
            ),
            "observability": _observability(),
        },
    }


def _closed(properties: Schema, *, required: list[str] | None = None, **more: Any) -> Schema:
    schema: Schema = {"type": "object", "properties": properties, "additionalProperties": False, **more}
    if required:
        schema["required"] = required
    return schema


def _enum(words: tuple[str, ...], **more: Any) -> Schema:
    return {"enum": list(words), **more}


def _name(form: str) -> Schema:
    return {"type": "string", "pattern": f"^{form}$"}


def _texts(shortest: int = 1) -> Schema:
    return {"type": "array", "minItems": shortest, "maxItems": MAX_ITEMS, "items": dict(_TEXT)}


def _rule() -> Schema:
    """
    Chooses by ``type``, so that an editor shows the problems of that type only.
    """
    kinds = ("pre", "post", "session", "sandbox")
    return {
        "type": "object",
        "required": ["type"],
        "properties": {"type": _enum(kinds)},
        "allOf": [
            {
                "if": {"properties": {"type": {"const": kind}}, "required": ["type"]},
                "then": {"$ref": f"#/$defs/{kind}"},
            }
            for kind in kinds
        ],
    }


def _head(kind: str) -> Schema:
    return {
        "id": _name(RULE_ID),
        "type": {"const": kind},
        "enabled": {**_BOOL, "default": True},
        "mode": _enum(MODES),
        "override": {**_BOOL, "default": False, "description": "Replace the inherited rule of this id."},
        "locked": {**_BOOL, "default": False, "description": "No later layer may make this rule weaker."},
    }


def _tool_patterns() -> Schema:
    pattern = {"type": "string", "pattern": "^[^{]+$", "description": "A tool name, a glob, or * for every tool."}
    return {"tool": pattern, "tools": {**_texts(), "items": dict(pattern)}}


_ONE_OF_TOOL_AND_TOOLS = [{"required": ["tool"]}, {"required": ["tools"]}]


def _timeouts() -> Schema:
    return {
        "timeout": {**_COUNT, "default": DEFAULT_TIMEOUT_SECONDS, "description": "Seconds to wait for a person."},
        "timeout_action": _enum(TIMEOUT_ACTIONS, default=TIMEOUT_ACTIONS[0]),
        "timeout_effect": _enum(TIMEOUT_ACTIONS, description="Synonym of timeout_action."),
    }


def _same_timeout_words() -> Schema:
    """
    Refuses ``timeout_action`` and ``timeout_effect`` that differ.
    """
    both = {"required": ["timeout_action", "timeout_effect"]}
    return {
        "if": both,
        "then": {
            "anyOf": [
                {"properties": {"timeout_action": {"const": word}, "timeout_effect": {"const": word}}}
                for word in TIMEOUT_ACTIONS
            ]
        },
    }


def _then(kind: str) -> Schema:
    properties: Schema = {
        "action": _enum(ACTIONS[kind]),
        "message": dict(_MESSAGE),
        "tags": _texts(shortest=0),
        "metadata": {
            "type": "object",
            "propertyNames": {"not": {"enum": sorted(RESERVED_METADATA)}},
            "description": "Free data, copied to the decision.",
        },
    }
    more: Schema = {}
    if kind == "pre":
        properties.update(_timeouts())
        more = _same_timeout_words()
    return _closed(properties, required=["action", "message"], **more)


def _call_rule(kind: str, expression: str) -> Schema:
    properties = {
        **_head(kind),
        **_tool_patterns(),
        "when": {"$ref": f"#/$defs/{expression}"},
        "then": _then(kind),
    }
    return _closed(properties, required=["id", "type", "when", "then"], oneOf=_ONE_OF_TOOL_AND_TOOLS)


def _session_rule() -> Schema:
    limits = _closed(
        {
            "max_tool_calls": dict(_COUNT),
            "max_attempts": dict(_COUNT),
            "max_calls_per_tool": {
                "type": "object",
                "minProperties": 1,
                "additionalProperties": dict(_COUNT),
            },
        },
        minProperties=1,
    )
    return _closed(
        {**_head("session"), "limits": limits, "then": _then("session")},
        required=["id", "type", "limits", "then"],
    )


def _sandbox_rule() -> Schema:
    """
    Which keys need others is said one by one, so that an editor names the missing one.
    """
    lists = {"commands": _texts(), "domains": _texts()}
    properties = {
        **_head("sandbox"),
        **_tool_patterns(),
        **_timeouts(),
        **{key: _texts() for key in (*SANDBOX_ROOTS, "not_within", "path_dirs", "schemes")},
        **{key: {**_BOOL, "default": False} for key in SANDBOX_SWITCHES},
        "base": dict(_TEXT),
        "allows": _closed(lists, minProperties=1),
        "not_allows": _closed(lists, minProperties=1),
        "outside": _enum(OUTSIDE_ACTIONS, default="block"),
        "message": dict(_MESSAGE),
    }
    any_root: Schema = {"anyOf": [{"required": [key]} for key in SANDBOX_ROOTS]}
    denies_domains = {"required": ["not_allows"], "properties": {"not_allows": {"required": ["domains"]}}}
    return _closed(
        properties,
        required=["id", "type", "message"],
        oneOf=_ONE_OF_TOOL_AND_TOOLS,
        anyOf=[any_root, {"required": ["allows"]}],
        dependentRequired={"not_allows": ["allows"]},
        dependentSchemas={
            **dict.fromkeys(SANDBOX_NEEDS_ROOTS, any_root),
            **dict.fromkeys(SANDBOX_NEEDS_DOMAINS, _allows("domains")),
            "path_dirs": _allows("commands"),
        },
        allOf=[_same_timeout_words(), {"if": denies_domains, "then": _allows("domains")}],
    )


def _allows(key: str) -> Schema:
    return {"required": ["allows"], "properties": {"allows": {"required": [key]}}}


def _expression(name: str, excluded_roots: frozenset[str]) -> Schema:
    nested = {"$ref": f"#/$defs/{name}"}
    several = {"type": "array", "minItems": 1, "maxItems": MAX_ITEMS, "items": nested}
    return {
        "type": "object",
        "minProperties": 1,
        "maxProperties": 1,
        "properties": {"all": several, "any": several, "not": nested},
        "patternProperties": {_selectors(excluded_roots): {"$ref": "#/$defs/test"}},
        "additionalProperties": False,
    }


def _selectors(excluded_roots: frozenset[str]) -> str:
    """
    Regular expression of the built-in selectors.
    """
    step = r"\.[^.]+"
    forms = []
    for root, fields in SELECTOR_ROOTS.items():
        if root in excluded_roots:
            continue
        if fields is None:
            forms.append(root)
        elif not fields:
            forms.append(f"{root}(?:{step})+")
        else:
            forms.extend(
                rf"{root}\.{field}(?:{step})+" if f"{root}.{field}" in SELECTOR_MAPS else rf"{root}\.{field}"
                for field in fields
            )
    return f"^(?:{'|'.join(forms)})$"


def _test() -> Schema:
    return _closed(
        {operator: dict(_OPERANDS[kind]) for operator, kind in BUILTIN_OPERATORS.items()},
        minProperties=1,
        maxProperties=1,
    )


def _observability() -> Schema:
    otel = _closed(
        {
            "enabled": {**_BOOL, "default": False},
            "endpoint": dict(_TEXT),
            "protocol": _enum(OTEL_PROTOCOLS, default="grpc"),
            "service_name": dict(_TEXT),
            "insecure": {**_BOOL, "default": True},
            "resource_attributes": {"type": "object", "additionalProperties": {"type": "string"}},
        }
    )
    return _closed(
        {"otel": otel, "stdout": dict(_BOOL), "file": {"type": ["string", "null"]}},
    )
