"""
What a secret is: by the name it stands under, by its shape, by its place in a command, a URL or a header.

The last two are found by detectors.

INVARIANT: every detector is linear in its input.  A pattern starts with a literal, so that the search skips to
candidates.  What follows is one of: a run of a character class that nothing after it can match as well; a run
with an upper bound; a run that ends before the next candidate can start.  Where the end of a run decides (a JWT)
or may be missing (a private key), the detector consumes what it looked at, found or not.

INVARIANT: masking twice changes nothing further.  Masking goes on until a pass over the text changes nothing; the
bound on passes is several times what any known text needs.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Container

REDACTED = "[REDACTED]"

_MAX_PASSES = 8

# ---- secrets by name ------------------------------------------------------------------------------------------

# fmt: off
SENSITIVE_KEYS = frozenset((
    "access_token", "api_key", "api_tokens", "apikey", "auth", "authorization", "bearer", "client_secret",
    "connection_string", "cookie", "credentials", "cvv", "database_url", "db_password", "db_passwords",
    "encryption_keys", "jwt_tokens", "oauth_secrets", "otp", "passphrase", "passwd", "password", "pin",
    "private_key", "privatekey", "proxy_authorization", "pwd", "refresh_token", "secret", "set_cookie", "ssh_key",
    "ssn", "token", "user_credentials",
))
SAFE_KEYS = frozenset((
    "audio_tokens", "cache_key", "cache_tokens", "cached_tokens", "completion_tokens", "foreign_key",
    "index_keys", "input_tokens", "key_name", "max_tokens", "num_tokens", "output_tokens", "partition_key",
    "primary_key", "prompt_tokens", "reasoning_tokens", "sort_key", "sort_keys", "total_tokens",
))
_SENSITIVE_PARTS = frozenset((
    "bearer", "cookie", "cookies", "credential", "credentials", "cvv", "key", "keys", "otp", "passphrase",
    "passwd", "password", "passwords", "pin", "pwd", "secret", "secrets", "ssn", "token", "tokens",
))
# fmt: on
_CAMEL_BORDER = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_NOT_IN_NAME = re.compile(r"[^a-z0-9]+")


def _lazily(source: str) -> Callable[[], re.Pattern[str]]:
    """
    A pattern that is compiled on first use: together they would cost a tenth of the time to import edictum.
    """
    return functools.cache(lambda: re.compile(source))


# ---- credentials by shape ------------------------------------------------------------------------------------

# A credential takes the rest of its run along: a longer one than is known, or another one right behind it.
_REST = "[A-Za-z0-9_-]*"
# In "task-..." or "disk_test_..." two letters stand in front and the prefix is the end of a word, unless what
# follows mixes lower case, upper case and digits as random keys do.  The look-aheads are bounded, hence linear.
_RANDOM = r"(?=[a-z0-9_-]{0,99}[A-Z])(?=[A-Z0-9_-]{0,99}[a-z])(?=[A-Za-z_-]{0,99}[0-9])"
_SK_DASH = _lazily(
    rf"sk-(?:(?<![A-Za-z]{{2}}sk-)|{_RANDOM})"
    r"(?:(?:proj|svcacct|admin|ant|or-v1)-[A-Za-z0-9_-]{4}|[A-Za-z0-9]{20})" + _REST
)
_STRIPE = _lazily(rf"(?:(?:sk|rk)_(?:(?<![A-Za-z]{{2}}[sr]k_)|{_RANDOM})(?:live|test)_|whsec_)[A-Za-z0-9]{{10}}{_REST}")
_GITHUB = _lazily(r"(?:gh[pousr]_[A-Za-z0-9]{36}|github_pat_[A-Za-z0-9_]{22})" + _REST)
_SLACK = _lazily(r"xox[a-z]-[A-Za-z0-9-]{10}" + _REST)
_AWS = _lazily(r"A(?:KIA|SIA)[0-9A-Z]{16}" + _REST)
_GOOGLE = _lazily(r"AIza[A-Za-z0-9_-]{35}" + _REST)
# Matches any header, so that no part of a run is looked at twice; _jwt decides.
_JWT = _lazily(r"eyJ([A-Za-z0-9_-]*)(\.[A-Za-z0-9_-]*(?:\.[A-Za-z0-9_-]+)*)?")
_MIN_JWT_HEADER = 20

# ---- passwords by place --------------------------------------------------------------------------------------

# One shell word or quoted text, without the punctuation that closes it.  A quote left open runs to the end of
# the line.  A placeholder, or the dots that shortening leaves behind, is no value.
_NO_VALUE = r"(?!(?:\[REDACTED\])?(?:\.\.\.)?(?!\S))"
_WORD = _NO_VALUE + r"""(?:\\?"[^"\n]*"?|\\?'[^'\n]*'?|[^\s"']\S*(?<![\s"',;}]))"""
_VALUE = _lazily(_WORD)
# The look-behinds follow the literal, because a pattern that starts with one cannot skip to candidates.
# "mkdir -p" takes a folder.
_FLAG_P = _lazily(rf"(-p(?<![\w-]-p)(?<!mkdir -p))(?:([ \t]+)(?!-){_WORD}|(=?+)(?![.,;:)|>\]])({_WORD}))")
_ONE_DASH_OPTION = _lazily(r"[a-z][a-z.-]*")
_TAKES_ATTACHED = ("mysql", "mariadb", "sshpass")
_LOOK_BACK = 200
_FLAG_LONG = _lazily(
    r"(--(?:[a-z]{1,20}[-_]){0,2}"
    r"(?:password|passwd|passphrase|pwd|secret|token|credentials?|(?:api|access|secret|private)[-_]?key)"
    rf"(?:=|[ \t]+(?!-))){_WORD}"
)
_EXPORT = _lazily(rf"(export[ \t]+([A-Za-z_][A-Za-z0-9_]*)=){_WORD}")
_SECRET_IN_NAME = ("KEY", "TOKEN", "SECRET", "PASSWORD", "CREDENTIAL", "PASSWD", "PASSPHRASE", "PWD")
# The one without a literal in front: it runs only on text that holds one of the words above, once per name.
_ASSIGNMENT = _lazily(r"(?<![A-Za-z0-9_])([A-Z][A-Z0-9_]*)=(?!=)")
# Neither part contains a slash and every candidate starts with one, so no two candidates share text.
_URL_PASSWORD = _lazily(r"(://[^\s/:@'\"<>]*:)[^\s/'\"<>]+@")
_AUTHORIZATION = _lazily(
    r"((?:uthorization|UTHORIZATION)(?:\\?[\"'])?[ \t]*[:=][ \t]*(?:\\?[\"'])?"
    r"(?:(?i:basic|bearer|digest|token|negotiate|ntlm|apikey|hawk)[ \t]+)?+)" + _NO_VALUE + r"[^\s\"'<>\\]+"
)
# The excluded words are how prose goes on ("bearer authentication").
_BEARER = _lazily(
    r"(earer[ \t]+)(?!auth|token|cred|cert|instrument|scheme)"
    r"(?:[A-Za-z0-9._~+/=-]{12,}|(?=[A-Za-z._~+/=-]{0,12}[0-9])[A-Za-z0-9._~+/=-]{6,})"
)

# ---- private keys --------------------------------------------------------------------------------------------

_PEM_LABEL = r"(?:[A-Z0-9]{1,20} ){0,4}PRIVATE KEY(?: BLOCK)?-----"
_PEM_BEGIN = _lazily("-----BEGIN " + _PEM_LABEL)
_PEM_END = _lazily("-----END " + _PEM_LABEL)
_PEM_GOES_ON = _lazily(r"[ \t]*(?:[\r\n]|\\+[rn]|[A-Za-z0-9+/=]{16})")
_PEM_BODY = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=\r\n\\")


def name_forms(name: str) -> tuple[str, str]:
    """
    A name in lower case with underscores, without and with borders between the words of camelCase.
    """
    snake = _CAMEL_BORDER.sub("_", name).lower()
    return name.lower().replace("-", "_"), _NOT_IN_NAME.sub("_", snake)


def names_secret(name: str, sensitive: Container[str], safe: Container[str]) -> bool:
    """
    Whether what stands under a name is a secret.

    Args:
        name: Key of a mapping or name of a variable.
        sensitive: Names that are, in lower case with underscores; they win.
        safe: Names that are not, although a part of them sounds so.
    """
    flat, snake = name_forms(name)
    if flat in sensitive or snake in sensitive:
        return True
    if flat in safe or snake in safe:
        return False
    return any(part.rstrip("0123456789") in _SENSITIVE_PARTS for part in snake.split("_"))


# Each sign begins with its rarest character: the search skips to it.
may_hide = re.compile(
    r"-(?:[-p]|(?<=sk-)|(?<=xox[a-z]-))|_(?:pat_|live_|test_|(?<=gh[pousr]_)|(?<=whsec_))"
    r"|A(?:KIA|SIA|Iza)|J(?<=eyJ)|r(?<=ear)er|z(?<=uthoriz)ation|Z(?<=UTHORIZ)ATION|://|xport"
    r"|KEY|TOKEN|SECRET|PASS(?:W|PHRASE)|PWD|CREDENTIAL"
).search
"""
Finds a sign without which :func:`mask_credentials` changes nothing; None for most short texts, and much faster.
"""


def mask_credentials(text: str, is_sensitive_key: Callable[[str], bool], passes: int = _MAX_PASSES) -> str:
    """
    Replace every credential in a text by a placeholder.

    Args:
        text: Any text.  The patterns do not look across line breaks, except the one for private keys.
        is_sensitive_key: Says of the name in ``NAME=value`` whether the value is to be withheld.
        passes: How often to go over the text; one pass over clean text is enough.

    Returns:
        The same object when nothing was found.
    """
    masked = text
    # Tests for one literal are several times cheaper than a search, and clean text is the normal case.
    if "J" in text and "eyJ" in text:
        # First, because a run that another shape takes along must not leave the end of a JWT behind.
        masked = _JWT().sub(_jwt, masked)
    if "-" in text and ("sk-" in text or "-p" in text or "--" in text or "xox" in text):
        masked = _dashed(masked)
    if "_" in text:
        masked = _underscored(masked)
    if "I" in text:
        if "AKIA" in masked or "ASIA" in masked:
            masked = _AWS().sub(REDACTED, masked)
        if "AIza" in masked:
            masked = _GOOGLE().sub(REDACTED, masked)
    if "earer" in text:
        masked = _BEARER().sub(_keep_first, masked)
    if "=" in text:
        masked = _authorization(_assignments(masked, is_sensitive_key))
    if ":" in text:
        if "://" in masked:
            masked = _URL_PASSWORD().sub(rf"\g<1>{REDACTED}@", masked)
        masked = _authorization(masked)
    if masked is text or masked == text:
        return text
    # What stood beside a secret may have become readable as another one; the second pass is nearly always the last.
    return mask_credentials(masked, is_sensitive_key, passes - 1) if passes > 1 else masked


def _dashed(text: str) -> str:
    if "-----" in text:
        text = _private_keys(text)
    if "sk-" in text:
        text = _SK_DASH().sub(REDACTED, text)
    if "xox" in text:
        text = _SLACK().sub(REDACTED, text)
    if "-p" in text:
        text = _FLAG_P().sub(_flag_p, text)
    if "--" in text:
        text = _FLAG_LONG().sub(_keep_first, text)
    return text


def _underscored(text: str) -> str:
    if "gh" in text or "_pat_" in text:
        text = _GITHUB().sub(REDACTED, text)
    if "k_live_" in text or "k_test_" in text or "whsec_" in text:
        text = _STRIPE().sub(REDACTED, text)
    return text


def _authorization(text: str) -> str:
    if "uthorization" in text or "UTHORIZATION" in text:
        return _AUTHORIZATION().sub(_keep_first, text)
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
    if not equals and _ONE_DASH_OPTION().fullmatch(attached):
        before = match.string[max(0, match.start() - _LOOK_BACK) : match.start()]
        if not any(program in before for program in _TAKES_ATTACHED):
            return match[0]
    return f"{flag}{equals}{REDACTED}"


def _export(match: re.Match[str]) -> str:
    name = match[2].upper()
    return match[1] + REDACTED if any(word in name for word in _SECRET_IN_NAME) else match[0]


def _assignments(text: str, is_sensitive_key: Callable[[str], bool]) -> str:
    if "export" in text:
        text = _EXPORT().sub(_export, text)
    if not any(word in text for word in _SECRET_IN_NAME):
        return text
    parts: list[str] = []
    done = 0
    for match in _ASSIGNMENT().finditer(text):
        if match.start() < done or not is_sensitive_key(match[1]):
            continue
        value = _VALUE().match(text, match.end())
        if value is not None:
            parts += [text[done : match.end()], REDACTED]
            done = value.end()
    return "".join([*parts, text[done:]]) if parts else text


def _private_keys(text: str) -> str:
    parts: list[str] = []
    done = 0
    for end in _PEM_END().finditer(text):
        begin = _PEM_BEGIN().search(text, done, end.start())
        start = begin.start() if begin else end.start()
        if begin is None:
            # The beginning was cut off; take the lines of the body back to the first other character.
            while start > done and text[start - 1] in _PEM_BODY:
                start -= 1
        parts += [text[done:start], REDACTED]
        done = end.end()
    begin = _PEM_BEGIN().search(text, done)
    while begin is not None:
        parts += [text[done : begin.start()], REDACTED]
        # The end was cut off: all that follows is the key, unless only the marker is quoted, as in a search.
        done = len(text) if _PEM_GOES_ON().match(text, begin.end()) else begin.end()
        begin = _PEM_BEGIN().search(text, done)
    return "".join([*parts, text[done:]]) if parts else text
