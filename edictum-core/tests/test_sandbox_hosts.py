from __future__ import annotations

import socket
from urllib.parse import urlsplit

import pytest
from edictum.sandbox.hosts import (
    BadHost,
    HostList,
    Target,
    is_private,
    is_url,
    target_of_host,
    target_of_url,
    urls_in,
)
from hypothesis import assume, example, given
from hypothesis import strategies as st

any_text = st.text(alphabet=st.characters(codec=None, exclude_categories=()))
urlish = st.text(alphabet="htps:/\\@[]().,;'\"`<> \n%?#&=1.0xe\u3002\u00df*", max_size=40)
label = st.from_regex(r"\A[a-z][a-z0-9-]{0,10}[a-z]\Z")
name = st.lists(label, min_size=1, max_size=4).map(".".join).filter(lambda host: "xn--" not in host)
address = st.integers(min_value=0, max_value=2**32 - 1)
web_schemes = {"http": 80, "https": 443, "ws": 80, "wss": 443, "ftp": 21}


def dotted(number: int) -> str:
    return socket.inet_ntoa(number.to_bytes(4, "big"))


@st.composite
def ipv4_form(draw: st.DrawFn, number: int) -> str:
    octets = number.to_bytes(4, "big")
    whole = draw(st.integers(min_value=0, max_value=3))
    parts = [*octets[:whole], int.from_bytes(octets[whole:], "big")]
    styles = st.sampled_from(["{}", "0{:o}", "00{:o}", "0x{:x}", "0X{:X}", "0x0{:x}"])
    return ".".join(draw(styles).format(part) for part in parts)


@pytest.mark.security
@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("https://api.example.com", ("https", "api.example.com", None)),
        ("  https://api.example.com/x  ", ("https", "api.example.com", None)),
        ("https://GITHUB.com:443/x", ("https", "github.com", 443)),
        ("HtTpS://github.com?q#f", ("https", "github.com", None)),
        ("https://github.com#@evil.com", ("https", "github.com", None)),
        ("https://github.com/\\evil.com", ("https", "github.com", None)),
        ("https://github.com/%2e?a=b@c", ("https", "github.com", None)),
        ("https://github.com.", ("https", "github.com", None)),
        ("https://github.com:/x", ("https", "github.com", None)),
        ("https://github.com:000443", ("https", "github.com", 443)),
        ("https://github.com:0", ("https", "github.com", 0)),
        ("http:evil.com", ("http", "evil.com", None)),
        ("http:/evil.com", ("http", "evil.com", None)),
        ("http:///evil.com", ("http", "evil.com", None)),
        ("wss://///evil.com/x", ("wss", "evil.com", None)),
        ("//evil.com/x", ("", "evil.com", None)),
        ("//evil.com:80", ("", "evil.com", 80)),
        ("http://github.com/ http://evil.com/", ("http", "github.com", None)),
        ("git+ssh://evil.com/x", ("git+ssh", "evil.com", None)),
        ("http://_dmarc.under_score.com", ("http", "_dmarc.under_score.com", None)),
        ("http://2852039166/", ("http", "169.254.169.254", None)),
        ("http://0xA9FEA9FE", ("http", "169.254.169.254", None)),
        ("http://169.254.43518", ("http", "169.254.169.254", None)),
        ("http://0251.0376.0251.0376", ("http", "169.254.169.254", None)),
        ("http://0251.0xfe.43518:80", ("http", "169.254.169.254", 80)),
        ("http://127.1", ("http", "127.0.0.1", None)),
        ("http://127.0.0.1.", ("http", "127.0.0.1", None)),
        ("http://0", ("http", "0.0.0.0", None)),
        ("http://\uff11\uff16\uff19.254.169.254", ("http", "169.254.169.254", None)),
        ("http://\uff10\uff58\uff17f\uff0e1", ("http", "127.0.0.1", None)),
        ("http://169\u3002254\uff61169\uff0e254", ("http", "169.254.169.254", None)),
        ("http://\uff47ithub.com", ("http", "github.com", None)),
        ("http://\u212aernel.org", ("http", "kernel.org", None)),
        ("http://b\u00fccher.example\u3002", ("http", "xn--bcher-kva.example", None)),
        ("http://BU\u0308CHER.example", ("http", "xn--bcher-kva.example", None)),
        ("http://xn--BCHER-kva.example", ("http", "xn--bcher-kva.example", None)),
        ("http://xn--strae-oqa.de", ("http", "xn--strae-oqa.de", None)),
        ("http://[::1]/", ("http", "::1", None)),
        ("http://[::1]:8080/", ("http", "::1", 8080)),
        ("http://[FD00:0:0::0001]", ("http", "fd00::1", None)),
        ("http://[::ffff:169.254.169.254]", ("http", "169.254.169.254", None)),
        ("http://[::ffff:a9fe:a9fe]", ("http", "169.254.169.254", None)),
        ("http://[64:ff9b::169.254.169.254]", ("http", "64:ff9b::a9fe:a9fe", None)),
    ],
)
def test_target_of_url_one_reading_gives_the_canonical_host(url: str, target: tuple[str, str, int | None]) -> None:
    assert Target(*target) == target_of_url(url)


