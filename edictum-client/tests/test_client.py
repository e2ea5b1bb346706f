"""
Requests to a console: where the key may travel, what a failure means, when it is asked again; and reading answers.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import ipaddress
import json
import logging
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import attrs
import pytest
from answers import answering, reply
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from edictum import EdictumConfigError
from edictum_client import (
    EdictumServerClient,
    EdictumServerError,
    ServerProtocolError,
    ServerRefusedError,
    ServerUnreachableError,
)
from edictum_client.retries import LONGEST_PAUSE, RULESET, STATE, Backoff, Schedule
from edictum_client.wire import (
    Approval,
    CurrentRuleset,
    Desired,
    Heard,
    Ingested,
    Operations,
    Rejected,
    SigningKey,
    SigningKeys,
    read,
)
from hypothesis import given, settings
from hypothesis import strategies as st

KEY = "edk_production_3fJqVw8ySecretSecretSecret"
QUICK = Schedule(connect=2, total=10, pauses=(0.01, 0.01), deadline=30)


def client_of(url: str = "https://console.example.com", **options: Any) -> EdictumServerClient:
    return EdictumServerClient(url, **{"api_key": KEY, "agent_id": "agent", **options})


def asking(address: str, *arguments: Any, **options: Any) -> Any:
    """
    Make one request, and end the connection.
    """

    async def scenario() -> Any:
        async with client_of(address) as client:
            return await client.request(*(arguments or ("GET", "/v1/health")), **options)

    return asyncio.run(scenario())


# --- where the key may travel ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "https://console.example.com",
        "https://console.example.com/below/",
        "HTTPS://console.example.com:8443",
        "http://localhost:8000",
        "http://127.0.0.1",
        "http://127.8.9.1:80",
        "http://[::1]:8000",
    ],
)
def test_client_address_that_protects_the_key_is_taken(url: str) -> None:
    assert client_of(url).base_url == url.rstrip("/")


@pytest.mark.security
@pytest.mark.parametrize(
    "url",
    [
        "http://console.example.com",
        "http://10.0.0.1",
        "http://0.0.0.0:8000",
        "http://localhost.example.com",
        "http://127.0.0.1.example.com",
        "http://localhost\\.example.com",
        "http://[::2]",
    ],
)
def test_client_plain_http_to_another_host_is_refused_unless_allowed(url: str) -> None:
    with pytest.raises(EdictumConfigError):
        client_of(url)
    if "\\" not in url:
        assert client_of(url, allow_insecure=True).base_url == url


@pytest.mark.security
@pytest.mark.parametrize(
    "url",
    [
        "",
        "console.example.com",
        "ftp://console.example.com",
        "file:///etc/passwd",
        "https://",
        "https://:443",
        "https://user@console.example.com",
        "https://user:password@console.example.com",
        "https://console.example.com?tenant=1",
        "https://console.example.com?",
        "https://console.example.com#top",
        "https://console.example.com/#",
        "https://console.example.com:port",
        "https://console.example.com:99999",
        "https://[::1",
        " https://console.example.com",
        "https://console.example.com\n",
        "https://console.exa\tmple.com",
        "https://console.example.com/a b",
        "https://console\x00.example.com",
        b"https://console.example.com",
        None,
    ],
    ids=repr,
)
def test_client_address_that_is_none_is_refused(url: Any) -> None:
    with pytest.raises(EdictumConfigError, match="url"):
        client_of(url)


HOSTS = st.one_of(
    st.sampled_from(["localhost", "127.0.0.1", "example.com", "[::1]", "[::ffff:127.0.0.1]", "127.1", "0x7f.1"]),
    st.text("localhst127.0[]:@\\/?#;%-_ \t\n.example", max_size=25),
)


@pytest.mark.security
@pytest.mark.property
@given(HOSTS)
def test_client_plain_http_any_address_goes_to_this_machine_as_the_library_reads_it_too(rest: str) -> None:
    try:
        client = client_of(f"http://{rest}")
    except EdictumConfigError:
        return
    url = client._url("/v1/health")
    assert url.host == "localhost" or ipaddress.ip_address(url.host).is_loopback
    assert url.path.endswith("/v1/health")
    assert (url.query_string, url.fragment, url.user) == ("", "", None)


@pytest.fixture(scope="module")
def self_signed(tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    """
    A certificate for this machine that nobody vouches for.
    """
    folder: Path = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "pem").write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "pem")
    return context


@pytest.mark.security
def test_client_certificate_that_nobody_vouches_for_gets_no_request(self_signed: ssl.SSLContext) -> None:
    with answering(lambda asked: reply(), self_signed) as server:
        with pytest.raises(ServerUnreachableError, match="certificate"):
            asking(server.address)
        assert server.asked == []


@pytest.mark.security
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_client_redirection_is_refused_and_not_followed(status: int) -> None:
    with answering(lambda asked: reply()) as elsewhere:
        there = {"Location": f"{elsewhere.address}/v1/health"}
        with (
            answering(lambda asked: reply(status=status, headers=there)) as server,
            pytest.raises(ServerProtocolError, match="redirection"),
        ):
            asking(server.address, "POST", "/v1/events", body={})
        assert elsewhere.asked == []


@pytest.mark.security
def test_client_cookies_of_an_answer_are_not_sent_back() -> None:
    async def scenario(address: str) -> None:
        async with client_of(address) as client:
            await client.get("/v1/health")
            await client.get("/v1/health")

    with answering(lambda asked: reply(headers={"Set-Cookie": "a=b"})) as server:
        asyncio.run(scenario(server.address))
        assert ["cookie" in asked.headers for asked in server.asked] == [False, False]


# --- the key is told to nobody --------------------------------------------------------------------


def chain(error: BaseException | None) -> str:
    """
    All that a report about an error may show.
    """
    text = ""
    while error is not None:
        text += f"{error} {error!r} {vars(error)} {error.args}"
        error = error.__cause__
    return text


@pytest.mark.security
@pytest.mark.fault
@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nBroken\r\n\r\n",
        reply(b"{", headers={"Content-Length": "40", "Connection": "close"}),
        reply(b"{}", headers={"Content-Encoding": "gzip"}),
        reply(status=401),
        reply(status=500),
        reply(b"<html>"),
    ],
    ids=["ended", "no status", "broken header", "half", "not packed", "401", "500", "a page"],
)
def test_client_key_is_in_no_error_and_no_log(answer: bytes, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with answering(lambda asked: answer) as server, pytest.raises(EdictumServerError) as raised:
        asking(server.address)
    assert server.asked[0].headers["authorization"] == f"Bearer {KEY}"
    assert KEY not in chain(raised.value)
    assert KEY not in caplog.text
    assert all(KEY not in str(vars(record)) for record in caplog.records)


@pytest.mark.security
def test_client_repr_shows_no_key() -> None:
    assert KEY not in repr(client_of())
    assert "console.example.com" in repr(client_of())


@pytest.mark.security
@pytest.mark.parametrize(
    "key", ["", " ", f"{KEY}\n", f" {KEY}", f"{KEY}\r\nX-Evil: 1", "schlüssel", "k" * 513, None, b"k"]
)
def test_client_key_that_is_none_is_refused_without_showing_it(key: Any) -> None:
    with pytest.raises(EdictumConfigError, match="api_key") as raised:
        client_of(api_key=key)
    assert "Secret" not in chain(raised.value)


# --- who asks -------------------------------------------------------------------------------------


@pytest.mark.parametrize("option", ["agent_id", "env", "bundle_name"])
@pytest.mark.parametrize("value", ["", "-a", ".a", "a b", "a/b", "a\n", "ä", "a" * 129, "a%2e", 7])
def test_client_identifier_that_is_none_is_refused_by_its_name(option: str, value: Any) -> None:
    with pytest.raises(EdictumConfigError, match=option):
        client_of(**{option: value})


def test_client_identifiers_of_all_allowed_letters_are_taken() -> None:
    client = client_of(agent_id="Az0._-", env="9", bundle_name="a" * 128)
    assert (client.agent_id, client.env, client.bundle_name) == ("Az0._-", "9", "a" * 128)


@pytest.mark.parametrize(
    "tags",
    [
        {"": "a"},
        {"a" * 129: "b"},
        {"a": "b" * 257},
        {"a\n": "b"},
        {"a": "b\x00"},
        {"a": 1},
        {1: "a"},
        {str(number): "a" for number in range(65)},
        ["a"],
        "team",
    ],
    ids=lambda tags: str(tags)[:20],
)
def test_client_tags_that_are_none_are_refused(tags: Any) -> None:
    with pytest.raises(EdictumConfigError, match="tags"):
        client_of(tags=tags)


def test_client_tags_are_copied() -> None:
    given = {"team": "paying", **{f"t{number}": "x" * 256 for number in range(63)}}
    client = client_of(tags=given)
    given["team"] = "another"
    assert client.tags["team"] == "paying"
    assert len(client.tags) == 64


def test_client_request_says_who_asks_and_what_it_sends() -> None:
    with answering(lambda asked: reply({"a": 1}, headers={"ETag": '"1"'})) as server:
        answer = asking(
            server.address, "POST", "/v1/x", query={"env": "a b"}, body={"ä": None}, headers={"X-More": "1"}
        )
    (asked,) = server.asked
    assert (answer.status, answer.body, answer.etag) == (200, {"a": 1}, '"1"')
    assert (asked.method, asked.path) == ("POST", "/v1/x?env=a+b")
    assert asked.headers["x-edictum-agent-id"] == "agent"
    assert asked.headers["x-edictum-client"].startswith("edictum-client/")
    assert asked.headers["content-type"] == "application/json; charset=utf-8"
    assert asked.headers["x-more"] == "1"
    assert json.loads(asked.body) == {"ä": None}


def test_client_connection_is_used_again() -> None:
    async def scenario(address: str) -> None:
        async with client_of(address) as client:
            for _ in range(5):
                await client.get("/v1/health")

    with answering(lambda asked: reply()) as server:
        asyncio.run(scenario(server.address))
        assert (server.connections, len(server.asked)) == (1, 5)


# --- what a failure means -------------------------------------------------------------------------


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 409, 410, 413, 418, 422])
def test_client_refusal_says_status_code_and_request(status: int) -> None:
    body = {"detail": "not this way", "code": "some_code", "request_id": "r-1"}
    with answering(lambda asked: reply(body, status)) as server, pytest.raises(ServerRefusedError) as raised:
        asking(server.address, schedule=QUICK)
    error = raised.value
    assert (error.status_code, error.code, error.detail, error.request_id) == (
        status,
        "some_code",
        "not this way",
        "r-1",
    )
    assert str(error) == f"GET /v1/health: the console answered {status}: not this way (request r-1)"
    assert len(server.asked) == 1  # asking again would not help


def test_client_refusal_of_fields_names_the_first_of_them() -> None:
    problems = [{"loc": ["events", number, "action"], "msg": "is missing"} for number in range(9)]
    body = {"detail": "it does not fit", "errors": [*problems, 7], "code": "invalid"}
    with answering(lambda asked: reply(body, 422)) as server, pytest.raises(ServerRefusedError) as raised:
        asking(server.address)
    assert "events.0.action is missing; events.1.action is missing" in str(raised.value)
    assert len(str(raised.value)) < 500


@pytest.mark.fault
@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b"[1]", b'{"detail":' + b"[" * 100_000, b'{"detail": {"a": 1}, "errors": 7}', b"\xff\xfe"],
    ids=["empty", "a page", "a list", "deep", "odd", "no text"],
)
def test_client_refusal_in_any_words_is_one(body: bytes) -> None:
    with answering(lambda asked: reply(body, 403)) as server, pytest.raises(ServerRefusedError) as raised:
        asking(server.address)
    assert raised.value.status_code == 403
    assert len(str(raised.value)) < 500


@pytest.mark.fault
@pytest.mark.parametrize("status", [429, 500, 502, 503, 504, 599])
def test_client_console_that_cannot_answer_now_is_asked_again(status: int) -> None:
    answers = iter([reply(status=status), reply(status=status), reply({"ok": True})])
    with answering(lambda asked: next(answers)) as server:
        assert asking(server.address, schedule=QUICK).body == {"ok": True}
    assert len(server.asked) == 3


@pytest.mark.fault
def test_client_console_that_never_can_is_unreachable_after_all_tries() -> None:
    with (
        answering(lambda asked: reply({"detail": "out of order"}, 503)) as server,
        pytest.raises(ServerUnreachableError, match="out of order"),
    ):
        asking(server.address, schedule=QUICK)
    assert len(server.asked) == 3


@pytest.mark.parametrize(
    ("said", "understood"),
    [
        ("3", 3.0),
        ("0", 0.0),
        ("86400", LONGEST_PAUSE),
        ("-1", None),
        ("1.5", None),
        ("soon", None),
        ("Wed, 21 Oct 2026 07:28:00 GMT", None),
        ("9" * 400, None),
        ("٣", None),
        (None, None),
    ],
)
def test_client_retry_after_is_read_where_it_is_a_number_of_seconds(said: str | None, understood: float | None) -> None:
    headers = {} if said is None else {"Retry-After": said}
    encoded = (
        reply({}, 429, headers)
        if said is None or said.isascii()
        else reply({}, 429).replace(b"\r\n\r\n", f"\r\nRetry-After: {said}\r\n\r\n".encode(), 1)
    )
    with answering(lambda asked: encoded) as server, pytest.raises(ServerUnreachableError) as raised:
        asking(server.address)
    assert raised.value.retry_after == understood


@pytest.mark.fault
def test_client_retry_after_beyond_the_deadline_is_not_waited_for() -> None:
    began = time.monotonic()
    with (
        answering(lambda asked: reply({}, 429, {"Retry-After": "50"})) as server,
        pytest.raises(ServerUnreachableError),
    ):
        asking(server.address, schedule=RULESET.lasting(20))
    assert time.monotonic() - began < 20
    assert len(server.asked) == 1


@pytest.mark.fault
def test_client_tries_of_one_request_have_one_key_and_another_request_another() -> None:
    answers = iter([b"", reply(status=503), reply(), reply()])

    async def scenario(address: str) -> None:
        async with client_of(address) as client:
            await client.request("POST", "/v1/approvals", body={"a": 1}, schedule=QUICK)
            await client.request("POST", "/v1/approvals", body={"a": 1}, schedule=QUICK)

    with answering(lambda asked: next(answers)) as server:
        asyncio.run(scenario(server.address))
    first, second, third, other = (asked.headers["idempotency-key"] for asked in server.asked)
    assert first == second == third != other
    assert {asked.body for asked in server.asked} == {b'{"a":1}'}


@pytest.mark.parametrize("method", ["get", "post", "put", "delete"])
def test_client_method_asks_by_its_name(method: str) -> None:
    async def scenario(address: str) -> None:
        async with client_of(address) as client:
            arguments: list[Any] = ["/v1/x"] if method in ("get", "delete") else ["/v1/x", {"a": 1}]
            assert await getattr(client, method)(*arguments) == {"done": True}

    with answering(lambda asked: reply({"done": True})) as server:
        asyncio.run(scenario(server.address))
    assert server.asked[0].method == method.upper()
    assert ("idempotency-key" in server.asked[0].headers) == (method == "post")


@contextlib.contextmanager
def busy() -> Iterator[str]:
    """
    A machine that takes no connections any more.
    """
    with socket.socket() as listening, contextlib.ExitStack() as others:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        for _ in range(4):
            other = others.enter_context(socket.socket())
            other.setblocking(False)
            other.connect_ex(listening.getsockname())
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


@pytest.mark.fault
def test_client_state_of_a_console_that_never_answers_fails_within_seconds() -> None:
    async def state(address: str) -> None:
        async with client_of(address) as client:
            with pytest.raises(ServerUnreachableError, match=r"did not answer in time|cannot be reached"):
                await client.request("POST", "/v1/sessions/ops", body={}, schedule=STATE)

    async def both(*addresses: str) -> None:
        await asyncio.gather(*map(state, addresses))

    began = time.monotonic()
    with answering(lambda asked: None) as silent, busy() as address:
        asyncio.run(both(silent.address, address))
        assert len(silent.asked) > 0
    assert time.monotonic() - began < 10


@pytest.mark.fault
def test_client_answer_that_does_not_end_fails_in_time() -> None:
    schedule = Schedule(connect=2, total=0.5, pauses=(), deadline=1)
    began = time.monotonic()
    with (
        answering(lambda asked: reply(headers={"Content-Length": "100000"})) as server,
        pytest.raises(ServerUnreachableError, match="in time"),
    ):
        asking(server.address, schedule=schedule)
    assert time.monotonic() - began < 10


@pytest.mark.fault
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "packed"])
def test_client_answer_that_is_too_large_is_refused(packed: bool) -> None:
    body = b'{"a": "' + b"a" * (9 * 1024 * 1024) + b'"}'
    headers = {"Content-Encoding": "gzip"} if packed else {}
    answer = reply(gzip.compress(body) if packed else body, headers={**headers, "Connection": "close"})
    with answering(lambda asked: answer) as server, pytest.raises(ServerProtocolError, match="larger than"):
        asking(server.address)


@pytest.mark.fault
def test_client_without_a_server_is_unreachable() -> None:
    with pytest.raises(ServerUnreachableError, match="cannot be reached"):
        asking("http://127.0.0.1:1", schedule=STATE)


def test_client_status_that_is_an_answer_too_is_one() -> None:
    with answering(lambda asked: reply({"detail": "none"}, 404)) as server:
        answer = asking(server.address, besides=(404,))
    assert (answer.status, answer.body) == (404, {})


@pytest.mark.fault
def test_client_closed_asks_no_more() -> None:
    async def scenario(address: str) -> None:
        client = client_of(address)
        await client.get("/v1/health")
        await client.close()
        await client.close()
        with pytest.raises(ServerUnreachableError, match="was closed"):
            await client.get("/v1/health")

    with answering(lambda asked: reply()) as server:
        asyncio.run(scenario(server.address))
    assert len(server.asked) == 1


def test_client_used_from_two_loops_one_after_the_other_works() -> None:
    client = None
    with answering(lambda asked: reply({"n": 1})) as server:
        client = client_of(server.address)
        assert [asyncio.run(client.get("/v1/health")) for _ in range(3)] == [{"n": 1}] * 3
        asyncio.run(client.close())


FORK = """
import asyncio, os, sys, time
from edictum_client import EdictumServerClient, ForkedError

