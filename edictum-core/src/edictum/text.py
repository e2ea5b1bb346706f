"""
Showing text that others wrote on one line of a terminal, a message or a log.

An argument of a tool call can carry escape sequences that move the cursor, marks that reverse the reading
direction, or characters that nobody sees.  They are written out, so that people read what is there.
"""

from __future__ import annotations

import re

# C0 and C1 controls with DEL; soft hyphen and combining joiner; Arabic letter mark; Hangul, Khmer and Mongolian
# fillers; zero-width characters, direction marks, line and paragraph separators, bidi overrides and isolates,
# word joiners; lone surrogates; byte order mark and interlinear anchors; musical controls; the block of tag
# characters and variation selectors, which can hold a whole hidden message.
_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e"
    "\u2060-\u206f\u3164\ud800-\udfff\ufeff\uffa0\ufff9-\ufffb\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)

_ELLIPSIS = "..."


def escape_controls(text: str) -> str:
    r"""
    Write out every character that a terminal would obey or not show.

    Line breaks and tabs count, because the text is meant for one line.  A backslash stays as it is: the text
    is for reading, not for decoding.

    Args:
        text: Untrusted text.

    Returns:
        The text with ``\uXXXX`` (``\UXXXXXXXX`` beyond the basic plane) for each such character; the same object
        when there are none.
    """
    if _UNSAFE.search(text) is None:
        return text
    return _UNSAFE.sub(_escape, text)


def shorten(text: str, limit: int) -> str:
    """
    Cut a text to at most ``limit`` characters, the last three of a cut text being dots.

    Args:
        text: Any text.
        limit: Greatest length of the result; below three there is room for dots only.

    Returns:
        The same object when it fits.
    """
    if len(text) <= limit:
        return text
    return (text[: max(limit - len(_ELLIPSIS), 0)] + _ELLIPSIS)[:limit]


def _escape(match: re.Match[str]) -> str:
    code = ord(match.group())
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"
