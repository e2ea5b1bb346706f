r"""
Which network host an argument names, and whether a list of hosts admits it.

Programs read the same address differently: a browser takes ``http:/\evil.com`` for a host, a library deletes the
newline in the middle of a name, ``0xA9FEA9FE`` is an IPv4 address to one and a name to another.  One reading is
made canonical here and compared; a text that has several is refused with `BadHost`.  Nothing is looked up.
"""

from __future__ import annotations

import fnmatch
import re
import unicodedata
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import NamedTuple, NoReturn

_DEFAULT_PORTS = {"http": 80, "ws": 80, "https": 443, "wss": 443, "ftp": 21}

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_WEB_START = re.compile(r"(?:https?|wss?|ftp):.", re.IGNORECASE | re.DOTALL)
_URL_START = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:\S|//[^\s/\\?#]")
_BLANK_OR_CONTROL = re.compile(r"[\s\x00-\x20\x7f-\x9f]")
_LEADING = "".join(map(chr, range(0x21)))  # what a browser removes in front of a URL
_DELETED = str.maketrans("", "", "\t\n\r")  # what libraries remove anywhere in it

_DOTS = re.compile("[.\u3002\uff0e\uff61]")
_LABEL = re.compile(r"[a-z0-9_-]{1,63}")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_MAX_HOST = 253
_MAX_RAW = 1024  # non-ASCII text can shrink when composed, but normalising a long run of accents is not linear
# Sharp s, final sigma, zero-width joiner and non-joiner have one meaning in IDNA 2003 and another in IDNA 2008;
# the capital sharp s turns into one of them.
_DEVIATIONS = frozenset("\u00df\u03c2\u200c\u200d\u1e9e")

# The URL in free text: where one ends, and what belongs to the sentence around it.
_MAYBE_URL = re.compile(r":[/\\]")
_SCHEME_CHARS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+.-")
_TEXT_END = re.compile(r"""[\s'"`<>\x00-\x1f\x7f-\x9f]""")
_AUTHORITY_END = re.compile(r"""[/?#\s'"`<>\x00-\x1f\x7f-\x9f]""")
_QUOTE_INSIDE = re.compile(r"""['"`]+(?:[.-]*[\w@%$\\]|:\S*@)""")
_CLOSED_IPV6 = re.compile(r"[^:]*:[/\\]*[^/?#\[\]]*\[[0-9A-Fa-f:.]*\]")
_PROSE = ".,;:!?)]}"

_Address = IPv4Address | IPv6Address
_Network = IPv4Network | IPv6Network

# Everything that is not plain public unicast: IANA's special-purpose blocks, multicast, reserved space.
# 168.63.129.16 looks public and answers inside every Azure machine.
_NOT_PUBLIC_V4 = tuple(
    IPv4Network(block)
    for block in (
        *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "168.63.129.16/32", "169.254.0.0/16"),
        *("172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15"),
        *("198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/3"),
    )
)
_PUBLIC_V6 = (IPv6Network("2000::/3"), IPv6Network("64:ff9b::/96"))
_NOT_PUBLIC_V6 = (IPv6Network("2001::/23"), IPv6Network("2001:db8::/32"), IPv6Network("3fff::/20"))
_LOCAL_NAMES = ("localhost", "internal", "local", "localdomain", "home.arpa")
# IPv6 blocks that carry an IPv4 address, and how far right of it the block goes on: IPv4-compatible, translated,
# NAT64, 6to4.
_CARRIERS = (
    (IPv6Network("::/96"), 0),
    (IPv6Network("::ffff:0:0:0/96"), 0),
    (IPv6Network("64:ff9b::/96"), 0),
    (IPv6Network("2002::/16"), 80),
)


class BadHost(ValueError):  # noqa: N818  # it reads as what was found; callers turn it into a block
    """
    The text names no host, or not one that every reader would agree on.

    The message is a short reason and shows nothing of the text.
    """


class Target(NamedTuple):
    """
    The host that a text names.

    Attributes:
        scheme: In lower case; empty when the text does not say.
        host: Canonical: lower case, IDNA, no trailing dot; IPv4 as four decimal numbers, IPv6 compressed without
            brackets.
        port: Only if written out.
    """

    scheme: str
    host: str
    port: int | None


