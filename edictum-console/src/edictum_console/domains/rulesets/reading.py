"""
Reading a ruleset with the core's own loader, so that what is stored loads in an agent.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from typing import Any

import attrs
from edictum import EdictumConfigError, RedactionPolicy
from edictum.loading import load_contents
from edictum.ruleset.comparison import Comparison, compare_rulesets
from edictum.ruleset.document import read_document
from edictum.ruleset.expressions import Names

from edictum_console.domains.rulesets.schemas import RulesetProblem
from edictum_console.http.bodies import IDENTIFIER

LARGEST_RULESET = 512 * 1024

# Words that stand where a name does in paths.
_PATH_WORDS = ("current", "evaluate", "validate")


class UnloadableError(Exception):
    """
    A text is no ruleset that an agent can load.

    Attributes:
        problems: What is wrong, and where.
    """

    def __init__(self, problems: list[RulesetProblem]) -> None:
        self.problems = problems
        super().__init__("the text is no ruleset that an agent can load")


def unloadable(error: EdictumConfigError) -> UnloadableError:
    """
    Make the error for what the core's loader refused.
    """
    problems = [RulesetProblem(problem.message, problem.path, problem.line, problem.column) for problem in error.errors]
    return UnloadableError(problems or [RulesetProblem(str(error), "", None, None)])


@attrs.frozen
class ReadRuleset:
    """
    A ruleset that loads.

    Attributes:
        name: Its name.
        revision_hash: The SHA-256 of its bytes, by which agents report what they run.
        rule_count: How many rules it has.
    """

    name: str
    revision_hash: str
    rule_count: int


async def read_ruleset(text: str) -> ReadRuleset:
    """
    Read and compile a ruleset, in a thread: a large one takes a tenth of a second.

    Raises:
        UnloadableError: It cannot be loaded.
    """
    return await asyncio.to_thread(_read, text)


async def compare(before: str, after: str) -> Comparison:
    """
    Compare two rulesets that load.
    """
    return await asyncio.to_thread(lambda: compare_rulesets(_data(before), _data(after)))


def _read(text: str) -> ReadRuleset:
    raw = text.encode()
    if len(raw) > LARGEST_RULESET:
        raise _one_problem(f"the ruleset is larger than {LARGEST_RULESET // 1024} KiB; split it")
    if text.startswith("\ufeff"):
        raise _one_problem("the ruleset begins with a byte-order mark; save it without one")
    try:
        # Without the environment of the console, which agents do not have.
        load_contents([raw], Names(environ={}), RedactionPolicy(), "upgrade")
        data = _data(text)
    except EdictumConfigError as error:
        raise unloadable(error) from None
    name = data["metadata"]["name"]
    if not re.search(IDENTIFIER, name):
        raise _one_problem("the name must have letters, digits, '.', '_' and '-' only", "metadata.name")
    if name in _PATH_WORDS:
        raise _one_problem(f"the name must not be one of: {', '.join(_PATH_WORDS)}; paths have them", "metadata.name")
    return ReadRuleset(name, hashlib.sha256(raw).hexdigest(), len(data.get("rules") or data.get("contracts") or ()))


def _data(text: str) -> dict[str, Any]:
    data: dict[str, Any] = read_document(text).data
    return data


def _one_problem(message: str, path: str = "") -> UnloadableError:
    return UnloadableError([RulesetProblem(message, path, None, None)])