client = EdictumServerClient(sys.argv[1], "key", agent_id="agent")
asyncio.run(client.get("/v1/parent"))
child = os.fork()
if child == 0:
    try:
        asyncio.run(client.get("/v1/child"))
    except ForkedError:
        asyncio.run(client.close())
        own = EdictumServerClient(sys.argv[1], "key", agent_id="agent")
        asyncio.run(own.get("/v1/own"))
        sys.exit(0)
    sys.exit("a client of another process was used")
assert os.waitpid(child, 0)[1] == 0
began = time.monotonic()
asyncio.run(client.get("/v1/parent"))  # by the same connection, which the child has left alone
assert time.monotonic() - began < 20
"""


@pytest.mark.fault
def test_client_forked_refuses_in_the_child_and_goes_on_in_the_parent() -> None:
    with answering(lambda asked: reply()) as server:
        command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORK, server.address]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert [asked.path for asked in server.asked] == ["/v1/parent", "/v1/own", "/v1/parent"]


# --- pauses ---------------------------------------------------------------------------------------


@given(st.integers(1, 20), st.floats(0, 1000))
def test_backoff_pauses_grow_to_their_limit_and_honour_what_is_asked_for(tries: int, at_least: float) -> None:
    backoff = Backoff(1.0, 60.0)
    for number in range(tries):
        pause = backoff.pause(at_least)
        assert min(at_least, 60) <= pause <= max(min(2**number, 60), min(at_least, 60))
    backoff.reset()
    assert backoff.pause() <= 1.0


# --- reading answers ------------------------------------------------------------------------------

EXAMPLES: dict[type, dict[str, Any]] = {
    CurrentRuleset: {
        "name": "rules",
        "env": "production",
        "version": 3,
        "revision_hash": "ab",
        "yaml_bytes": "YQ==",
        "deployment_seq": 4,
        "signature": "YQ==",
        "public_key": "ab",
        "envelope": "YQ==",
        "envelope_signature": "YQ==",
    },
    SigningKey: {"public_key": "ab", "state": "active", "cross_signature": "YQ=="},
    SigningKeys: {"signing_keys": [{"public_key": "ab", "state": "active"}]},
    Operations: {"results": [{"value": 1}], "applied": True},
    Approval: {"id": "a", "status": "pending", "decided_by": "ana", "decision_reason": "why"},
    Rejected: {"index": 0, "code": "c", "detail": "d"},
    Ingested: {"accepted": 1, "duplicates": 2, "rejected": [{"index": 0, "code": "c"}]},
    Desired: {"bundle_name": "rules", "revision_hash": "ab", "deployment_seq": 4},
    Heard: {"next_in": 60, "desired": {"bundle_name": "rules", "revision_hash": "ab", "deployment_seq": 4}},
}
FIELDS = [(kind, field.name) for kind in EXAMPLES for field in attrs.fields(kind)]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


KINDS = st.sampled_from(list(EXAMPLES))


@pytest.mark.property
@given(KINDS, st.dictionaries(st.text(min_size=1, max_size=8).map(lambda name: f"x{name}"), JSON, max_size=4))
def test_read_fields_that_are_not_known_change_nothing(kind: type[Any], more: dict[str, Any]) -> None:
    found = read({**EXAMPLES[kind], **more}, kind, "it")
    assert found == read(EXAMPLES[kind], kind, "it")
    for name, value in EXAMPLES[kind].items():
        assert getattr(found, name) == value or isinstance(value, list | dict)


@pytest.mark.parametrize(("kind", "name"), FIELDS, ids=lambda part: getattr(part, "__name__", part))
def test_read_field_that_is_missing_is_named_unless_it_has_a_default(kind: type, name: str) -> None:
    given_ = {each: value for each, value in EXAMPLES[kind].items() if each != name}
    default = next(field.default for field in attrs.fields(kind) if field.name == name)
    if default is attrs.NOTHING:
        with pytest.raises(ServerProtocolError, match=rf"it: .*{name}"):
            read(given_, kind, "it")
    else:
        found = getattr(read(given_, kind, "it"), name)
        assert found == ([] if isinstance(default, attrs.Factory) else default)  # type: ignore[arg-type]


def fits(value: Any, example: Any, name: str, kind: type) -> bool:
    """
    Whether a value is of the type that a field has; written down again, so that both have to agree.
    """
    if value is None:
        return next(field.default for field in attrs.fields(kind) if field.name == name) is None
    if (kind, name) == (Heard, "next_in"):
        return type(value) in (int, float) and abs(value) < float("inf")
    return type(value) is type(example)


@pytest.mark.property
@settings(max_examples=3 * settings().max_examples)
@given(st.sampled_from(FIELDS), JSON)
def test_read_field_of_another_type_is_named_and_never_converted(field: tuple[type[Any], str], value: Any) -> None:
    kind, name = field
    example = EXAMPLES[kind][name]
    changed = {**EXAMPLES[kind], name: value}
    if not fits(value, example, name, kind):
        with pytest.raises(ServerProtocolError, match=rf"it: .*{name}"):
            read(changed, kind, "it")
    elif not isinstance(value, list | dict):
        found = getattr(read(changed, kind, "it"), name)
        assert found == value
        assert type(found) is type(value)


@pytest.mark.property
@given(KINDS, JSON)
def test_read_anything_is_an_object_or_one_error(kind: type[Any], value: Any) -> None:
    try:
        found = read(value, kind, "it")
    except ServerProtocolError as error:
        found = error
    assert isinstance(found, kind) or str(found).startswith("it: the console answered in another form: ")


def test_read_error_names_all_fields_and_shows_no_value() -> None:
    with pytest.raises(ServerProtocolError) as raised:
        read({"accepted": "hidden", "rejected": [{"index": "hidden", "code": 7}]}, Ingested, "events")
    text = str(raised.value)
    assert all(name in text for name in ("accepted", "duplicates", "index", "code"))
    assert "hidden" not in text