@pytest.mark.security
@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("https://evil.com\\@api.example.com", "backslash"),
        ("http:\\\\evil.com", "backslash"),
        ("http:/\\evil.com", "backslash"),
        ("//\\evil.com", "backslash"),
        ("foo://a\\b", "backslash"),
        ("https://user@host", "user name"),
        ("https://user:password@host", "user name"),
        ("https://@host", "user name"),
        ("http://a%2eb.com", "percent"),
        ("http://[fe80::1%25eth0]", "percent"),
        ("http://git\nhub.com", "tab or line break"),
        ("\thttp://github.com", "tab or line break"),
        ("http://github.com/\r", "tab or line break"),
        ("ht\ntp://github.com", "tab or line break"),
        ("http://git hub.com", "blank"),
        ("http:// github.com", "blank"),
        ("http://github.com\u00a0", "blank"),
        ("http://git\x00hub.com", "blank or control"),
        ("http://github.com\x7f", "blank or control"),
        ("http://github.com\x85", "blank or control"),
        ("\x01http://github.com", "no scheme"),
        ("github.com", "no scheme"),
        ("/x", "no scheme"),
        ("", "no scheme"),
        ("mailto:a@b.com", "no host"),
        ("git:/evil.com", "no host"),
        ("file:///etc/passwd", "empty host"),
        ("git:///evil.com", "empty host"),
        ("///evil.com", "empty host"),
        ("http://", "empty host"),
        ("http:", "empty host"),
        ("http://?x", "empty host"),
        ("http://:80", "empty host"),
        ("http://.", "empty"),
        ("http://a..b", "empty label"),
        ("http://.a", "empty label"),
        ("http://a.com..", "empty label"),
        ("http://a.com:65536", "port"),
        ("http://a.com:99999999999", "port"),
        ("http://a.com:80a", "port"),
        ("http://a.com:-1", "port"),
        ("http://a.com:\u0664", "port"),
        ("http://a.com:80:80", "colon"),
        ("http://::1/", "colon"),
        ("http://[::1", "bracket"),
        ("http://[::1]x", "bracket"),
        ("http://[::1]]", "bracket"),
        ("http://[::g]", "no IPv6"),
        ("http://[127.0.0.1]", "no IPv6"),
        ("http://[v1.fe]", "no IPv6"),
        ("http://[]", "no IPv6"),
        ("http://a.com,b", "label"),
        ("http://a&b", "label"),
        ("http://a'b", "label"),
        ("http://a*b", "label"),
        ("http://" + "a" * 64, "label"),
        ("http://" + "a." * 126 + "aa", "too long"),
        ("http://" + "\u0316\u0301" * 100_000, "too long"),
        ("http://256.1.1.1", "IPv4"),
        ("http://1.2.3.4.5", "IPv4"),
        ("http://1.2.3.256", "IPv4"),
        ("http://4294967296", "IPv4"),
        ("http://08.1", "IPv4"),
        ("http://example.1", "IPv4"),
        ("http://example.0x", "IPv4"),
        ("http://0x", "IPv4"),
        ("http://stra\u00dfe.de", "IDNA 2003"),
        ("http://STRA\u1e9eE.de", "IDNA 2003"),
        ("http://\u03b2\u03cc\u03bb\u03bf\u03c2.com", "IDNA 2003"),
        ("http://a\u200db.com", "IDNA 2003"),
        ("http://a\u200cb.com", "IDNA 2003"),
        ("http://git\u00adhub.com", "invisible"),
        ("http://git\u200bhub.com", "invisible"),
        ("http://\u00ad.com", "invisible"),
        ("http://evil\u2024com", "label"),
        ("http://\u2488com", "label"),
        ("http://evil.c\u2100.example.com", "label"),
        ("http://evil\uff20github.com", "label"),
        ("http://evil\uff0fgithub.com", "label"),
        ("http://evil.com\uff1a80", "label"),
        ("http://evil\uff05.com", "label"),
        ("http://\u0628a.com", "IDNA"),
        ("http://\ue000.com", "IDNA"),
        ("http://\ufffd.com", "IDNA"),
        ("http://\U0001f389.com", "too new"),
        ("http://\u13a0.com", "too new"),
        ("http://\U0001fbf1.com", "too new"),
        ("http://" + "\u00fc" * 63 + ".com", "IDNA refuses"),
        ("http://xn--github-.com", "xn--"),
        ("http://xn--.com", "xn--"),
        ("http://xn--a-\uff45.com", "IDNA refuses"),
    ],
)
def test_target_of_url_text_with_no_or_several_readings_is_refused(url: str, reason: str) -> None:
    with pytest.raises(BadHost, match=reason) as caught:
        target_of_url(url)

    assert "evil" not in str(caught.value)
    assert "password" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://user@host", "host"),
        ("https://user:p@ss@host:80", "host"),
        ("https://[::1]@host", "host"),
        ("https://user@[::1]:80", "::1"),
    ],
)
def test_target_of_url_userinfo_allowed_is_dropped_up_to_the_last_at(url: str, host: str) -> None:
    assert host == target_of_url(url, userinfo=True).host


