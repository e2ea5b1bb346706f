"""
Rules, entries and keys that have no effect, or another one than it seems.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from typing import Any

from edictum.globs import glob_matcher, is_glob
from edictum.lint.catalogue import Severity
from edictum.lint.report import Findings
from edictum.lint.subject import LintedRule, Subject
from edictum.ruleset.problems import Path, quote
from edictum.ruleset.selectors import compile_selector, split
from edictum.ruleset.syntax import PostRule, PreRule, SandboxRule, SessionRule
from edictum.ruleset.vocabulary import AFTER_CALL_ROOTS, SELECTOR_ROOTS
from edictum.sandbox.commands import runs_other_code
from edictum.tools import ToolRegistry

_PLACEHOLDER = re.compile(r"\{([^}]+)\}")
_SELECTOR_LIKE = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*(?:\.[A-Za-z0-9_-]+)*")
_TIMEOUTS = ("timeout", "timeout_action", "timeout_effect")


def check_effects(subject: Subject, findings: Findings) -> None:
    """
    Look at what the rules of a file do and say.
    """
    _check_names(subject, findings)
    for linted in subject.rules:
        if linted.path is None:
            continue
        _check_message(linted, linted.path, findings)
        _check_keys(subject, linted, linted.path, findings)
        if isinstance(linted.rule, PostRule):
            _check_output(subject, linted, linted.rule, findings)
        elif isinstance(linted.rule, SandboxRule):
            _check_sandbox(linted.rule, linted.path, findings)
    for place, rule in enumerate(subject.written.get("rules", [])):
        if rule.get("enabled") is False:
            path = ("rules", place, "enabled")
            findings.add("disabled-rule", path, f"{quote(rule['id'])} is switched off", rule=rule["id"])


# --- names of tools -------------------------------------------------------------------------------


def _check_names(subject: Subject, findings: Findings) -> None:
    """
    Find names of tools that differ only in case.  Who lists two spellings in one rule knows of both.
    """
    first: dict[str, tuple[str, int | None]] = {}
    known: set[str] = set()
    for linted in subject.rules:
        tools = getattr(linted.rule, "tools", ())
        folded = [tool.casefold() for tool in dict.fromkeys(tools)]
        known.update(tool for tool in folded if folded.count(tool) > 1)
    for name, path in _written_names(subject.written):
        folded_name = name.casefold()
        seen, line = first.setdefault(folded_name, (name, findings.line_of(path)))
        if seen != name and folded_name not in known:
            at = f" of line {line}" if line is not None else ""
            findings.add("tool-name-case", path, f"{quote(name)} is not {quote(seen)}{at}")


def _written_names(document: Mapping[str, Any]) -> Iterator[tuple[str, Path]]:
    """
    Exact names of tools, with their places.
    """
    for place, rule in enumerate(document.get("rules", [])):
        path: Path = ("rules", place)
        if rule.get("enabled") is False:
            continue
        if "tool" in rule and not is_glob(rule["tool"]):
            yield rule["tool"], (*path, "tool")
        for number, tool in enumerate(rule.get("tools", [])):
            if not is_glob(tool):
                yield tool, (*path, "tools", number)
        for tool in rule.get("limits", {}).get("max_calls_per_tool", {}):
            if not is_glob(tool):
                yield tool, (*path, "limits", "max_calls_per_tool", tool)
    for tool in document.get("tools", {}):
        if not is_glob(tool):
            yield tool, ("tools", tool)


# --- messages and keys ----------------------------------------------------------------------------


def _check_message(linted: LintedRule, path: Path, findings: Findings) -> None:
    rule = linted.rule
    place = (*path, "message") if isinstance(rule, SandboxRule) else (*path, "then", "message")
    for token in dict.fromkeys(_PLACEHOLDER.findall(rule.message)):
        root = split(token)[0]
        if not _SELECTOR_LIKE.fullmatch(token):
            continue
        severity: Severity | None = None
        if isinstance(rule, SessionRule):
            if root not in SELECTOR_ROOTS:
                continue
            message = "messages of session rules are not filled in"
        elif compile_selector(token, custom={}, environ={}) is not None:
            if root not in AFTER_CALL_ROOTS or isinstance(rule, PostRule):
                continue
            message = "the tool has not run yet, so there is no result"
        elif root in SELECTOR_ROOTS:
            message = "there is no such selector"
        elif any(leaf.selector == f"args.{token}" for leaf in linted.leaves):
            message = f"write {{args.{token}}}"
        else:
            severity, message = "note", "nothing of that name is built in"
        findings.add("unfilled-placeholder", place, f"{{{token}}}: {message}", rule=rule.id, severity=severity)


def _check_keys(subject: Subject, linted: LintedRule, path: Path, findings: Findings) -> None:
    rule, written = linted.rule, linted.written
    if written.get("mode") == "enforce" and subject.ruleset.mode == "observe":
        message = f"{quote(rule.id)} enforces, but the ruleset observes"
        findings.add("enforce-without-effect", (*path, "mode"), message, rule=rule.id)
    holder: Mapping[str, Any] = {}
    if isinstance(rule, PreRule) and rule.action == "block":
        holder, path = written["then"], (*path, "then")
    elif isinstance(rule, SandboxRule) and rule.outside == "block":
        holder = written
    for key in _TIMEOUTS:
        if key in holder:
            findings.add("timeout-without-ask", (*path, key), f"{quote(rule.id)} blocks at once", rule=rule.id)


# --- post rules -----------------------------------------------------------------------------------


def _check_output(subject: Subject, linted: LintedRule, rule: PostRule, findings: Findings) -> None:
    """
    Find post rules whose tools all count as changing something, so that no output is ever held back.
    """
    if rule.action == "warn" or linted.path is None:
        return
    registry = ToolRegistry()
    for name, tool in subject.ruleset.tools.items():
        registry.register(name, tool.side_effect, tool.idempotent)
    if any(_may_only_read(subject, registry, tool) for tool in rule.tools):
        return
    declared = subject.ruleset.tools
    certain = all(any(glob_matcher(name)(tool) for name in declared) for tool in rule.tools if not is_glob(tool))
    certain = certain and not any(is_glob(tool) for tool in rule.tools)
    why = "declared to change something" if certain else "not declared to only read"
    findings.add(
        "output-not-held-back",
        (*linted.path, "tool" if "tool" in linted.written else "tools"),
        f"{quote(rule.id)} asks for {rule.action}, but its tools are {why}",
        rule=rule.id,
        severity="warning" if certain else "note",
    )


def _may_only_read(subject: Subject, registry: ToolRegistry, tool: str) -> bool:
    """
    Whether a tool that a pattern matches may be one whose output can be held back.
    """
    if not is_glob(tool):
        # The side effect of a shell depends on each command.
        return registry.is_shell(tool) or not registry.classify(tool, {})[0].changes_something
    matches = glob_matcher(tool)
    if any(matches(shell) for shell in registry.shell_names()):
        return True
    # Whether two globs have a name in common is not decided here.
    return any(
        not known.side_effect.changes_something and (is_glob(name) or matches(name))
        for name, known in subject.ruleset.tools.items()
    )


# --- sandboxes ------------------------------------------------------------------------------------


def _check_sandbox(rule: SandboxRule, path: Path, findings: Findings) -> None:
    for place, entry in enumerate(rule.commands or ()):
        words = entry.split()
        how = runs_other_code(words[0]) if len(words) == 1 else None
        at = (*path, "allows", "commands", place)
        if rule.strict_interpreters:
            if how == "always":
                message = f"strict_interpreters refuses {quote(entry)}, because it runs other commands"
                findings.add("entry-without-effect", at, message, rule=rule.id)
        elif how == "with options":
            message = f"{quote(entry)} runs other commands with some of its options"
            findings.add("open-interpreter", at, message, rule=rule.id, severity="note")
        elif how is not None:
            findings.add("open-interpreter", at, f"{quote(entry)} runs whatever it is given", rule=rule.id)
    for place, root in enumerate(rule.within):
        if root.startswith("/") and not os.path.normpath(root).strip("/") and not rule.not_within:
            findings.add("unlimited-sandbox", (*path, "within", place), f"{quote(root)} holds every path", rule=rule.id)
    if rule.not_domains or rule.schemes or rule.block_private:
        return
    for place, domain in enumerate(rule.domains or ()):
        if domain in ("*", "**"):
            at = (*path, "allows", "domains", place)
            findings.add("unlimited-sandbox", at, f"{quote(domain)} is every host", rule=rule.id, severity="note")