def is_url(text: str) -> bool:
    """
    Tell whether a text begins as a URL does, with a scheme or with two slashes and a host.

    Blanks and control characters that some reader would remove do not hide a URL; `target_of_url` refuses them.

    Args:
        text: Untrusted text.

    Returns:
        True also for texts that are no URL in the end, such as ``note:this`` or ``localhost:80``.
    """
    text = text.lstrip(_LEADING)
    return bool(_URL_START.match(text) or _WEB_START.match(text.translate(_DELETED)))


def target_of_url(text: str, *, userinfo: bool = False) -> Target:
    """
    Read the host of a text that is one URL.

    A second URL further on in the text is not looked for; see `urls_in`.

    Args:
        text: ``scheme:...`` or ``//host...``.
        userinfo: Drop a user name and password instead of refusing them.

    Returns:
        The host in canonical form.

    Raises:
        BadHost: If there is no host or it can be read in several ways.
    """
    text = _one_line(text)
    if text.startswith("//"):
        return _target("", text[2:], userinfo)
    start = _SCHEME.match(text)
    if start is None:
        raise BadHost("no scheme")
    scheme, rest = start[1].lower(), text[start.end() :]
    if scheme in _DEFAULT_PORTS:
        return _target(scheme, rest.lstrip("/"), userinfo)
    if not rest.startswith("//"):
        raise BadHost("no host")
    return _target(scheme, rest[2:], userinfo)


def target_of_host(text: str, *, userinfo: bool = False) -> Target:
    """
    Read a host that stands without a scheme.

    Args:
        text: ``host``, ``host:port`` or either with a path; IPv6 also without brackets if no port can be meant.
        userinfo: Drop a user name and password instead of refusing them.

    Returns:
        The host in canonical form, its scheme empty.

    Raises:
        BadHost: If there is no host, it can be read in several ways, or the text is a URL.
    """
    text = _one_line(text)
    start = _SCHEME.match(text)
    if start and (start[1].lower() in _DEFAULT_PORTS or text.startswith("//", start.end())):
        raise BadHost("a URL instead of a host")
    return _target("", text, userinfo, bare_ipv6=True)


def urls_in(text: str) -> Iterator[str]:
    """
    Find the URLs in free text: every ``scheme://``, and every web scheme with any slash behind its colon.

    A URL ends where the next one begins, but never inside its own host: ``http://a.com!.b.com://c`` is a URL of one
    strange host, not one of ``a.com``.

    Args:
        text: Untrusted text.

    Yields:
        Each URL as it is written, for `target_of_url`, without the punctuation of the sentence behind it.
    """
    starts = list(_url_starts(text))
    for index, (begin, body) in enumerate(starts):
        following = starts[index + 1] if index + 1 < len(starts) else (len(text), len(text))
        yield text[begin : _url_end(text, begin, body, following)]


def is_private(host: str) -> bool:
    """
    Tell whether a host lies in a network that outsiders do not reach, or may.

    Private, loopback, link-local, shared, reserved and multicast addresses count, also inside IPv6 forms that carry
    IPv4; so do local names, names without a dot and what cannot be read.

    Args:
        host: A host, canonical or not, IPv6 with or without brackets.

    Returns:
        False only for public addresses and for names in the public tree, whatever these resolve to.
    """
    try:
        host = _canonical(f"[{host}]" if ":" in host and not host.startswith("[") else host)
    except BadHost:
        return True
    address = _address(host)
    if address is None:
        return "." not in host or any(host.endswith(f".{name}") or host == name for name in _LOCAL_NAMES)
    return not all(map(_is_public, (address, *_carried(address))))


class HostList:
    """
    Hosts that a rule lists.

    ``*`` is any host, ``*.example.com`` every host below, ``**.example.com`` also ``example.com`` itself,
    ``10.0.0.0/8`` a network; other entries with ``*``, ``?`` or ``[`` are globs on the whole name.  A scheme in front
    and a port behind must be the target's too.  IPv6 addresses that carry an IPv4 address match as either.
    """

    def __init__(self, entries: Iterable[str]) -> None:
        # The characters of "*.example.com" would be a list that admits everything.
        if isinstance(entries, str):
            raise ValueError("host entries come as a list; put the one entry into a list")
        self._entries = tuple(_read_entry(entry) for entry in entries)

    def __contains__(self, target: object) -> bool:
        return isinstance(target, Target) and self.admits(target)

    def admits(self, target: Target) -> bool:
        """
        Tell whether one of the entries covers a target.

        Args:
            target: As `target_of_url` or `target_of_host` made it.

        Returns:
            False for an empty list.
        """
        return any(True for _ in _covers(self._entries, target))

    def names(self, target: Target) -> bool:
        """
        Tell whether an entry that is about certain hosts covers a target.

        Args:
            target: As `target_of_url` or `target_of_host` made it.

        Returns:
            False if only entries such as ``*``, ``*.*`` or ``0.0.0.0/0`` cover it.
        """
        return any(entry.is_certain for entry in _covers(self._entries, target))


