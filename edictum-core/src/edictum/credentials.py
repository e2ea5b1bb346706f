"""
The detectors: well-known credentials by their shape, and passwords by their place in commands, URLs and headers.

INVARIANT: every detector is linear in its input.  A pattern starts with a literal, so that the search skips to
candidates.  What follows is one of: a run of a character class that nothing after it can match as well; a run
with an upper bound; a run that ends before the next candidate can start.  Where the end of a run decides (a JWT)
or may be missing (a private key), the detector consumes what it looked at, found or not.

INVARIANT: masking twice changes nothing further.  Masking ends only when a pass over the text changes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable

REDACTED = "[REDACTED]"

_MAX_PASSES = 8

# ---- credentials by shape ------------------------------------------------------------------------------------

# A credential takes the rest of its run along: a longer one than is known, or another one right behind it.
_REST = "[A-Za-z0-9_-]*"
# In "task-..." or "disk_test_..." two letters stand in front and the prefix is the end of a word, unless what
# follows mixes lower case, upper case and digits as random keys do.  The look-aheads are bounded, hence linear.
_RANDOM = r"(?=[a-z0-9_-]{0,99}[A-Z])(?=[A-Z0-9_-]{0,99}[a-z])(?=[A-Za-z_-]{0,99}[0-9])"
_SK_DASH = re.compile(
    rf"sk-(?:(?<![A-Za-z]{{2}}sk-)|{_RANDOM})"
    r"(?:(?:proj|svcacct|admin|ant|or-v1)-[A-Za-z0-9_-]{4}|[A-Za-z0-9]{20})" + _REST
)
_STRIPE = re.compile(
    rf"(?:(?:sk|rk)_(?:(?<![A-Za-z]{{2}}[sr]k_)|{_RANDOM})(?:live|test)_|whsec_)[A-Za-z0-9]{{10}}{_REST}"
)
_GITHUB = re.compile(r"(?:gh[pousr]_[A-Za-z0-9]{36}|github_pat_[A-Za-z0-9_]{22})" + _REST)
_SLACK = re.compile(r"xox[a-z]-[A-Za-z0-9-]{10}" + _REST)
_AWS = re.compile(r"A(?:KIA|SIA)[0-9A-Z]{16}" + _REST)
_GOOGLE = re.compile(r"AIza[A-Za-z0-9_-]{35}" + _REST)
# Matches any header, so that no part of a run is looked at twice; _jwt decides.
_JWT = re.compile(r"eyJ([A-Za-z0-9_-]*)(\.[A-Za-z0-9_-]*(?:\.[A-Za-z0-9_-]+)*)?")
_MIN_JWT_HEADER = 20

# ---- passwords by place --------------------------------------------------------------------------------------

# One shell word or quoted text, without the punctuation that closes it.  A quote left open runs to the end of
# the line.  A placeholder, or the dots that shortening leaves behind, is no value.
_NO_VALUE = r"(?!(?:\[REDACTED\])?(?:\.\.\.)?(?!\S))"
_WORD = _NO_VALUE + r"""(?:\\?"[^"\n]*"?|\\?'[^'\n]*'?|[^\s"']\S*(?<![\s"',;}]))"""
_VALUE = re.compile(_WORD)
# The look-behinds follow the literal, because a pattern that starts with one cannot skip to candidates.
# "mkdir -p" takes a folder.
_FLAG_P = re.compile(rf"(-p(?<![\w-]-p)(?<!mkdir -p))(?:([ \t]+)(?!-){_WORD}|(=?)(?![.,;:)|>\]])({_WORD}))")
_ONE_DASH_OPTION = re.compile(r"[a-z][a-z.-]*")
_TAKES_ATTACHED = ("mysql", "mariadb", "sshpass")
_LOOK_BACK = 200
_FLAG_LONG = re.compile(
    r"(--(?:[a-z]{1,20}[-_]){0,2}"
    r"(?:password|passwd|passphrase|pwd|secret|token|credentials?|(?:api|access|secret|private)[-_]?key)"
    rf"(?:=|[ \t]+(?!-))){_WORD}"
)
_EXPORT = re.compile(rf"(export[ \t]+([A-Za-z_][A-Za-z0-9_]*)=){_WORD}")
_SECRET_IN_NAME = ("KEY", "TOKEN", "SECRET", "PASSWORD", "CREDENTIAL", "PASSWD", "PASSPHRASE", "PWD")
_ASSIGNMENT = re.compile(r"(?<![A-Za-z0-9_])([A-Z][A-Z0-9_]*)=(?!=)")
# Neither part contains a slash and every candidate starts with one, so no two candidates share text.
_URL_PASSWORD = re.compile(r"(://[^\s/:@'\"<>]*:)[^\s/'\"<>]+@")
_AUTHORIZATION = re.compile(
    r"((?:uthorization|UTHORIZATION)(?:\\?[\"'])?[ \t]*[:=][ \t]*(?:\\?[\"'])?"
    r"(?:(?i:basic|bearer|digest|token|negotiate|ntlm|apikey|hawk)[ \t]+)?)" + _NO_VALUE + r"[^\s\"'<>\\]+"
)
# The excluded words are how prose goes on ("bearer authentication").
_BEARER = re.compile(
    r"(earer[ \t]+)(?!auth|token|cred|cert|instrument|scheme)"
    r"(?:[A-Za-z0-9._~+/=-]{12,}|(?=[A-Za-z._~+/=-]{0,12}[0-9])[A-Za-z0-9._~+/=-]{6,})"
)

# ---- private keys --------------------------------------------------------------------------------------------

_PEM_LABEL = r"(?:[A-Z0-9]{1,20} ){0,4}PRIVATE KEY(?: BLOCK)?-----"
_PEM_BEGIN = re.compile("-----BEGIN " + _PEM_LABEL)
_PEM_END = re.compile("-----END " + _PEM_LABEL)
_PEM_GOES_ON = re.compile(r"[ \t]*(?:[\r\n]|\\+[rn]|[A-Za-z0-9+/=]{16})")
_PEM_BODY = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=\r\n\\")


def mask_credentials(text: str, is_sensitive_key: Callable[[str], bool]) -> str:
    """
    Replace every credential in a text by a placeholder.

    Args:
        text: Any text.  The patterns do not look across line breaks, except the one for private keys.
        is_sensitive_key: Says of the name in ``NAME=value`` whether the value is to be withheld.

    Returns:
        The same object when nothing was found.
    """
    # What stood next to a secret may have become readable as another one, so a pass without a change is the end.
    # A pass only reads anew what stands beside a placeholder; a second one is nearly always the last.
    for _ in range(_MAX_PASSES):
        masked = _one_pass(text, is_sensitive_key)
        if masked is text or masked == text:
            break
        text = masked
    return text


def _one_pass(text: str, is_sensitive_key: Callable[[str], bool]) -> str:
    # Tests for one literal are several times cheaper than a search, and clean text is the normal case.
    if "J" in text and "eyJ" in text:
        # First, because a run that another shape takes along must not leave the end of a JWT behind.
        text = _JWT.sub(_jwt, text)
    if "-" in text:
        text = _dashed(text)
    if "_" in text:
        text = _underscored(text)
    if "I" in text:
        if "AKIA" in text or "ASIA" in text:
            text = _AWS.sub(REDACTED, text)
        if "AIza" in text:
            text = _GOOGLE.sub(REDACTED, text)
    if "earer" in text:
        text = _BEARER.sub(_keep_first, text)
    if "=" in text:
        text = _authorization(_assignments(text, is_sensitive_key))
    if ":" in text:
        if "://" in text:
            text = _URL_PASSWORD.sub(rf"\g<1>{REDACTED}@", text)
        text = _authorization(text)
    return text


def _dashed(text: str) -> str:
    if "-----" in text:
        text = _private_keys(text)
    if "sk-" in text:
        text = _SK_DASH.sub(REDACTED, text)
    if "xox" in text:
        text = _SLACK.sub(REDACTED, text)
    if "-p" in text:
        text = _FLAG_P.sub(_flag_p, text)
    if "--" in text:
        text = _FLAG_LONG.sub(_keep_first, text)
    return text


def _underscored(text: str) -> str:
    if "gh" in text or "_pat_" in text:
        text = _GITHUB.sub(REDACTED, text)
    if "k_live_" in text or "k_test_" in text or "whsec_" in text:
        text = _STRIPE.sub(REDACTED, text)
    return text


def _authorization(text: str) -> str:
    if "uthorization" in text or "UTHORIZATION" in text:
        return _AUTHORIZATION.sub(_keep_first, text)
    return text


def _keep_first(match: re.Match[str]) -> str:
    return match[1] + REDACTED


def _jwt(match: re.Match[str]) -> str:
    return REDACTED if match[2] is not None and len(match[1]) >= _MIN_JWT_HEADER else match[0]


def _flag_p(match: re.Match[str]) -> str:
    flag, gap, equals, attached = match.groups()
    if gap is not None:
        return f"{flag}{gap}{REDACTED}"
    # "-port" and "-print" are options with one dash, except after the few programs that take "-psecret".
    if not equals and _ONE_DASH_OPTION.fullmatch(attached):
        before = match.string[max(0, match.start() - _LOOK_BACK) : match.start()]
        if not any(program in before for program in _TAKES_ATTACHED):
            return match[0]
    return f"{flag}{equals}{REDACTED}"


def _export(match: re.Match[str]) -> str:
    name = match[2].upper()
    return match[1] + REDACTED if any(word in name for word in _SECRET_IN_NAME) else match[0]


def _assignments(text: str, is_sensitive_key: Callable[[str], bool]) -> str:
    if "export" in text:
        text = _EXPORT.sub(_export, text)
    if not any(word in text for word in _SECRET_IN_NAME):
        return text
    parts: list[str] = []
    done = 0
    for match in _ASSIGNMENT.finditer(text):
        if match.start() < done or not is_sensitive_key(match[1]):
            continue
        value = _VALUE.match(text, match.end())
        if value is not None:
            parts += [text[done : match.end()], REDACTED]
            done = value.end()
    return "".join([*parts, text[done:]]) if parts else text


def _private_keys(text: str) -> str:
    parts: list[str] = []
    done = 0
    for end in _PEM_END.finditer(text):
        begin = _PEM_BEGIN.search(text, done, end.start())
        start = begin.start() if begin else end.start()
        if begin is None:
            # The beginning was cut off; take the lines of the body back to the first other character.
            while start > done and text[start - 1] in _PEM_BODY:
                start -= 1
        parts += [text[done:start], REDACTED]
        done = end.end()
    begin = _PEM_BEGIN.search(text, done)
    while begin is not None:
        parts += [text[done : begin.start()], REDACTED]
        # The end was cut off: all that follows is the key, unless only the marker is quoted, as in a search.
        done = len(text) if _PEM_GOES_ON.match(text, begin.end()) else begin.end()
        begin = _PEM_BEGIN.search(text, done)
    return "".join([*parts, text[done:]]) if parts else text
