"""
YAML text to plain data, with the position of every value.

The only module that imports ``ruamel.yaml`` (the ``yaml`` extra), and only when YAML is really read.  The tree is
built here, from parser events, because no stock loader refuses what a ruleset must not contain: duplicate keys,
anchors and aliases, merge keys, tags, directives, keys that are not text, a second document.  Plain scalars are
resolved by the core schema of YAML 1.2 (https://yaml.org/spec/1.2.2/#103-core-schema), so ``yes`` and a date stay
text.

Two parsers can produce the events.  The C parser of ``ruamel.yaml.clib`` is about ten times as fast and is tried
first where it is installed; the pure one decides about every text that the C parser or the composer refuses, and
about the few constructs that the two read differently.  Data, positions and errors are therefore the same with
and without the C parser.
"""

from __future__ import annotations

import io
import re
from importlib import import_module
from typing import Any

from edictum.errors import ConfigProblem, EdictumConfigError
from edictum.ruleset.plain import (
    TOO_DEEP_MESSAGE,
    TOO_LARGE_MESSAGE,
    UNUSABLE,
    UNUSABLE_MESSAGE,
    Place,
    Places,
    Positions,
)
from edictum.ruleset.problems import quote
from edictum.ruleset.vocabulary import MAX_DOCUMENT_DEPTH, MAX_DOCUMENT_NODES

# What the two parsers read differently: tabs, explicit keys, a comment glued to the header of a block scalar, a block
# scalar that starts with an empty line, a quoted key without value in a flow collection.
_PURE_ONLY = re.compile(
    r"\t|(?:^|[\s\-\[{,])\?(?:\s|$)|[|>][-+0-9]*(?:#| *[\r\n]+ *[\r\n])|[\"'] *:[\\]},]", re.MULTILINE
)
_DIRECTIVE = re.compile(r"(?:^|(?<=\r))%", re.MULTILINE)

_NOT_TEXT_START = frozenset("-+.0123456789~ntfNTF")
_CONSTANTS: dict[str, bool | float | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), float("inf")),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), float("-inf")),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
}
_INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_MAX_NUMBER_LENGTH = 1_000  # int() refuses more than 4,300 digits, and no rule needs a thousand


_NO_ALIASES = "anchors (&) and aliases (*) are not supported; write the value out wherever it is used"


# What the pure parser lets out for some malformed texts, such as an escape sequence beyond the last character.
_PARSER_CRASHES = (ValueError, ArithmeticError, LookupError, RecursionError)


class _RefusedError(Exception):
    def __init__(self, message: str, place: Place) -> None:
        self.message = message
        self.place = place
        super().__init__(message)


def available() -> bool:
    """
    Whether the ``yaml`` extra is installed.
    """
    try:
        import_module("ruamel.yaml")
    except ImportError:
        return False
    return True


def compose(text: str, name: str | None = None) -> Positions:
    """
    Parse one YAML document.

    Args:
        text: Decoded text without byte-order mark; the caller has refused control characters.
        name: File name for errors.

    Returns:
        The data, as the root of its positions.

    Raises:
        EdictumConfigError: The extra is not installed, or the text is not the YAML that rulesets may use.
    """
    if not available():
        raise EdictumConfigError(
            'reading YAML needs an extra: run "pip install edictum-core[yaml]", or give the document as JSON'
        )
    errors = import_module("ruamel.yaml.error")
    directive = _DIRECTIVE.search(text)
    if directive is not None:
        line = len(re.findall(r"\r\n|\r|\n", text[: directive.start()])) + 1
        raise _as_config_error(
            _RefusedError("YAML directives are not supported; remove the line that starts with %", (line, 1)), name
        )
    positions = _compose_fast(text, errors.YAMLError)
    if positions is not None:
        return positions
    parser = _open_pure_parser(text)
    try:
        return _Composer().compose(parser)
    except (_RefusedError, errors.YAMLError, *_PARSER_CRASHES) as error:
        raise _as_config_error(error, name, _place(parser.scanner.reader.get_mark())) from error


def _compose_fast(text: str, yaml_error: type[Exception]) -> Positions | None:
    """
    What the C parser makes of the text, or None when the pure parser has to say.
    """
    parser = _open_c_parser(text)
    if parser is None:
        return None
    try:
        positions = _Composer().compose(parser)
    except (_RefusedError, yaml_error, *_PARSER_CRASHES):
        return None
    # Every document of ours is a mapping; about the ends of a lone scalar the parsers disagree.
    return positions if type(positions.root) is dict else None


def _open_c_parser(text: str) -> Any:
    """
    The fast parser, or None where it is not installed or would read this text in its own way.
    """
    if _PURE_ONLY.search(text):
        return None
    try:
        return import_module("_ruamel_yaml").CParser(text)
    except ImportError:
        return None


def _open_pure_parser(text: str) -> Any:
    yaml = import_module("ruamel.yaml").YAML(typ="safe", pure=True)
    return yaml.get_constructor_parser(io.StringIO(text))[1]


def _as_config_error(error: Exception, name: str | None, reached: Place = (1, 1)) -> EdictumConfigError:
    """
    The error for users; where it does not know its place, that is how far the text was read.
    """
    line, column = reached
    if isinstance(error, _RefusedError):
        message = error.message
        line, column = error.place
    elif isinstance(error, RecursionError):
        message = TOO_DEEP_MESSAGE
    else:
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        if mark is not None:
            line, column = mark.line + 1, mark.column + 1
        message = f"this is not valid YAML: {getattr(error, 'problem', None) or 'it cannot be parsed'}"
    return EdictumConfigError.from_problems([ConfigProblem("", message, name, line, column)])