def _one_line(text: str) -> str:
    if any(char in text for char in "\t\n\r"):
        raise BadHost("a tab or line break, which some programs delete")
    return text.strip(" ")


def _target(scheme: str, rest: str, userinfo: bool, *, bare_ipv6: bool = False) -> Target:
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    if "\\" in authority:
        raise BadHost("a backslash in the authority")
    if "%" in authority:
        raise BadHost("a percent sign in the authority")
    if _BLANK_OR_CONTROL.search(authority):
        raise BadHost("a blank or control character in the authority")
    if "@" in authority and not userinfo:
        raise BadHost("a user name in front of the host")
    host, port = _split_port(authority.rpartition("@")[2], bare_ipv6=bare_ipv6)
    return Target(scheme, _canonical(host), port)


def _split_port(text: str, *, bare_ipv6: bool) -> tuple[str, int | None]:
    if text.startswith("[") and ":" in text.partition("]")[0]:
        host, closed, rest = text.partition("]")
        if not closed or rest[:1] not in ("", ":"):
            raise BadHost("a bracket that does not enclose an address")
        return f"{host}]", _port(rest[1:])
    host, _, port = text.rpartition(":") if ":" in text else (text, "", "")
    if ":" not in host:
        return host, _port(port)
    if not bare_ipv6:
        raise BadHost("more than one colon")
    if port.isdigit() and _ipv6(host) is not None:
        raise BadHost("an IPv6 address that may end in a port; it needs brackets")
    return f"[{text}]", None


def _port(digits: str) -> int | None:
    if not digits:
        return None
    significant = digits.lstrip("0") or "0"
    if not (digits.isascii() and digits.isdigit() and len(significant) <= 5 and int(significant) <= 65535):
        raise BadHost("a port that is no number up to 65535")
    return int(significant)


def _canonical(host: str) -> str:
    if host.startswith("["):
        address = _ipv6(host[1:-1]) if host.endswith("]") else None
        if address is None:
            raise BadHost("no IPv6 address in the brackets")
        return str(address.ipv4_mapped or address)
    if len(host) > _MAX_RAW:
        raise BadHost("a host that is too long")
    labels = [_ascii_label(label) for label in _DOTS.split(host)]
    if len(labels) > 1 and not labels[-1]:
        labels.pop()
    name = ".".join(labels)
    if not name:
        raise BadHost("an empty host")
    if "" in labels:
        raise BadHost("an empty label in the host")
    if len(name) > _MAX_HOST:
        raise BadHost("a host that is too long")
    # As the URL standard has it: a name that ends in a number is an IPv4 address or nothing.
    return _ipv4(labels) if _NUMBER.fullmatch(labels[-1]) else name


def _ascii_label(label: str) -> str:
    plain = label if label.isascii() else _idna(label)
    plain = plain.lower()
    if plain and not _LABEL.fullmatch(plain):
        raise BadHost("a host label with a character that is not allowed, or too long")
    # "xn--github-" is "github" in disguise: old decoders unwrap it.
    if plain.startswith("xn--") and not _is_punycode(plain[4:]):
        raise BadHost("a label that is no international name though it begins with xn--")
    return plain


def _idna(label: str) -> str:
    from stringprep import in_table_a1, in_table_b1

    folded = unicodedata.normalize("NFKC", label)
    if not _DEVIATIONS.isdisjoint(label + folded):
        raise BadHost("a character that IDNA 2003 and IDNA 2008 read differently")
    if any(in_table_b1(char) for char in label):
        raise BadHost("an invisible character in the host")
    if not folded or len(folded) > 63:
        raise BadHost("a host label that is too long or vanishes")
    try:
        plain = folded.encode("idna").decode("ascii")
        shown = plain.encode("ascii").decode("idna")
    except UnicodeError:
        raise BadHost("a host label that IDNA refuses") from None
    # The codec knows Unicode 3.2; how later characters fold depends on the reader.
    if any(in_table_a1(char) for char in label + shown):
        raise BadHost("a character too new for every reader to fold alike")
    return plain


