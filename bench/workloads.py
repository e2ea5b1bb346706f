"""
The rulesets and the tool calls that the benchmark plays: plain data, the same for every engine.

* ``W1`` one rule; ``W2`` twelve mixed rules, nine of which apply to the benchmarked tool.
* ``N100``, ``W3``, ``W4``: 100, 1,000 and 10,000 rules.  Fourteen apply to the benchmarked tool, evenly
  spread; the others are for other tools, so a growing time is the price of rules that do not matter.
* ``POST`` one rule that looks for five kinds of secret in a tool's output.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any, NamedTuple

Rule = dict[str, Any]

POOL = 300  # different calls per kind, so that no engine lives off one cached object


class Call(NamedTuple):
    """
    One tool call and what the tool will answer.
    """

    tool: str
    args: dict[str, Any]
    output: str = "ok"


def _rule(rule_id: str, tool: str, when: dict[str, Any], kind: str = "pre", action: str = "block") -> Rule:
    then = {"action": action, "message": f"{rule_id}: not allowed for {{tool.name}}, choose another way."}
    return {"id": rule_id, "type": kind, "tool": tool, "when": when, "then": then}


SECRETS = [
    r"\bAKIA[0-9A-Z]{16}\b",
    r"\bghp_[A-Za-z0-9]{36}\b",
    r"\bxox[bpas]-[A-Za-z0-9-]{10,}",
    r"\b\d{3}-\d{2}-\d{4}\b",
    r"\b[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+\.[A-Za-z]{2,}\b",
]

MAIN_BRANCH = {"args.options.branch": {"in": ["main", "release"]}}
PRIVATE_KEY = {"args.content": {"contains": "PRIVATE KEY"}}
STAGING = {"environment": {"equals": "staging"}}

ONE_RULE = [_rule("no-env", "write_file", {"args.path": {"contains": ".env"}})]

POST_RULE = [_rule("secrets", "read_file", {"output.text": {"matches_any": SECRETS}}, "post", "redact")]

TWELVE_RULES = [
    _rule("secret-paths", "write_file", {"args.path": {"contains_any": [".env", ".pem", "id_rsa", "/.ssh/"]}}),
    _rule("no-git-internals", "*_file", {"args.path": {"matches": r"(^|/)\.git/"}}),
    _rule("file-mode", "write_file", {"args.options.mode": {"in": ["0777", "0666", "4755"]}}),
    _rule(
        "protected-branch",
        "write_file",
        {"all": [MAIN_BRANCH, {"principal.role": {"not_in": ["maintainer"]}}]},
    ),
    _rule("private-keys", "write_*", {"any": [PRIVATE_KEY, {"args.content": {"matches_any": SECRETS[:2]}}]}),
    _rule("known-branches", "write_file", {"not": {"args.options.branch": {"matches": "^(main|feature/|fix/)"}}}),
    _rule("too-large", "write_file", {"args.options.size": {"gt": 1_000_000}}),
    _rule("output-secrets", "*_file", {"output.text": {"matches_any": SECRETS[:3]}}, "post", "warn"),
    _rule("destructive", "bash", {"args.command": {"matches_any": [r"\brm\s+-rf\b", r"\bmkfs\b"]}}),
    _rule("metadata-host", "http_request", {"args.url": {"contains": "169.254.169.254"}}),
    _rule("bash-output", "bash", {"output.text": {"contains": "BEGIN CERTIFICATE"}}, "post", "redact"),
    {
        "id": "calls",
        "type": "session",
        "limits": {"max_tool_calls": 180, "max_attempts": 400, "max_calls_per_tool": {"write_file": 170}},
        "then": {"action": "block", "message": "session limit reached, stop here."},
    },
]

FIVE_MORE = [
    _rule("lockfiles", "write_file", {"args.path": {"ends_with": ".lock"}}),
    _rule("vendor", "write_file", {"args.path": {"starts_with": "vendor/"}}),
    _rule("contractors", "write_*", {"principal.claims.contract": {"equals": "external"}}),
    _rule("no-dry-run", "write_file", {"args.options.dry_run": {"equals": True}}),
    _rule("staging", "write_file", {"all": [STAGING, {"args.options.force": {"exists": True}}]}),
]


def _rule_for_another_tool(number: int) -> Rule:
    name = f"other-{number}"
    if number % 20 == 0:
        return _rule(name, f"svc{number}_*", {"args.url": {"matches": rf"^http://svc{number}\b"}})
    tests: list[dict[str, Any]] = [
        {"args.target": {"contains": f"prod-{number}"}},
        {"args.options.level": {"in": ["root", f"level-{number}"]}},
        {"all": [{"principal.role": {"equals": "guest"}}, {"args.count": {"gte": number}}]},
    ]
    return _rule(name, f"tool_{number}", tests[number % 3])


def _many_rules(count: int) -> list[Rule]:
    """
    Fill up to ``count`` rules, the ones that matter at even distances.
    """
    relevant = TWELVE_RULES + FIVE_MORE
    step = count / len(relevant)
    places = {int(index * step): rule for index, rule in enumerate(relevant)}
    return [places.get(number) or _rule_for_another_tool(number) for number in range(count)]


def ruleset(name: str) -> dict[str, Any]:
    """
    Build one of the rulesets named in the module's docstring.
    """
    rules: dict[str, Callable[[], list[Rule]]] = {
        "W1": lambda: ONE_RULE,
        "W2": lambda: TWELVE_RULES,
        "N100": lambda: _many_rules(100),
        "W3": lambda: _many_rules(1_000),
        "W4": lambda: _many_rules(10_000),
        "POST": lambda: POST_RULE,
    }
    return {
        "apiVersion": "edictum/v1",
        "kind": "Ruleset",
        "metadata": {"name": name.lower()},
        "defaults": {"mode": "enforce"},
        "tools": {"write_file": {"side_effect": "write"}, "read_file": {"side_effect": "read"}},
        "rules": rules[name](),
    }


def to_yaml(value: Any, indent: int = 0) -> str:
    """
    Write plain data as block-style YAML, the way people write rulesets; lists of texts stay on one line.
    """
    pad = "  " * indent
    if isinstance(value, dict) and value:
        lines = []
        for key, item in value.items():
            flat = not isinstance(item, dict | list) or (isinstance(item, list) and isinstance(item[0], str))
            lines.append(f"{pad}{key}: {json.dumps(item)}" if flat else f"{pad}{key}:\n{to_yaml(item, indent + 1)}")
        return "\n".join(lines)
    if isinstance(value, list):
        return "\n".join(f"{pad}- {to_yaml(item, indent + 1).lstrip()}" for item in value)
    return pad + json.dumps(value)


def _write_file(rng: random.Random, number: int) -> Call:
    path = f"src/package_{rng.randrange(90)}/module_{number}.py"
    options = {"mode": "0644", "size": rng.randrange(10_000), "branch": f"feature/{number}"}
    args = {"path": path, "content": f"value = {number}\n", "options": options}
    return Call("write_file", args)


def _nothing(rng: random.Random, number: int) -> Call:
    return Call("list_tickets", {"project": f"team-{rng.randrange(30)}", "page": number, "state": "open"})


def _blocked(rng: random.Random, number: int) -> Call:
    call = _write_file(rng, number)
    return call._replace(args=call.args | {"path": f"deploy/stage_{number}/.env"})


def _four_kilobytes(rng: random.Random, number: int) -> Call:
    """
    75 leaves, about 4 KB as JSON, four levels deep.
    """
    call = _write_file(rng, number)
    sections = {}
    for part in range(9):
        items = [_words(rng, 62) for _ in range(5)]
        sections[f"section_{part}"] = {"title": f"part {part} of {number}", "items": items, "rank": part}
    more = {f"note_{part}": _words(rng, 50) for part in range(5)}
    return call._replace(args=call.args | {"document": {"sections": sections}} | more)


def _mix(rng: random.Random, number: int) -> Call:
    kinds = [_nothing] * 6 + [_blocked] * 3 + [_four_kilobytes] + [_write_file] * 10
    return kinds[number % len(kinds)](rng, number)


WORDS = [
    "the",
    "report",
    "of",
    "last",
    "week",
    "was",
    "sent",
    "to",
    "every",
    "team",
    "and",
    "found",
    "no",
    "error",
]
NEAR_MISSES = ["AKIA123", "ghp_short", "xoxb-1", "123-45-67", "12-34-5678", "name@host", "a.b@c", *WORDS * 3]


def _words(rng: random.Random, length: int, words: list[str] = WORDS) -> str:
    parts: list[str] = []
    size = 0
    while size < length:
        parts.append(rng.choice(words))
        size += len(parts[-1]) + 1
    return " ".join(parts)[:length]


def _reading(size: int, words: list[str]) -> Callable[[random.Random, int], Call]:
    def call(rng: random.Random, number: int) -> Call:
        return Call("read_file", {"path": f"logs/run_{number}.log"}, _words(rng, size, words))

    return call


def calls(kind: str) -> list[Call]:
    """
    Build the pool of calls of one kind; the same pool in every process.
    """
    makers: dict[str, Callable[[random.Random, int], Call]] = {
        "allowed": _write_file,
        "nothing": _nothing,
        "blocked": _blocked,
        "args4k": _four_kilobytes,
        "mix": _mix,
        "clean8k": _reading(8_192, WORDS),
        "clean64k": _reading(65_536, WORDS),
        "near64k": _reading(65_536, NEAR_MISSES),
    }
    rng = random.Random(kind)
    return [makers[kind](rng, number) for number in range(20 if kind.endswith("64k") else POOL)]