class _Frame:
    """
    A container under construction.  ``key`` is the mapping key that waits for its value.
    """

    __slots__ = ("container", "is_mapping", "key", "places")

    def __init__(self, container: Any, places: dict[Any, Place]) -> None:
        self.container = container
        self.places = places
        self.is_mapping = type(container) is dict
        self.key: str | None = None


class _Composer:
    """
    Builds the tree of one document from events, without recursion.
    """

    def __init__(self) -> None:
        self.places: Places = {}
        self.stack: list[_Frame] = []
        self.root: Any = None
        self.documents = 0
        self.nodes = 0

    def compose(self, parser: Any) -> Positions:
        """
        Read all events.
        """
        events = import_module("ruamel.yaml.events")
        scalar, mapping, sequence = events.ScalarEvent, events.MappingStartEvent, events.SequenceStartEvent
        ends = (events.MappingEndEvent, events.SequenceEndEvent)
        place: Place = (1, 1)
        while parser.check_event():
            event = parser.get_event()
            kind = type(event)
            if kind in ends:
                self.stack.pop()
                continue
            mark = event.start_mark
            if kind is scalar:
                plain = event.implicit[0]
                if not plain or event.value:  # an absent value stands where its key stands
                    place = (mark.line + 1, mark.column + 1)
                self.refuse_properties(event, place)
                self.scalar(event.value, plain, place)
            elif kind is mapping or kind is sequence:
                place = (mark.line + 1, mark.column + 1)
                self.refuse_properties(event, place)
                self.open({} if kind is mapping else [], place)
            elif kind is events.AliasEvent:
                raise _RefusedError(_NO_ALIASES, _place(mark))
            elif kind is events.DocumentStartEvent:
                self.start_document(_place(mark))
        return Positions(self.root, lambda: self.places)

    def start_document(self, place: Place) -> None:
        self.documents += 1
        if self.documents > 1:
            raise _RefusedError("a second document starts here; give every document its own file", place)

    @staticmethod
    def refuse_properties(event: Any, place: Place) -> None:
        if event.tag is not None:
            raise _RefusedError("tags are not supported; remove the word that starts with !", place)
        if event.anchor is not None:
            raise _RefusedError(_NO_ALIASES, place)

    def scalar(self, text: str, plain: bool, place: Place) -> None:
        frame = self.stack[-1] if self.stack else None
        if frame is not None and frame.is_mapping and frame.key is None:
            self.take_key(frame, text, plain, place)
        else:
            self.put(_resolve(text, place) if plain else _usable(text, place), place)

    def take_key(self, frame: _Frame, text: str, plain: bool, place: Place) -> None:
        if plain:
            if text == "<<":
                raise _RefusedError("merge keys are not supported; write the values out", place)
            if type(_resolve(text, place)) is not str:
                raise _RefusedError(f"a key must be text; put {quote(text)} in quotes", place)
        else:
            _usable(text, place)
        if text in frame.container:
            line, column = frame.places[text]
            raise _RefusedError(
                f"duplicate key {quote(text)}; its first value is at line {line}, column {column}; remove one", place
            )
        frame.key = text
        self.count(place)

    def open(self, container: Any, place: Place) -> None:
        if self.stack and self.stack[-1].is_mapping and self.stack[-1].key is None:
            raise _RefusedError("a key must be text, not a list or a mapping", place)
        self.put(container, place)
        if len(self.stack) == MAX_DOCUMENT_DEPTH:
            raise _RefusedError(TOO_DEEP_MESSAGE, place)
        inside: dict[Any, Place] = {}
        if not self.stack:
            inside[None] = place
        self.places[id(container)] = inside
        self.stack.append(_Frame(container, inside))

    def put(self, value: Any, place: Place) -> None:
        self.count(place)
        if not self.stack:
            self.root = value
            return
        frame = self.stack[-1]
        if frame.is_mapping:
            frame.places[frame.key] = place
            frame.container[frame.key] = value
            frame.key = None
        else:
            frame.places[len(frame.container)] = place
            frame.container.append(value)

    def count(self, place: Place) -> None:
        self.nodes += 1
        if self.nodes > MAX_DOCUMENT_NODES:
            raise _RefusedError(TOO_LARGE_MESSAGE, place)


def _place(mark: Any) -> Place:
    return mark.line + 1, mark.column + 1


def _usable(text: str, place: Place) -> str:
    """
    Refuse what an escape sequence can smuggle into a string although no raw text may hold it.
    """
    if UNUSABLE.search(text):
        raise _RefusedError(UNUSABLE_MESSAGE, place)
    return text


def _resolve(text: str, place: Place) -> Any:
    """
    Value of a plain scalar by the YAML 1.2 core schema.
    """
    if text and text[0] not in _NOT_TEXT_START:
        return text
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    is_integer = _INTEGER.fullmatch(text) is not None
    if not is_integer and _FLOAT.fullmatch(text) is None:
        return text
    if len(text) > _MAX_NUMBER_LENGTH:
        raise _RefusedError(f"a number has at most {_MAX_NUMBER_LENGTH} characters; put text in quotes", place)
    if not is_integer:
        return float(text)
    if text[:2] in ("0o", "0x"):
        return int(text[2:], 8 if text[1] == "o" else 16)
    return int(text)