def _is_punycode(text: str) -> bool:
    try:
        name = text.encode("ascii").decode("punycode")
        return not name.isascii() and name.encode("punycode").decode("ascii") == text
    except (UnicodeError, ValueError, OverflowError):
        return False


def _ipv4(labels: list[str]) -> str:
    numbers = [_number(label) for label in labels]
    last = numbers.pop()
    if len(numbers) > 3 or any(number > 255 for number in numbers) or last >= 256 ** (4 - len(numbers)):
        raise BadHost("a number that is no IPv4 address")
    return str(IPv4Address(sum(number << 8 * (3 - place) for place, number in enumerate(numbers)) + last))


def _number(label: str) -> int:
    if re.fullmatch(r"0x[0-9a-f]+", label):
        return int(label, 16)
    if re.fullmatch(r"0[0-7]*", label):
        return int(label, 8)
    if re.fullmatch(r"[1-9][0-9]*", label):
        return int(label)
    raise BadHost("a number that is no IPv4 address")


def _ipv6(text: str) -> IPv6Address | None:
    try:
        return None if "%" in text or len(text) > 45 else IPv6Address(text)
    except ValueError:
        return None


def _address(host: str) -> _Address | None:
    if ":" not in host and not host[-1:].isdigit():
        return None  # most hosts are names, and the error that tells so is slow
    try:
        return ip_address(host)
    except ValueError:
        return None


def _carried(address: _Address) -> list[IPv4Address]:
    if isinstance(address, IPv4Address):
        return []
    return [IPv4Address(int(address) >> shift & 0xFFFFFFFF) for block, shift in _CARRIERS if address in block]


def _is_public(address: _Address) -> bool:
    if isinstance(address, IPv4Address):
        return not any(address in block for block in _NOT_PUBLIC_V4)
    return any(address in block for block in _PUBLIC_V6) and not any(address in block for block in _NOT_PUBLIC_V6)


def _url_starts(text: str) -> Iterator[tuple[int, int]]:
    # Where each scheme begins, and the place behind its colon.  Looking back stops at the previous find, so every
    # character is seen once.
    floor = 0
    for found in _MAYBE_URL.finditer(text):
        begin = found.start()
        while begin > floor and text[begin - 1] in _SCHEME_CHARS:
            begin -= 1
        while begin < found.start() and not text[begin].isalpha():
            begin += 1
        floor = found.end()
        scheme = text[begin : found.start()]
        if scheme and (text.startswith("://", found.start()) or scheme.lower() in _DEFAULT_PORTS):
            yield begin, found.start() + 1


def _url_end(text: str, begin: int, body: int, following: tuple[int, int]) -> int:
    next_begin, next_body = following
    host = body
    while host < next_begin and text[host] in "/\\":
        host += 1
    # The next scheme may really be the end of this host.  "http" and the like are no domain anybody owns.
    reach = next_begin if text[next_begin : next_body - 1].lower() in _DEFAULT_PORTS else next_body
    stop = _AUTHORITY_END.search(text, host, next_body)
    if stop and stop[0] in "'\"`" and (inside := _QUOTE_INSIDE.match(text, stop.start(), reach)):
        # A shell joins http://a.com''.b.com to one host.  With its quote the URL is refused.
        return inside.end()
    limit = next_begin if stop and stop.start() < next_begin else reach
    ended = _TEXT_END.search(text, host, limit)
    url = text[begin : ended.start() if ended else limit]
    ipv6 = _CLOSED_IPV6.match(url)
    return begin + max(len(url.rstrip(_PROSE)), ipv6.end() if ipv6 else 0)


class _Entry(NamedTuple):
    scheme: str
    port: int | None
    hosts: _Network | re.Pattern[str]
    is_certain: bool


def _covers(entries: Iterable[_Entry], target: Target) -> Iterator[_Entry]:
    address = _address(target.host)
    addresses = () if address is None else (address, *_carried(address))
    names = (target.host, *map(str, addresses[1:]))
    port = _DEFAULT_PORTS.get(target.scheme) if target.port is None else target.port
    for entry in entries:
        if entry.scheme not in ("", target.scheme) or entry.port not in (None, port):
            continue
        if isinstance(entry.hosts, re.Pattern):
            covered = any(entry.hosts.fullmatch(name) for name in names)
        else:
            covered = any(each in entry.hosts for each in addresses)
        if covered:
            yield entry


