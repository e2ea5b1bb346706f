"""
Regular expressions in rulesets: which are admitted, and how a text is searched.

A pattern may never hang the process, and a text is never judged by a part of it. So a pattern that could
need unbounded work is refused when the ruleset is loaded, and a text beyond the length up to which the work
is bounded raises `TextTooLong`, which makes the rule fire.

The modules, each of which uses only those above it:

* ``limits``: the figures, and the errors of this package;
* ``tree``: the parsed pattern; ``charsets``: the characters a node reads; ``naming``: a node as text again;
* ``automaton``: the pattern as a graph of states;
* ``ambiguity``: in how many ways its loops read the same text; ``risk``: how much work that makes;
* ``needs``: what every match must have; ``search``: the fastest way to look for it;
* ``admission``: the decision. It imports the others when a pattern is admitted for the first time.
"""

from __future__ import annotations

from edictum.ruleset.patterns.admission import Pattern, admit
from edictum.ruleset.patterns.limits import (
    MAX_MATCH_CHARS,
    MAX_PATTERN_LENGTH,
    QUADRATIC_MATCH_CHARS,
    PatternRefused,
    TextTooLong,
)

__all__ = [
    "MAX_MATCH_CHARS",
    "MAX_PATTERN_LENGTH",
    "QUADRATIC_MATCH_CHARS",
    "Pattern",
    "PatternRefused",
    "TextTooLong",
    "admit",
]