@pytest.mark.parametrize("url", ["https://user@", "https://us%65r@host", "https://us\\er@host", "https://a@b\uff20c"])
def test_target_of_url_userinfo_allowed_still_refuses_what_is_unclear(url: str) -> None:
    with pytest.raises(BadHost):
        target_of_url(url, userinfo=True)


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("Example.COM.", "example.com", None),
        ("example.com:8443/x?y", "example.com", 8443),
        (" localhost:80 ", "localhost", 80),
        ("0xA9FEA9FE", "169.254.169.254", None),
        ("[::ffff:169.254.169.254]", "169.254.169.254", None),
        ("[::1]:80", "::1", 80),
        ("::1", "::1", None),
        ("fd00::1:a", "fd00::1:a", None),
        ("::ffff:127.0.0.1", "127.0.0.1", None),
        ("2001:db8:0:0:0:0:0:1", "2001:db8::1", None),
    ],
)
def test_target_of_host_bare_host_is_canonical(text: str, host: str, port: int | None) -> None:
    assert Target("", host, port) == target_of_host(text)


@pytest.mark.security
@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty host"),
        ("/etc/passwd", "empty host"),
        ("//evil.com", "empty host"),
        ("http://evil.com", "URL instead"),
        ("http:80", "URL instead"),
        ("HTTP:evil.com", "URL instead"),
        ("a.b://evil.com", "URL instead"),
        ("2001:db8::1:80", "brackets"),
        ("1:2:3", "no IPv6"),
        ("fe80::1%eth0", "percent"),
        ("git@github.com:o/r", "user name"),
        ("github.com:o/r", "port"),
        ("\\\\evil.com\\share", "backslash"),
        ("a b", "blank"),
    ],
)
def test_target_of_host_text_with_no_or_several_readings_is_refused(text: str, reason: str) -> None:
    with pytest.raises(BadHost, match=reason):
        target_of_host(text)


