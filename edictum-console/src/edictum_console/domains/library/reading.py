"""
Reading single rules with the core's own loader, so that what is in the library loads in an agent.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from functools import cache
from typing import Any

import attrs
from edictum import Edictum, EdictumConfigError, RedactionPolicy
from edictum.loading import load_contents
from edictum.migrate import upgrade_ruleset
from edictum.ruleset.document import read_document
from edictum.ruleset.expressions import Names

from edictum_console.domains.library.schemas import Template
from edictum_console.domains.rulesets.reading import read_ruleset, unloadable
from edictum_console.errors import FieldProblem, InvalidError

_LARGEST_DEFINITION = 64 * 1024
_LONGEST_ID = 128
_WHERE = "rules[0]"

# Stand where an id does in paths.
_PATH_WORDS = ("templates",)

# Belong to a document rather than to its rules, and say nothing that a composition lacks.
_NO_PARTS = ("apiVersion", "kind", "metadata", "defaults", "rules")


async def read_definition(definition: Mapping[str, Any]) -> dict[str, Any]:
    """
    Check a rule.

    Returns:
        The rule, in today's vocabulary.

    Raises:
        InvalidError: No agent can load it; says where.
    """
    return await asyncio.to_thread(_read_definition, definition)


@attrs.frozen
class Parts:
    """
    A ruleset taken apart.

    Attributes:
        rules: Its rules, in today's vocabulary, each with the mode that it had by default.
        others: The names of what else it says.
    """

    rules: list[dict[str, Any]]
    others: list[str]


async def take_apart(text: str) -> Parts:
    """
    Take a ruleset apart.

    Raises:
        UnloadableError: No agent can load it.
        InvalidError: One of its rules cannot be in the library.
    """
    await read_ruleset(text)
    return await asyncio.to_thread(_take_apart, text)


async def templates() -> list[Template]:
    """
    Return the rulesets that come with the core.
    """
    return await asyncio.to_thread(_templates)


def canonical(definition: Mapping[str, Any]) -> str:
    """
    Write a rule as it is stored; the order of its keys is kept, for people.
    """
    return json.dumps(definition, separators=(",", ":"))


def _read_definition(definition: Mapping[str, Any]) -> dict[str, Any]:
    if len(canonical(definition)) > _LARGEST_DEFINITION:
        raise _refused("", f"is larger than {_LARGEST_DEFINITION // 1024} KiB")
    document = {
        "apiVersion": "edictum/v1",
        "kind": "Ruleset",
        "metadata": {"name": "library"},
        "defaults": {"mode": "enforce"},
        "rules": [definition],
    }
    try:
        upgraded, _ = upgrade_ruleset(document)
        load_contents([upgraded], Names(environ={}), RedactionPolicy())
    except EdictumConfigError as error:
        problems = [_problem(problem.path, problem.message) for problem in unloadable(error).problems]
        first = problems[0]
        raise InvalidError(f"{'.'.join(map(str, first.loc))}: {first.msg}", problems, "invalid_contract") from None
    rule: dict[str, Any] = upgraded["rules"][0]
    _check_id(rule["id"])
    return rule


def _take_apart(text: str) -> Parts:
    upgraded, _ = upgrade_ruleset(read_document(text).data)
    rules = upgraded["rules"]
    for rule in rules:
        _check_id(rule["id"])
        if upgraded["defaults"]["mode"] != "enforce":
            rule.setdefault("mode", upgraded["defaults"]["mode"])
    return Parts(rules, sorted(name for name in upgraded if name not in _NO_PARTS))


def _check_id(rule_id: str) -> None:
    if len(rule_id) > _LONGEST_ID:
        raise _refused("id", f"is longer than {_LONGEST_ID} characters")
    if rule_id in _PATH_WORDS:
        raise _refused("id", f"must not be one of: {', '.join(_PATH_WORDS)}; paths have them")


def _problem(path: str, message: str) -> FieldProblem:
    inside = path.removeprefix(_WHERE).removeprefix(".") if path.startswith(_WHERE) else path
    return FieldProblem(("definition", inside) if inside else ("definition",), message)


def _refused(path: str, message: str) -> InvalidError:
    problem = _problem(path, message)
    return InvalidError(f"{'.'.join(map(str, problem.loc))}: {message}", [problem], "invalid_contract")


@cache
def _templates() -> list[Template]:
    found = []
    for template in Edictum.list_templates():
        text = template.path.read_text(encoding="utf-8")
        data = read_document(text).data
        description = data["metadata"].get("description", "")
        found.append(Template(template.name, description, len(data["rules"]), text))
    return sorted(found, key=lambda template: template.name)
