"""
What differs between two versions of a ruleset, for generated ones.
"""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime
from typing import Any

from edictum_console.domains.rulesets.schemas import Diff, RulesetVersion
from edictum_console.domains.rulesets.service import StoredRuleset, difference
from edictum_console.ids import new_id
from hypothesis import example, given, settings
from hypothesis import strategies as st

_HUNK = re.compile(r"@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@")

# Rules by their ids, which may mean one of two things.
rules = st.dictionaries(st.sampled_from("abcde"), st.sampled_from([".env", ".pem"]), min_size=1).flatmap(
    lambda found: st.permutations(list(found.items()))
)
modes = st.sampled_from(["enforce", "observe"])
endings = st.sampled_from(["", "\n", "\n\n", "\n# \u00e9\n", "\r\n"])
versions = st.tuples(modes, rules, endings)


def ruleset(mode: str, listed: list[tuple[str, str]], ending: str) -> str:
    head = f"apiVersion: edictum/v1\nkind: Ruleset\nmetadata:\n  name: docs-rules\ndefaults:\n  mode: {mode}\nrules:"
    body = "".join(
        f'\n  - id: {name}\n    type: pre\n    tool: read_file\n    when:\n      args.path: {{contains: "{text}"}}'
        "\n    then:\n      action: block\n      message: not this file"
        for name, text in listed
    )
    return head + body + ending


def applied(before: str, diff: str) -> str:
    """
    Apply a unified diff.
    """
    if not diff:
        return before
    old, new, position = before.split("\n"), [], 0
    for line in diff.split("\n")[2:]:
        hunk = _HUNK.fullmatch(line)
        if hunk:
            first = int(hunk[1]) - (1 if hunk[2] != "0" else 0)
            new += old[position:first]
            position = first
        elif line[0] == "+":
            new.append(line[1:])
        else:
            assert old[position] == line[1:]
            new += [line[1:]] if line[0] == " " else []
            position += 1
    return "\n".join(new + old[position:])


def differing(before: str, after: str) -> Diff:
    version = RulesetVersion(new_id(), "docs-rules", 1, "0" * 64, 1, "", "ana", datetime.now(UTC))
    return asyncio.run(difference(StoredRuleset(version, before), 2, after))


@settings(max_examples=40, deadline=None)
@given(versions, versions)
@example(("enforce", [("a", ".env")], ""), ("enforce", [("a", ".env")], "\n"))
@example(("enforce", [("a", ".env")], "\n"), ("enforce", [("a", ".env")], "\r\n"))
def test_diff_of_two_versions_says_how_one_becomes_the_other(one: Any, other: Any) -> None:
    (mode, listed, _), (new_mode, new_listed, _) = one, other
    before, after = ruleset(*one), ruleset(*other)
    found = differing(before, after)
    assert applied(before, found.text) == after
    old, new = dict(listed), dict(new_listed)
    assert {rule.id for rule in found.added} == new.keys() - old.keys()
    assert {rule.id for rule in found.removed} == old.keys() - new.keys()
    both = old.keys() & new.keys()
    # The mode is part of what each rule means.
    assert {rule.id for rule in found.changed} == {name for name in both if mode != new_mode or old[name] != new[name]}
    assert bool(found.settings) == (mode != new_mode)
    stayed = [name for name, _ in listed if name in both], [name for name, _ in new_listed if name in both]
    assert bool(found.moved) == (stayed[0] != stayed[1])