def test_target_of_host_userinfo_allowed_is_dropped() -> None:
    assert Target("", "host", 22) == target_of_host("git@host:22", userinfo=True)


@pytest.mark.parametrize(
    "text",
    [
        "http://a",
        "HTTP:evil.com",
        "http: x",
        "mailto:a@b",
        "//evil.com/x",
        "//@evil.com",
        "//[::1]",
        " http://a",
        "\n\x01http://a",
        "ht\ntp:/\n/evil.com",
        "localhost:80",
    ],
)
def test_is_url_scheme_or_two_slashes_is_seen(text: str) -> None:
    assert is_url(text)


@pytest.mark.parametrize(
    "text", ["", "http:", "evil.com", "/x", "///x", "// note", "note: this", "1a:b", "a b:c", ":x"]
)
def test_is_url_other_text_is_not_one(text: str) -> None:
    assert not is_url(text)


@pytest.mark.security
@pytest.mark.parametrize(
    ("text", "urls"),
    [
        ("nothing: here / at http all", []),
        ("://evil.com and 1://b and C:\\x and C:/x", []),
        ("see https://a.com/x.", ["https://a.com/x"]),
        ("http://github.com/ http://evil.com/", ["http://github.com/", "http://evil.com/"]),
        ("a=http://x/&b=http://y", ["http://x/&b=", "http://y"]),
        ("http://a.com/r?u=http://evil.com/", ["http://a.com/r?u=", "http://evil.com/"]),
        ("http://a.com,http://b.com", ["http://a.com", "http://b.com"]),
        ("(http://a.com), [http://b.com]; {http://c.com}!", ["http://a.com", "http://b.com", "http://c.com"]),
        ("<http://a.com>text", ["http://a.com"]),
        ("'http://a.com' \"http://b.com\", `http://c.com`", ["http://a.com", "http://b.com", "http://c.com"]),
        ('go to "http://a.com".', ["http://a.com"]),
        ('{"http://a.com":"b"}', ["http://a.com"]),
        ("http://a.com\nhttp://b.com\x00http://c.com\x7f", ["http://a.com", "http://b.com", "http://c.com"]),
        ("[http://[::1]]", ["http://[::1]"]),
        ("(http://u@[::1]).", ["http://u@[::1]"]),
        ("http://[::1]:80/a]", ["http://[::1]:80/a"]),
        ("1http://a", ["http://a"]),
        ("x_http://a", ["http://a"]),
        ("git+ssh://a", ["git+ssh://a"]),
        ("curl http:/evil.com http:\\\\evil.com", ["http:/evil.com", "http:\\\\evil.com"]),
        ("http://", ["http://"]),
        ("http://...", ["http://"]),
        ("http://a.comhttp://b.com", ["http://a.comhttp", "a.comhttp://b.com"]),
    ],
)
def test_urls_in_free_text_are_found_without_their_surroundings(text: str, urls: list[str]) -> None:
    assert urls == list(urls_in(text))


@pytest.mark.security
@pytest.mark.parametrize(
    "text",
    [
        "http://github.com!.evil.com://github.com/",
        "http://github.com\u3002evil.com://github.com/",
        "http://github.com@evil.com://github.com/",
        "curl http://github.com''.evil.com/",
        "curl http://github.com'.evil.com'",
        'curl http://github.com"@evil.com"',
        "curl http://github.com'':x@evil.com",
        "curl http://github.com`echo .evil.com`",
        "curl http://'evil.com'",
        "http://github.com`evil.com://x/",
        "http://github.com'evil.com://x/",
        "a=http://x&b=http://y",
    ],
)
def test_urls_in_text_that_hides_the_end_of_a_host_does_not_name_the_first_part(text: str) -> None:
    def readable(url: str) -> bool:
        try:
            return HostList(["github.com", "github.com.", "x"]).admits(target_of_url(url))
        except BadHost:
            return False

    assert not all(readable(url) for url in urls_in(text))


