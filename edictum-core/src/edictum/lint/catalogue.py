"""
Every check: its id, how serious it is, and the texts that explain it.

Ids are a published format: comments in rulesets and settings of code scanners name them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

Severity: TypeAlias = Literal["error", "warning", "note"]

SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")


@dataclass(frozen=True, slots=True)
class Check:
    """
    One kind of finding.

    Attributes:
        id: Kebab-case, never changed.
        severity: ``warning`` for what changes decisions, ``note`` for what is only good to know; a finding can be
            less severe where it is less certain.
        title: What is found, in a few words.
        why: Why it matters.
        fix: What to do, unless the finding has something more exact.
    """

    id: str
    severity: Severity
    title: str
    why: str
    fix: str


_ALL = (
    Check(
        "invalid-ruleset",
        "error",
        "the document is not a valid ruleset",
        "No guard loads it, so none of its rules is in force.",
        "Correct the document; edictum schema prints a schema that editors understand.",
    ),
    Check(
        "unknown-name",
        "note",
        "an operator or selector is not built in",
        "Only a program that registers the name can load the ruleset; a misspelt one stops it from loading.",
        "Check the spelling, or register the name with custom_operators or custom_selectors.",
    ),
    # --- conditions -------------------------------------------------------------------------------
    Check(
        "never-true",
        "warning",
        "a condition holds for no call",
        "The rule stops nothing, or less than it seems to.",
        "Correct the condition, or remove it.",
    ),
    Check(
        "always-fires",
        "warning",
        "a condition cannot be judged for any call",
        "A rule that cannot be judged counts as broken, so it fires for every call that reaches the condition.",
        "Compare text with equals, in, contains or matches.",
    ),
    Check(
        "matches-everything",
        "warning",
        "a test holds for every value",
        "It only asks whether there is a value at all.",
        "Write exists: true if that is meant; otherwise correct the operand.",
    ),
    Check(
        "negative-on-missing",
        "warning",
        "a negative test on a value that may be missing",
        "Every operator but exists is false for a missing value, also not_equals and not_in. The rule lets such a "
        "call pass.",
        "Turn the test round with not, or add a branch with exists: false.",
    ),
    Check(
        "duplicate-condition",
        "warning",
        "the same condition stands twice in one list",
        "The second changes nothing; probably another one was meant.",
        "Correct it, or remove it.",
    ),
    Check(
        "doubled-escape",
        "warning",
        "an escape in a pattern is written twice",
        "In single quotes and in plain text a backslash stands for itself, so a doubled one demands a real backslash "
        "and the pattern does not match.",
        "Write one backslash in single quotes, two in double quotes.",
    ),
    Check(
        "backspace-in-pattern",
        "warning",
        "a pattern holds the backspace character",
        r"In double quotes \b is a backspace, not the border of a word, so the pattern does not match.",
        r"Put the pattern in single quotes, or write \\b.",
    ),
    Check(
        "limited-pattern",
        "note",
        "a pattern searches only texts of limited length",
        "Its work grows faster than the text. For a longer text the rule fires without having looked.",
        "Anchor the pattern, narrow its repeats, or split it.",
    ),
    Check(
        "risky-pattern",
        "note",
        "a pattern is too risky for Python's own engine",
        "Another engine searches every text for it, in time linear in the text but many times slower than usual.",
        "Give each repeat and each alternative characters that its neighbours do not take.",
    ),
    # --- rules among each other -------------------------------------------------------------------
    Check(
        "unreachable-rule",
        "warning",
        "a rule never decides, because another one always blocks before it",
        "Its message, its approval and its record in the decision log never come about.",
        "Move it before the other rule, narrow the other rule, or remove it.",
    ),
    Check(
        "ask-never-asked",
        "warning",
        "a rule asks for approval of calls that another rule blocks",
        "A block wins over an ask, so nobody is ever asked.",
        "Narrow the rule that blocks, or remove the one that asks.",
    ),
    Check(
        "duplicate-rule",
        "warning",
        "two rules test the same for the same tools and do the same",
        "The second adds nothing; probably another test or another tool was meant.",
        "Correct one of them, or remove it.",
    ),
    Check(
        "limit-never-reached",
        "warning",
        "a limit is never reached, because a lower one ends the session before",
        "The session ends earlier than this number says, with the message of the other limit.",
        "Lower this limit or raise the other one.",
    ),
    # --- tools ------------------------------------------------------------------------------------
    Check(
        "tool-name-case",
        "warning",
        "tool names differ only in upper and lower case",
        "Names are compared exactly, so the rule of one name does not hold for the other.",
        "Use the name that the agent's tool has, or list both under tools.",
    ),
    Check(
        "output-not-held-back",
        "warning",
        "a post rule cannot hold the output back",
        "What a tool changed cannot be taken back by hiding its output, so for tools that write, and for all that are "
        "not declared, block and redact only warn.",
        "Declare a tool that only reads with side_effect: read under tools; stop other calls with a pre rule.",
    ),
    # --- sandboxes --------------------------------------------------------------------------------
    Check(
        "open-interpreter",
        "warning",
        "an allowed command can run any other",
        "What it runs is not judged: neither the commands, nor the paths and hosts that they touch.",
        "Allow the programs that are needed instead, or set strict_interpreters: true.",
    ),
    Check(
        "entry-without-effect",
        "warning",
        "an entry of an allow-list admits nothing",
        "Another key of the rule refuses what the entry allows.",
        "Remove the entry, or the key that refuses it.",
    ),
    Check(
        "unlimited-sandbox",
        "warning",
        "an entry of an allow-list admits everything",
        "The list limits nothing, and the entries beside it have no effect.",
        "List what is needed.",
    ),
    # --- keys without effect ----------------------------------------------------------------------
    Check(
        "unfilled-placeholder",
        "warning",
        "a placeholder in a message is not filled in",
        "The agent reads the braces as they stand.",
        "Write a selector such as {args.path} that has a value for this type of rule.",
    ),
    Check(
        "timeout-without-ask",
        "note",
        "a timeout has no effect, because nobody is asked",
        "Only a rule that asks for approval waits.",
        "Remove the key, or ask.",
    ),
    Check(
        "enforce-without-effect",
        "note",
        "a rule enforces in a ruleset that observes",
        "The guard follows the ruleset's default and stops nothing, unless the program sets its mode.",
        "Set defaults.mode to enforce and give mode: observe to the rules that should only observe.",
    ),
    Check(
        "disabled-rule",
        "note",
        "a rule is switched off",
        "It is checked when the ruleset is loaded, and never judges a call.",
        "Remove it if it is not needed; mode: observe tries a rule out without stopping anything.",
    ),
    # --- comments ---------------------------------------------------------------------------------
    Check(
        "unknown-suppression",
        "warning",
        "a comment suppresses a check that does not exist",
        "It suppresses nothing.",
        "Correct the name; edictum lint shows it in brackets behind each finding.",
    ),
    Check(
        "unused-suppression",
        "note",
        "a comment suppresses nothing",
        "There is no such finding on this line, or no longer.",
        "Remove the comment.",
    ),
)

CHECKS: dict[str, Check] = {check.id: check for check in _ALL}
