"""
Which words of a command name a host without a scheme: ``curl example.com``, ``ssh example.com``, ``nc example.com 80``.

Only programs that are known to connect are read, because any word could be the name of a host.  Of an option that is
not known to take a value the next word may be a host, so it counts as one.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence

from edictum.sandbox.commands import RUNNERS
from edictum.sandbox.hosts import BadHost

# Short options that take a value, by program.
_CURL = "AbcCdDeEFhHmoPQrtTuUwXyYz"
_WGET = "aAABDeIlOoPQRtTUwX"
_SSH = "BbcDEeFIiLlmOopQRSw"
_ONLY_FIRST = {"ssh": _SSH, "sftp": "BbcDFiloPRSs", "telnet": "bbeklnSsX", "mosh": "", "ftp": "", "autossh": _SSH + "M"}
_ALL_WORDS = {
    "curl": _CURL,
    "wget": _WGET,
    "http": "Aabdop",
    "https": "Aabdop",
    "xh": "Aabdop",
    "aria2c": "doijsx",
    "nc": "IiMmOPpqsTVwWXx",
    "ncat": "cegGiIoOpqswx",
    "netcat": "IiMmOPpqsTVwWXx",
    "ping": "cFGgIiLlMmnpQSsTtWw",
    "ping6": "cFGgIiLlMmnpQSsTtWw",
    "traceroute": "fgiMmNnpqstwz",
    "tracepath": "lmp",
    "mtr": "acfFimopsTuy",
    "dig": "bcfkpqtxy",
    "nslookup": "",
    "host": "cmNRtW",
    "whois": "hipst",
    "lftp": "cefopu",
    "nmap": "DegimopsST",
}
# Only words of the form host:path are hosts.
_REMOTE_PATHS = {"scp": "cDFiJloPSX", "rsync": "BefMT"}
_GIT_REMOTES = {"clone": None, "ls-remote": None, "remote": None, "submodule": None, "push": 1, "fetch": 1, "pull": 1}

# The value of these is no host.
_VALUES = """
    request header data data-raw data-binary data-urlencode data-ascii json form form-string user user-agent referer
    output output-dir max-time connect-timeout retry retry-delay retry-max-time cookie cookie-jar cacert capath cert key
    range write-out upload-file limit-rate output-document output-file directory-prefix tries timeout wait body-data
    post-data post-file load-cookies save-cookies http-user http-password quota password rsh exclude include files-from
    exclude-from include-from filter auth
"""
_HOSTS = """
    url proxy preproxy proxy1.0 socks4 socks4a socks5 socks5-hostname doh-url connect-to resolve base jump
"""
_LONG_WITH_VALUE, _HOST_OPTIONS = frozenset(_VALUES.split()), frozenset(_HOSTS.split())
_SHORT_HOST_OPTIONS = {"curl": "x", "wget": "B", "ssh": "JW", "autossh": "J", "scp": "J", "sftp": "J", "nc": "x"}
_SSH_HOST_OPTIONS = frozenset(("proxyjump", "hostname"))
# What these name holds further addresses, and is not looked into.
_READS_FILES = {"curl": ("config", "K"), "wget": ("input-file", "i"), "aria2c": ("input-file", "i")}

_METHOD = re.compile("[A-Z]+")
_PORT = re.compile("[0-9]{1,5}")
_REMOTE_PATH = re.compile(r"(?![A-Za-z]:[/\\])(?:[^@/:]*@)?(\[[^\]/]+\]|[^@/:]+):(?!//)")


def hosts_named(words: Sequence[str]) -> Iterator[str]:
    """
    The words of a command that are taken for a host, with port and path as written.

    Args:
        words: The command, without quotes.

    Raises:
        BadHost: The hosts stand in a file that is not looked into.
    """
    leads = bool(words) and (words[0] in ("!", "{") or os.path.basename(words[0]) in RUNNERS)
    for start in range(len(words) if leads else min(1, len(words))):
        yield from _hosts_of(os.path.basename(words[start]), words[start + 1 :])


def _hosts_of(program: str, words: Sequence[str]) -> Iterator[str]:
    if program in _ONLY_FIRST:
        named, plain = _split(program, words, _ONLY_FIRST[program])
        yield from named
        yield from (word.rpartition("@")[2] for word in plain[:1])
    elif program in _ALL_WORDS:
        named, plain = _split(program, words, _ALL_WORDS[program])
        yield from named
        skips_methods = program in ("http", "https", "xh")
        for word in plain:
            if not _PORT.fullmatch(word) and not (skips_methods and (_METHOD.fullmatch(word) or _is_item(word))):
                yield word.removeprefix("@") if program == "dig" else word
    elif program in _REMOTE_PATHS:
        named, plain = _split(program, words, _REMOTE_PATHS[program])
        yield from named
        yield from _remote_hosts(plain)
    elif program == "git":
        plain = _split(program, words, "cC")[1]
        if plain and plain[0] in _GIT_REMOTES:
            most = _GIT_REMOTES[plain[0]]
            yield from _remote_hosts(plain[1:] if most is None else plain[1 : 1 + most])


def _remote_hosts(words: Sequence[str]) -> Iterator[str]:
    for word in words:
        found = _REMOTE_PATH.match(word)
        if found is not None:
            yield found[1]


def _is_item(word: str) -> bool:
    """
    Whether a word is a field of an HTTPie request: ``name=value``, ``name:value``, ``name@file``.
    """
    return "://" not in word and re.match(r"[A-Za-z0-9_.-]+(?:=|:=|==|@|:[^0-9/])", word) is not None


def _split(program: str, words: Sequence[str], with_value: str) -> tuple[list[str], list[str]]:
    """
    Hosts that stand in options, and the words that belong to no option.
    """
    hosts: list[str] = []
    plain: list[str] = []
    naming = _SHORT_HOST_OPTIONS.get(program, "")
    rest = iter(words)
    for word in rest:
        if word == "--":
            plain += rest
        elif word.startswith("--"):
            name, equals, value = word[2:].partition("=")
            _refuse_files(program, name)
            if name in _HOST_OPTIONS or name in _LONG_WITH_VALUE:
                value = value if equals else next(rest, "")
                if name in _HOST_OPTIONS:
                    hosts += _in_value(value)
        elif len(word) > 1 and word[0] == "-":
            for place, letter in enumerate(word[1:], start=2):
                _refuse_files(program, letter)
                if letter in with_value or letter in naming:
                    value = word[place:] or next(rest, "")
                    if letter in naming:
                        hosts += _in_value(value)
                    elif letter == "o" and with_value == _SSH:
                        hosts += _in_ssh_option(value)
                    break
        else:
            plain.append(word)
    return hosts, plain


def _in_value(value: str) -> list[str]:
    """
    The hosts of an option: one, several, or (``--resolve``, ``--connect-to``) some with ports between them.
    """
    parts = [value] if "://" in value else re.split("[:,]", value)
    return [part.rpartition("@")[2] for part in parts if part and not _PORT.fullmatch(part)]


def _in_ssh_option(value: str) -> list[str]:
    name, _, told = value.replace("=", " ", 1).partition(" ")
    return _in_value(told.strip()) if name.lower() in _SSH_HOST_OPTIONS else []


def _refuse_files(program: str, option: str) -> None:
    if option in _READS_FILES.get(program, ()):
        raise BadHost("hosts that stand in a file")