@pytest.mark.parametrize(
    "text",
    [
        "a://" * 50_000,
        "http://" * 50_000,
        ":/" * 100_000,
        "a" * 300_000 + "://",
        "http:" + "/" * 300_000,
        "a://'" * 50_000,
    ],
)
def test_urls_in_long_text_is_read_once(text: str) -> None:
    assert sum(map(len, urls_in(text))) <= 3 * len(text)


@pytest.mark.parametrize(
    ("entry", "admitted", "refused"),
    [
        ("*", ["http://a", "//127.0.0.1", "http://[::1]:9"], []),
        ("https://*", ["https://a"], ["http://a", "//a"]),
        ("*:8443", ["http://a:8443"], ["http://a", "//a"]),
        (
            "Example.COM.",
            ["http://example.com", "https://example.com:9"],
            ["http://a.example.com", "http://exampleXcom"],
        ),
        (
            "*.example.com",
            ["http://a.example.com", "http://a.b.example.com"],
            ["http://example.com", "http://aexample.com"],
        ),
        ("**.example.com", ["http://example.com", "http://a.b.example.com"], ["http://aexample.com"]),
        ("*.B\u00dcCHER.de.", ["http://a.xn--bcher-kva.de"], ["http://xn--bcher-kva.de"]),
        ("b\u00fccher.de", ["http://b\u00fccher.de"], ["http://bucher.de"]),
        ("b\u00fccher.*", ["http://b\u00fccher.de"], ["http://bucher.de"]),
        ("API-*.Example.com", ["http://api-1.example.com", "http://api-a.b.example.com"], ["http://api.example.com"]),
        ("h?st.[a-c]x", ["http://host.ax"], ["http://host.dx", "http://hst.ax"]),
        ("h[!a]st.com", ["http://host.com"], ["http://hast.com"]),
        ("[ab].com", ["http://a.com", "http://b.com"], ["http://c.com"]),
        ("[ab].com:80", ["http://a.com", "https://b.com:80"], ["http://b.com:81"]),
        ("10.*", ["http://10.1.2.3", "http://0x0a010203"], ["http://10.evil.com", "http://11.0.0.1"]),
        ("*.0.0.1", ["http://127.1"], ["http://127.0.0.2"]),
        (
            "10.0.0.0/8",
            ["http://10.1", "http://[::ffff:10.0.0.1]", "http://[2002:a00:1::]"],
            ["http://11.1", "http://a"],
        ),
        ("169.254.0.0/16", ["http://[64:ff9b::a9fe:a9fe]", "http://[::a9fe:a9fe]"], ["http://[64:ff9b::1]"]),
        ("fd00::/8", ["http://[fd12::1]"], ["http://[fe80::1]", "http://253.0.0.1"]),
        ("::ffff:10.0.0.0/104", ["http://10.9.9.9"], ["http://11.9.9.9"]),
        ("0x7f.1", ["http://127.0.0.1", "http://2130706433", "http://[2002:7f00:1::]"], ["http://127.0.0.2"]),
        ("::1", ["http://[::1]", "http://[0:0::1]:80"], ["http://[::2]"]),
        ("[::1]", ["http://[::1]:80"], ["http://[::2]"]),
        ("[::1]:80", ["http://[::1]", "ftp://[::1]:80"], ["http://[::1]:81", "https://[::1]"]),
        ("https://api.example.com", ["https://api.example.com:9"], ["http://api.example.com", "//api.example.com"]),
        ("WSS://a.b:443", ["wss://a.b", "wss://a.b:443"], ["wss://a.b:80", "https://a.b"]),
        ("a:21", ["ftp://a", "//a:21"], ["http://a", "//a", "git://a"]),
        ("a:80", ["http://a", "ws://a"], ["https://a", "http://a:8080"]),
    ],
)
def test_host_list_entry_admits_what_it_says(entry: str, admitted: list[str], refused: list[str]) -> None:
    hosts = HostList([entry])

    assert [url for url in admitted if not hosts.admits(target_of_url(url))] == []
    assert [url for url in refused if target_of_url(url) in hosts] == []


def test_host_list_empty_admits_nothing() -> None:
    assert not HostList([]).admits(target_of_url("http://a"))
    assert "http://a" not in HostList(["*"])


