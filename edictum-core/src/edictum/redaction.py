"""
Keeping secrets out of everything that is shown or written down.

What a secret is, by its name or by its shape, :mod:`edictum.credentials` knows.  Here it is taken out of texts,
arguments and decision-log records.

INVARIANT: redacting what was redacted changes nothing (custom patterns aside), and a cut leaves no part of a
secret: text is redacted first, with a margin beyond the cut, and no cut goes through a placeholder.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from edictum.audit import to_json_line
from edictum.credentials import (
    REDACTED,
    SAFE_KEYS,
    SENSITIVE_KEYS,
    mask_credentials,
    may_hide,
    name_forms,
    names_secret,
)
from edictum.errors import EdictumConfigError
from edictum.snapshot import FrozenDict, FrozenList
from edictum.text import shorten

__all__ = ["MAX_ARGS", "MAX_PAYLOAD", "REDACTED", "RedactionPolicy"]

MAX_STRING = 1_000
MAX_RESULT = 500
MAX_ARGS = 8_192
MAX_REASON = 1_024
MAX_RECORDS = 100
MAX_PAYLOAD = 32_768
MAX_DEPTH = 20

# Text beyond twice this length is read and shown at its two ends only.
_EDGE = 65_536
_NO_LIMIT = 2 * _EDGE
# Read beyond what is shown, so that a secret across the border is seen whole; longer than a private key is.
_MARGIN = 8_192
_MARKER_ROOM = 64
_NOTES_ROOM = 1_024
# Bound of a whole redacted structure; what shares parts with itself could otherwise unfold without end.
_MAX_TREE = 1 << 24
_MAX_KEY = 200
_MAX_KEYS_CACHED = 4_096
_SHORT_KEY = 20
# What a value takes beside its text: a short key, or a number, with quotes and separators.
_LEAF_ROOM = 30
# So many names of the fields that a record lost are listed, of this length; a character takes up to 12.
_MAX_NAMES = 20
_MAX_NAME_LISTED = 32
_NAMES_ROOM = _MAX_NAMES * (12 * _MAX_NAME_LISTED + 3) + 64

_CYCLE = "[refers to itself]"
_TOO_DEEP = "[nested too deep]"
_TOO_LARGE = "[too large to show]"
_ARGS_FULL = "[left out: arguments exceed 8 KB]"

_NOT_IN_TOKEN = re.compile(r"[\s\"'<>,;]")

_PLAIN_TYPES = frozenset((bool, float, type(None)))
_BIG_INT = 1 << 1_024
_SHORT_INT = 10**9


class RedactionPolicy:
    """
    Decides what is a secret and takes it out of arguments, texts and decision-log records.

    A policy does not change after construction and may be used from several threads.

    Args:
        sensitive_keys: Names whose values are always withheld, added to the built-in ones.
        custom_patterns: Pairs of a regular expression and its replacement (as in ``re.sub``), applied before
            the detectors.  They are trusted: edictum does not bound their run time.
        detect_secret_values: Whether the detectors run; the key test and custom patterns always do.
        safe_compound_keys: Names that are kept although a part of them sounds sensitive, such as
            ``max_tokens``; added to the built-in ones.  A name in the sensitive set stays sensitive.

    Raises:
        EdictumConfigError: A custom pattern does not compile, or names were given as one string.
    """

    __slots__ = ("_custom", "_detect", "_keys", "_plain_keys", "_quick", "_safe", "_sensitive")

    def __init__(
        self,
        sensitive_keys: Iterable[str] | None = None,
        custom_patterns: Iterable[tuple[str | re.Pattern[str], str]] | None = None,
        detect_secret_values: bool = True,
        safe_compound_keys: Iterable[str] | None = None,
    ) -> None:
        self._sensitive = SENSITIVE_KEYS | _names("sensitive_keys", sensitive_keys)
        self._safe = SAFE_KEYS | _names("safe_compound_keys", safe_compound_keys)
        self._custom = tuple(_custom_pattern(*pair) for pair in custom_patterns or ())
        self._detect = detect_secret_values
        self._quick = detect_secret_values and not self._custom  # whether a sign of a secret tells enough
        self._keys: dict[Any, bool] = {}
        self._plain_keys: set[str] = set()  # the short ones that are not sensitive

    # ---- keys --------------------------------------------------------------------------------------

    def is_sensitive_key(self, key: object) -> bool:
        """
        Whether a value under this name is withheld whatever it looks like.
        """
        known = self._keys.get(key) if type(key) is str else None
        return known if known is not None else self._judge_key(key)[1]

    def _judge_key(self, key: object) -> tuple[Any, bool]:
        """
        The key as it may be shown and whether its value is sensitive.
        """
        if key is None or isinstance(key, (bool, int, float)):
            return (_TOO_LARGE if isinstance(key, int) and abs(key) >= _BIG_INT else key), False
        name = key if isinstance(key, str) else _as_text(key)
        shown = self._head(name, _MAX_KEY)
        sensitive = names_secret(name, self._sensitive, self._safe)
        if not sensitive and shown != name:
            sensitive = names_secret(shown, self._sensitive, self._safe)
        if shown is key and type(key) is str:
            # Only short names without a secret in them; names come from a model, so their number is bounded.
            if len(self._keys) >= _MAX_KEYS_CACHED:
                self._keys.clear()
                self._plain_keys.clear()
            self._keys[key] = sensitive
            if not sensitive and len(key) <= _SHORT_KEY:
                self._plain_keys.add(key)
        return shown, sensitive

    # ---- text --------------------------------------------------------------------------------------

    def redact_text(self, text: str, max_length: int | None = None) -> str:
        """
        Replace every secret in a text, and only that.

        Of more than 131,072 characters only the two ends are kept, with a note of how many are left out between.

        Args:
            text: Any text.
            max_length: Longest result; a longer one ends in ``...``.  None for no shortening.
        """
        if max_length is not None:
            if self._quick and len(text) <= max_length:
                masked = mask_credentials(text, self.is_sensitive_key)
                return masked if len(masked) <= max_length else self._cut(masked, max_length)
            return self._head(text, max_length)
        if len(text) <= _NO_LIMIT:
            return self._mask(text)
        head, tail = self._edges(text)
        left_out = len(text) - len(head) - len(tail)
        # On a line of its own, because no detector but the one for private keys looks across line breaks.  The
        # ends are new, though: half of a word can look different there.
        shown = f"{head}\n[{left_out} characters left out]\n{tail}"
        return self._detected(shown) if self._detect else shown

    def redact_whole(self, text: str) -> str:
        """
        :meth:`redact_text` for a text that must not lose anything but its secrets, whatever its length.
        """
        return self._mask(text)

    def redact_bash_command(self, command: str) -> str:
        """
        Replace the secrets in a command line; see :meth:`redact_text`.
        """
        return self.redact_text(command)

    def redact_result(self, result: str, max_length: int = MAX_RESULT) -> str:
        """
        Replace the secrets in a tool's output and shorten it for a summary.
        """
        return self._head(result, max_length)

    def looks_secret(self, text: str) -> bool:
        """
        Whether any part of the text, however long, would be replaced.
        """
        if self._quick:
            return mask_credentials(text, self.is_sensitive_key) is not text
        return self._mask(text) != text

    def _mask(self, text: str) -> str:
        for pattern, replacement in self._custom:
            text = pattern.sub(replacement, text)
        return self._detected(text) if self._detect else text

    def _detected(self, text: str) -> str:
        return mask_credentials(text, self.is_sensitive_key)

    def _head(self, text: str, size: int) -> str:
        """
        The redacted start of a text, at most ``size`` characters; longer text ends in dots.
        """
        if len(text) <= size + _MARGIN:
            return self._cut(self._mask(text), size)
        return self._cut(self._start(text, size) + "...", size)

    def _cut(self, masked: str, limit: int) -> str:
        """
        Shorten redacted text so that redacting it again changes nothing.
        """
        if len(masked) <= limit:
            return masked
        short = shorten(masked[: _whole(masked, max(limit - 3, 0))] + "...", limit)
        again = self._detected(short) if self._detect else short
        if again == short:
            return short
        # The cut made a secret of half a word, such as a scheme before a password: cut before it.
        at = next(at for at, char in enumerate(short) if again[at : at + 1] != char)
        return short[:at] + "..."[: limit - at]

    def _start(self, text: str, size: int) -> str:
        """
        Redact a little more than the first ``size`` characters, so that no secret cut in two is left.

        The cut goes through white space: what spans it (a quoted password, a private key) the detectors replace
        also without its second part.  Where there is no white space, the margin is dropped.
        """
        region = text[: size + _MARGIN]
        at = max(region.rfind(" ", size), region.rfind("\n", size), region.rfind("\t", size))
        return self._mask(region[:at]) if at >= 0 else self._mask(region)[:-_MARGIN]

    def _edges(self, text: str) -> tuple[str, str]:
        size = _EDGE - _MARKER_ROOM
        head = self._start(text, size)
        tail = self._mask(text[-(size + _MARGIN) :])
        # What began before the tail was seen without its beginning, so the margin and the word it ends in go.
        border = _NOT_IN_TOKEN.search(tail, max(_MARGIN, len(tail) - size))
        return head[: _whole(head, size)], "" if border is None else tail[border.start() :]

    # ---- structures --------------------------------------------------------------------------------

    def redact_args(self, args: Any) -> Any:
        """
        Copy arguments of any shape without their secrets, in types that JSON knows.

        Tuples and sets become lists, other objects their text.  Strings over 1,000 characters are shortened; one
        that starts with a credential is replaced as a whole.  What refers to itself or is nested deeper than 20
        levels ends in a note.
        """
        return self._tree(args, MAX_STRING)

    def redact_tree(self, value: Any) -> Any:
        """
        Copy nested data of a decision-log record without its secrets; strings are treated as free text.
        """
        return self._tree(value, _NO_LIMIT)

    def redact_event_args(self, args: Mapping[str, Any]) -> dict[str, Any]:
        """
        Redact the arguments of a call as :meth:`redact_args` does, and keep at most about 8 KB of them.

        The size is estimated on the way, without escapes of JSON; :meth:`cap_payload` measures exactly.
        """
        if self._quick and self._nothing_to_hide(args):
            # Nearly every call has nothing to hide.  A read-only copy is shared rather than copied again.
            return args if type(args) is FrozenDict else dict(args)
        try:
            return self._mapping(args, (), MAX_ARGS, MAX_STRING)[0]
        except _Full:
            return self._fitted(args)

    def _nothing_to_hide(self, args: Mapping[str, Any]) -> bool:
        """
        Whether arguments may be shown as they are; false when that is not certain.
        """
        texts: list[str] = []
        leaves = self._gather(args, texts, 0)
        if leaves < 0:
            return False
        # One search for all of them: no sign of a secret contains a line break.
        text = "\n".join(texts)
        size = len(text)
        if size + leaves * _LEAF_ROOM > MAX_ARGS or (size > MAX_STRING and max(map(len, texts)) > MAX_STRING):
            return False
        if may_hide(text) is None:
            return True
        sensitive = self.is_sensitive_key
        return all(mask_credentials(text, sensitive) is text for text in texts)

    def _gather(self, container: Any, texts: list[str], depth: int) -> int:
        """
        Collect the texts of a mapping or list.

        Returns:
            How many values it holds; a negative number when a key or a value needs a closer look.
        """
        leaves = len(container)
        if depth >= MAX_DEPTH:
            return -1
        if type(container) is FrozenList:
            values = container
        elif container.keys() <= self._plain_keys:
            values = container.values()
        else:
            return -1
        for item in values:
            kind = type(item)
            if kind is str:
                texts.append(item)
            elif kind is int:
                if not -_SHORT_INT < item < _SHORT_INT:
                    return -1
            elif kind is FrozenDict or kind is FrozenList:
                inner = self._gather(item, texts, depth + 1)
                if inner < 0:
                    return -1
                leaves += inner
            elif kind not in _PLAIN_TYPES:
                return -1
        return leaves

    def _tree(self, value: Any, limit: int) -> Any:
        try:
            return self._value(value, (), _MAX_TREE, limit)[0]
        except _Full:
            return _TOO_LARGE

    def _fitted(self, args: Mapping[str, Any]) -> dict[str, Any]:
        out: dict[str, Any] = {}
        room = MAX_ARGS - _NOTES_ROOM
        notes = _NOTES_ROOM - _MARKER_ROOM
        for count, (key, item) in enumerate(args.items()):
            try:
                one, room = self._mapping({key: item}, (), room, MAX_STRING)
            except _Full:
                one = {self._judge_key(key)[0]: _ARGS_FULL}
                notes -= sum(len(str(name)) for name in one) + len(_ARGS_FULL) + 6
                if notes < 0:
                    out["_left_out"] = f"{len(args) - count} more arguments"
                    return out
            out.update(one)
        return out

    # The walkers return what is left of the room beside the copy, because counting in a shared object is slow.

    def _mapping(
        self, value: Mapping[Any, Any], path: tuple[int, ...], room: int, limit: int
    ) -> tuple[dict[Any, Any], int]:
        path = (*path, id(value))
        out: dict[Any, Any] = {}
        known = self._keys
        string = self._string
        for key, item in value.items():
            sensitive = known.get(key)
            if sensitive is None:
                key, sensitive = self._judge_key(key)
                room -= len(str(key)) + 4
            else:
                room -= len(key) + 4
            kind = type(item)
            if sensitive:
                item = REDACTED
                room -= 12
            elif kind is str:
                item = string(item, limit)
                room -= len(item) + 2
            elif kind in _PLAIN_TYPES:
                room -= 5
            else:
                item, room = self._value(item, path, room, limit)
            if room < 0:
                raise _Full
            out[key] = item
        return out, room

    def _sequence(self, value: Iterable[Any], path: tuple[int, ...], room: int, limit: int) -> tuple[list[Any], int]:
        path = (*path, id(value))
        out: list[Any] = []
        string = self._string
        for item in value:
            kind = type(item)
            if kind is str:
                item = string(item, limit)
                room -= len(item) + 3
            elif kind in _PLAIN_TYPES:
                room -= 6
            else:
                item, room = self._value(item, path, room - 1, limit)
            if room < 0:
                raise _Full
            out.append(item)
        return out, room

    def _value(self, value: Any, path: tuple[int, ...], room: int, limit: int) -> tuple[Any, int]:
        """
        Redact a value of any type; the loops above shortcut the frequent ones.
        """
        if isinstance(value, (dict, list, tuple, set, frozenset)):
            return self._container(value, path, room - 2, limit)
        if isinstance(value, int):
            # A number of hundreds of digits is a text in disguise; Python refuses to print more than 4,300.
            return (value, room - 20) if abs(value) < _BIG_INT else (_TOO_LARGE, room - 21)
        if value is None or isinstance(value, float):
            return value, room - 5
        # A test against an abstract type is slow and comes last.
        if not isinstance(value, str) and isinstance(value, Mapping):
            return self._container(value, path, room - 2, limit)
        text = self._string(value if isinstance(value, str) else _as_text(value), limit)
        return text, room - len(text) - 2

    def _container(self, value: Any, path: tuple[int, ...], room: int, limit: int) -> tuple[Any, int]:
        if id(value) in path:
            return _CYCLE, room - len(_CYCLE)
        if len(path) >= MAX_DEPTH:
            return _TOO_DEEP, room - len(_TOO_DEEP)
        if isinstance(value, (list, tuple, set, frozenset)):
            return self._sequence(value, path, room, limit)
        return self._mapping(value, path, room, limit)

    def _string(self, text: str, limit: int) -> str:
        if self._detect and not self._custom and len(text) <= limit:
            masked = mask_credentials(text, self.is_sensitive_key)
            if masked is text:
                return text
        elif limit == _NO_LIMIT:
            return self.redact_text(text)
        else:
            masked = self._head(text, limit)
        if limit != _NO_LIMIT and masked.startswith(REDACTED) and self._starts_secret(text):
            return REDACTED
        return masked

    def _starts_secret(self, text: str) -> bool:
        """
        Whether a value begins with a credential; then the whole of it is taken for one.
        """
        if not self._detect or text.startswith(REDACTED):
            return False
        return self._detected(text[:_MARGIN]).startswith(REDACTED)

    # ---- decision-log records ----------------------------------------------------------------------

    def cap_payload(self, payload: dict[str, Any]) -> dict[str, Any]:
        """
        Redact a decision-log record and keep it under 32,768 characters of compact JSON.

        A record over that size loses ``result_summary`` and the content of ``tool_args``.  Then single fields
        are bounded (8 KB of arguments, 1 KB of reason, 100 records of hooks and of rules), and while the rest is
        too large its largest field is dropped.

        Returns:
            A copy; ``_truncated`` in it lists the fields that were dropped or cut.
        """
        out = self.redact_tree(payload)
        if not isinstance(out, dict):
            return {"_truncated": ["*"]}
        touched: list[str] = []
        if _json_size(out) > MAX_PAYLOAD:
            if out.pop("result_summary", None) is not None:
                touched.append("result_summary")
            if "tool_args" in out:
                out["tool_args"] = {"_redacted": "payload exceeded 32KB"}
                touched.append("tool_args")
        touched += self._cap_fields(out)
        _note_truncated(out, touched)
        if _json_size(out) > MAX_PAYLOAD:
            _note_truncated(out, _drop_largest(out))
        return out

    def _cap_fields(self, out: dict[str, Any]) -> list[str]:
        touched = []
        args = out.get("tool_args")
        if args is not None and _json_size(args) > MAX_ARGS:
            fitted = self.redact_event_args(args) if isinstance(args, dict) else None
            fits = fitted is not None and _json_size(fitted) <= MAX_ARGS
            out["tool_args"] = fitted if fits else {"_redacted": "arguments exceeded 8KB"}
            touched.append("tool_args")
        reason = out.get("reason")
        if isinstance(reason, str) and len(reason) > MAX_REASON:
            out["reason"] = self._cut(reason, MAX_REASON)
            touched.append("reason")
        for name in ("hooks_evaluated", "contracts_evaluated"):
            records = out.get(name)
            if isinstance(records, list) and len(records) > MAX_RECORDS:
                out[name] = records[:MAX_RECORDS]
                touched.append(name)
        return touched


class _Full(Exception):  # noqa: N818  a signal between the walkers, not an error
    """
    The copy would exceed its room.
    """


def _names(option: str, names: Iterable[str] | None) -> set[str]:
    if isinstance(names, str):
        raise EdictumConfigError(f"{option}: expected a list of names, got one string; write [{names!r}]")
    return {form for name in names or () for form in name_forms(name)}


def _custom_pattern(regex: str | re.Pattern[str], replacement: str) -> tuple[re.Pattern[str], str]:
    try:
        pattern = re.compile(regex)
        # Matches the empty text, so that a wrong group in the replacement is found now, not on the first hit.
        re.compile(pattern.pattern + "|", pattern.flags).sub(replacement, "")
    except (re.error, IndexError) as error:
        source = regex.pattern if isinstance(regex, re.Pattern) else regex
        raise EdictumConfigError(f"custom_patterns: pattern {source!r} cannot be used: {error}") from error
    return pattern, replacement


def _as_text(value: object) -> str:
    if isinstance(value, (bytes, bytearray)) and len(value) > _MARGIN:
        return f"[{len(value)} bytes]"
    try:
        return str(value)
    except Exception:
        # The text is for showing only, and what stands in for it says less: no secret can get out this way.
        return f"[{type(value).__name__} without text]"


def _whole(text: str, keep: int) -> int:
    """
    The greatest length up to ``keep`` at which a cut does not go through a placeholder.
    """
    at = text.rfind("[", max(keep - len(REDACTED) + 1, 0), max(keep, 0))
    return at if at >= 0 and text.startswith(REDACTED, at) else keep


def _json_size(value: Any) -> int:
    """
    Length as compact JSON, counted for a writer that escapes all but ASCII.
    """
    line = to_json_line({"": value})
    if line.isascii():
        return len(line) - 5
    units = len(line.encode("utf-16-le", "surrogatepass")) // 2
    plain = len(line.encode("ascii", "ignore"))
    return plain + 6 * (units - plain) - 5


def _drop_largest(out: dict[Any, Any]) -> list[str]:
    """
    Drop the largest fields until the rest and the list of what was dropped fit.
    """
    sizes = {name: _json_size({name: value}) for name, value in out.items() if name != "_truncated"}
    excess = sum(sizes.values()) + _NAMES_ROOM - MAX_PAYLOAD
    dropped = []
    for name in sorted(sizes, key=sizes.__getitem__, reverse=True):
        if excess <= 0:
            break
        del out[name]
        excess -= sizes[name]
        dropped.append(str(name))
    return dropped


def _note_truncated(out: dict[Any, Any], names: list[str]) -> None:
    if not names:
        return
    before = out.get("_truncated")
    known = [name for name in before if isinstance(name, str)] if isinstance(before, list) else []
    listed = list(dict.fromkeys(shorten(name, _MAX_NAME_LISTED) for name in [*known, *names]))
    more = len(listed) - _MAX_NAMES
    out["_truncated"] = [*listed[:_MAX_NAMES], f"and {more} more"] if more > 0 else listed