def _read_entry(entry: str) -> _Entry:
    if not isinstance(entry, str) or not entry:
        raise ValueError(f"host entry {entry!r} is not text; write a host such as 'api.example.com'")
    if "@" in entry:
        # What stands in front may be a password.
        host = entry.rpartition("@")[2]
        raise ValueError(f"host entry '...@{host}' has a user name; write {host!r}")
    if _BLANK_OR_CONTROL.search(entry):
        _bad_entry(entry, f"has whitespace or control characters; write {_BLANK_OR_CONTROL.sub('', entry)!r}")
    if "\\" in entry:
        _bad_entry(entry, "has a backslash; write the host alone, such as 'api.example.com'")
    start = re.match(r"([A-Za-z][A-Za-z0-9+.-]*)://", entry)
    prefix, scheme = (start[0], start[1].lower()) if start else ("", "")
    rest = entry[len(prefix) :]
    if "/" in rest or "#" in rest:
        if not prefix and re.fullmatch(r"[0-9A-Fa-f:.]+/[0-9]{1,3}", rest):
            network = _network(entry)
            return _Entry("", None, network, network.prefixlen > 0)
        host = re.split("[/#]", rest.lstrip("/"), maxsplit=1)[0] or "api.example.com"
        _bad_entry(entry, f"has a path; write {prefix + host!r}")
    try:
        host, port = _split_port(rest, bare_ipv6=True)
        # A glob needs a letter or digit outside of its brackets to be about anything; [::1] has no wildcard.
        is_certain = ":" in host or bool(re.search(r"[^\W_]", re.sub(r"\[[^\]]*\]", "", host)))
        return _Entry(scheme, port, re.compile(_pattern(host), re.IGNORECASE | re.ASCII), is_certain)
    except BadHost as error:
        _bad_entry(entry, f"has {error}; write a host, a wildcard such as '*.example.com' or a network")


def _bad_entry(entry: str, why: str) -> NoReturn:
    raise ValueError(f"host entry {entry!r} {why}") from None


def _network(entry: str) -> _Network:
    try:
        network = ip_network(entry, strict=False)
    except ValueError:
        _bad_entry(entry, "is no network; write one such as '10.0.0.0/8' or 'fd00::/8', or the host alone")
    if str(network.network_address) != str(ip_address(entry.partition("/")[0])):
        _bad_entry(entry, f"is an address inside a network; write '{network}' or the address alone")
    # Mapped addresses become IPv4 when they are read, so their network has to as well.
    mapped = network.network_address.ipv4_mapped if isinstance(network, IPv6Network) else None
    return IPv4Network((mapped, network.prefixlen - 96)) if mapped and network.prefixlen >= 96 else network


def _pattern(host: str) -> str:
    if host in ("*", "**"):
        return r".*"
    if (host.startswith("[") and ":" in host) or not any(char in host for char in "*?["):
        if host.startswith("."):
            raise BadHost(f"no label before the dot (meant as '*{host}'?)")
        return re.escape(_canonical(host))
    stars, _, below = host.partition(".")
    if stars in ("*", "**") and below and not any(char in below for char in "*?[") and not _ends_in_number(below):
        name = re.escape(_canonical(below))
        return rf".+\.{name}" if stars == "*" else rf"(?:.+\.)?{name}"
    return _glob(host)


def _ends_in_number(host: str) -> bool:
    return bool(re.search(r"(?:^|\.)[0-9]+\.?\Z", host))


def _glob(host: str) -> str:
    labels = [label if label.isascii() else _ascii_label(label) for label in _DOTS.split(host)]
    if len(labels) > 1 and not labels[-1] and labels[-2].strip("*"):
        labels.pop()
    if "" in labels:
        raise BadHost("an empty label")
    glob = ".".join(labels)
    if not re.fullmatch(r"(?:[A-Za-z0-9_.*?-]|\[!?[A-Za-z0-9_.-]+\])+", glob):
        raise BadHost("a character that no host has, or a bracket left open")
    # "10.*" means addresses; it must not admit the name 10.evil.com.
    addresses = "" if re.search(r"[A-Za-z]", glob) or not re.search(r"[0-9]", glob) else r"(?=[0-9.]+\Z)"
    return addresses + fnmatch.translate(glob)