@pytest.mark.parametrize(
    ("entry", "advice"),
    [
        ("example.com/x", "has a path; write 'example.com'"),
        ("https://example.com/", "has a path; write 'https://example.com'"),
        ("//example.com", "has a path; write 'example.com'"),
        ("example.com#x", "has a path"),
        ("http://10.0.0.0/8", "has a path"),
        ("example.com/8", "has a path"),
        ("10.0.0.0/33", "is no network"),
        ("10.0.0.1/8", "write '10.0.0.0/8'"),
        ("fd00::1/8", "write 'fd00::/8'"),
        ("user:hunter2@example.com", "has a user name; write 'example.com'"),
        (" example.com", "has whitespace or control characters; write 'example.com'"),
        ("example.com\n", "has whitespace"),
        ("a\\b", "has a backslash; write"),
        ("a%2eb", "not allowed"),
        (".example.com", r"meant as '\*\.example\.com'"),
        ("example.com:http", "has a port"),
        ("http:example.com", "has a port"),
        ("fd00::1:2", "needs brackets"),
        ("fd00:*", "has a port"),
        ("a..*", "empty label"),
        ("*.", "empty label"),
        ("*.com..", "empty label"),
        ("[ab.com", "bracket left open"),
        ("*,a", "a character that no host has"),
        ("b\u00fc*.de", "not allowed"),
        ("stra\u00dfe.de", "IDNA 2003"),
        ("1.2.3.4.5", "IPv4"),
        ("", "is not text"),
    ],
)
def test_host_list_entry_that_cannot_be_meant_is_refused_with_advice(entry: str, advice: str) -> None:
    with pytest.raises(ValueError, match=advice) as caught:
        HostList(["ok.com", entry])

    assert not isinstance(caught.value, BadHost)
    assert "host entry" in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_host_list_single_text_instead_of_a_list_is_refused() -> None:
    with pytest.raises(ValueError, match="as a list"):
        HostList("*.example.com")


@pytest.mark.parametrize(
    ("entries", "named"),
    [
        (["*"], False),
        (["**", "https://*", "*:80", "?*", "*.*", "*.*.*.*", "[0-9]*", "0.0.0.0/0"], False),
        (["*", "10.0.0.0/8"], True),
        (["10.*"], True),
        (["10.0.0.1"], True),
        (["http://10.0.0.1:80"], True),
        (["*", "10.0.0.2"], False),
    ],
)
def test_host_list_names_only_what_an_entry_is_about(entries: list[str], named: bool) -> None:
    hosts = HostList(entries)

    assert hosts.admits(target_of_url("http://10.0.0.1"))
    assert named == hosts.names(target_of_url("http://10.0.0.1"))


def test_host_list_names_ipv6_entry_in_brackets_is_about_its_address() -> None:
    assert HostList(["[::1]"]).names(target_of_url("http://[::1]"))


@pytest.mark.security
@pytest.mark.parametrize(
    "host",
    [
        *("10.0.0.1", "172.31.0.1", "192.168.1.1", "127.0.0.1", "127.9.9.9", "0.0.0.0", "169.254.169.254"),
        *(
            "100.64.0.1",
            "100.100.100.200",
            "168.63.129.16",
            "192.0.0.192",
            "198.18.0.1",
            "224.0.0.1",
            "255.255.255.255",
        ),
        *("2130706433", "0x7f.1", "127.1"),
        *("::", "::1", "[::1]", "fe80::1", "fd00:ec2::254", "fc00::1", "ff02::1", "fec0::1", "2001:db8::1", "2001::1"),
        *("::ffff:10.0.0.1", "::ffff:0:10.0.0.1", "::10.0.0.1", "2002:a00:1::", "2002:a9fe:a9fe::1", "64:ff9b::a00:1"),
        *("64:ff9b:1::8.8.8.8", "localhost", "LOCALHOST.", "a.localhost", "metadata.google.internal", "printer.local"),
        *("local", "router.home.arpa", "redis", "", "a b", "1.2.3.4.5", "fe80::1%eth0"),
    ],
)
def test_is_private_inner_or_unreadable_host_is(host: str) -> None:
    assert is_private(host)


