"""
Regular expressions in rulesets: which are admitted, and how a text is searched.

A pattern may never hang the process, and a text is never judged by a part of it. So a pattern is judged when the
ruleset is loaded. The standard engine searches texts as long as its worst case is short; the linear engine searches
the others. A pattern that is risky for the one and no pattern for the other, because of a lookaround for example, is
refused, or raises `TextTooLong` beyond a length, which makes the rule fire.

The modules, each of which uses only those above it:

* ``limits``: the figures, and the errors of this package;
* ``tree``: the parsed pattern; ``charsets``: the characters a node reads; ``naming``: a node as text again;
* ``automaton``: the pattern as a graph of states;
* ``ambiguity``: in how many ways its loops read the same text; ``risk``: how much work that makes;
* ``regular``: whether the linear engine can read a pattern; ``linear_graph`` and ``linear``: that engine;
* ``needs``: what every match must have; ``borders``: what cuts a text into pieces;
* ``search``: the fastest way to look for a pattern;
* ``admission``: the decision. It imports the others when they are needed for the first time.
"""

from __future__ import annotations

from edictum.ruleset.patterns.admission import Pattern, admit
from edictum.ruleset.patterns.limits import (
    IRREGULAR_MATCH_CHARS,
    MAX_MATCH_CHARS,
    MAX_PATTERN_LENGTH,
    PatternRefused,
    TextTooLong,
)

__all__ = [
    "IRREGULAR_MATCH_CHARS",
    "MAX_MATCH_CHARS",
    "MAX_PATTERN_LENGTH",
    "Pattern",
    "PatternRefused",
    "TextTooLong",
    "admit",
]