@pytest.mark.parametrize(
    "host",
    [
        *("8.8.8.8", "1.1.1.1", "172.32.0.1", "100.128.0.1", "169.253.0.1", "223.255.255.255", "2606:4700::1111"),
        *("[2606:4700::1111]", "2002:808:808::1", "64:ff9b::808:808", "::ffff:8.8.8.8", "example.com"),
        *("localhost.example.com", "notlocalhost.com", "mylocal.org", "internal.example.com"),
    ],
)
def test_is_private_public_host_is_not(host: str) -> None:
    assert not is_private(host)


@given(any_text | urlish)
@example("http://\u0130.com")
@example("http://\ufdfa.com")
def test_any_text_is_read_or_refused_and_reading_again_changes_nothing(text: str) -> None:
    is_url(text)
    is_private(text)
    for read, written in ((target_of_url, text), (target_of_url, f"http://{text}"), (target_of_host, text)):
        try:
            host = read(written, userinfo=True).host
        except BadHost:
            continue
        assert host == target_of_host(f"[{host}]" if ":" in host else host).host
        assert host.isascii()
        assert HostList([f"[{host}]" if ":" in host else host]).admits(Target("", host, None))


@given(any_text | urlish)
def test_urls_in_any_text_come_in_order_and_begin_with_a_scheme(text: str) -> None:
    place = 0
    for url in urls_in(text):
        assert is_url(url)
        place = text.index(url, place) + 1


@given(any_text | urlish)
def test_host_list_any_entry_is_taken_or_refused_with_a_value_error(entry: str) -> None:
    try:
        hosts = HostList([entry])
    except ValueError as error:
        assert type(error) is ValueError  # noqa: PT017  # neither BadHost nor a codec's error
    else:
        hosts.admits(Target("http", "a.com", None))


@given(name, st.sampled_from(sorted(web_schemes)), st.data())
def test_target_of_url_written_otherwise_names_the_same_host(host: str, scheme: str, data: st.DataObject) -> None:
    def recase(text: str) -> str:
        return "".join(data.draw(st.sampled_from([char.lower(), char.upper()])) for char in text)

    slashes = "/" * data.draw(st.integers(min_value=0, max_value=5))
    dot = data.draw(st.sampled_from(["", ".", "\u3002"]))
    port = data.draw(st.sampled_from(["", ":", f":{web_schemes[scheme]}"]))
    mutated = target_of_url(f"{recase(scheme)}:{slashes}{recase(host)}{dot}{port}/x")

    assert (scheme, host) == mutated[:2] == target_of_url(f"{scheme}://{host}/x")[:2]
    assert HostList([f"{scheme}://{host}:{web_schemes[scheme]}"]).admits(mutated)


@given(address, st.data())
def test_target_of_host_any_form_of_an_ipv4_address_is_dotted_decimal(number: int, data: st.DataObject) -> None:
    form = data.draw(ipv4_form(number))

    assert dotted(number) == target_of_host(form).host
    assert socket.inet_aton(form) == socket.inet_aton(target_of_host(form).host)


@given(st.lists(st.from_regex(r"\A(0x)?[0-9a-f]{1,4}\Z"), min_size=1, max_size=5).map(".".join))
def test_target_of_host_number_text_is_read_as_inet_aton_reads_it(text: str) -> None:
    try:
        expected = socket.inet_ntoa(socket.inet_aton(text))
    except OSError:
        expected = None
    try:
        host = target_of_host(text).host
    except BadHost:
        host = None

    assert host == expected or (expected is None and host == text)


@given(name, st.sampled_from(["", ":8080"]), st.from_regex(r"\A(/[a-z]*(\?[a-z=]*)?)?\Z"))
def test_target_of_url_plain_url_agrees_with_the_standard_library(host: str, port: str, path: str) -> None:
    url = f"https://{host}{port}{path}"
    assume(not host.endswith("."))

    assert (urlsplit(url).hostname, urlsplit(url).port) == target_of_url(url)[1:]
