from __future__ import annotations

import json
import re
from collections.abc import Callable
from types import MappingProxyType
from typing import Any

import pytest
from edictum.credentials import mask_credentials, may_hide
from edictum.errors import EdictumConfigError
from edictum.redaction import MAX_ARGS, MAX_PAYLOAD, REDACTED, RedactionPolicy
from edictum.snapshot import Notes, freeze_args
from hypothesis import given, settings
from hypothesis import strategies as st

POLICY = RedactionPolicy()

# Made up; each is put together here, so that no scanner takes this file for a leak.
BODY = "aB3dE5gH7jK9mN1pQ3sT5vW7yZ9bC1dE3fG5hJ7kL9"
PEM_BODY = "\n".join(["MIIEowIBAAKCAQEA" + BODY] * 6)
TOKENS = {
    "openai": "sk-" + BODY,
    "openai project": "sk-" + "proj-" + BODY,
    "openai service account": "sk-" + "svcacct-" + BODY,
    "anthropic": "sk-" + "ant-api03-" + BODY,
    "aws": "AKIA" + "QWERTYUIOP123456",
    "aws session": "ASIA" + "QWERTYUIOP123456",
    "jwt": "eyJ" + "hbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxIn0." + BODY,
    "github": "ghp_" + BODY[:36],
    "github oauth": "gho_" + BODY[:36],
    "github user": "ghu_" + BODY[:36],
    "github server": "ghs_" + BODY[:36],
    "github refresh": "ghr_" + BODY[:36],
    "github fine-grained": "github_" + "pat_" + BODY,
    "slack": "xoxb" + "-1234567890-" + BODY,
    "google": "AIza" + BODY[:35],
    "stripe": "sk_" + "live_" + BODY[:24],
    "stripe restricted": "rk_" + "test_" + BODY[:24],
    "stripe webhook": "whsec_" + BODY,
    "private key": f"-----BEGIN RSA PRIVATE KEY-----\n{PEM_BODY}\n-----END RSA PRIVATE KEY-----",
    "pgp key": f"-----BEGIN PGP PRIVATE KEY BLOCK-----\n\n{PEM_BODY}\n-----END PGP PRIVATE KEY BLOCK-----",
}
PASSWORD = "hunter2Zq9"
PLACES = {
    "flag": "mysql -u root -p {}",
    "attached flag": "mysql -u root -p{} db",
    "long flag": "tool --password {} run",
    "long flag with equals": "tool --db-password={}",
    "api key flag": "tool --api-key '{}' run",
    "quoted with blanks": 'tool --password "{} and more" run',
    "export": "export DEPLOY_TOKEN={} && run",
    "assignment": "DB_PASSWORD={} ./run",
    "url": "postgres://admin:{}@db.internal/prod",
    "header": "curl -H 'Authorization: Bearer {}' https://api.internal",
    "bare header": "authorization: {}",
    "json header": '{{"Authorization": "Basic {}"}}',
    "escaped json header": '{{\\"Authorization\\": \\"token {}\\"}}',
    "bearer": "use Bearer {} for it",
}

tokens = st.sampled_from(sorted(TOKENS.values()))
# Letters directly before "sk-" can be the end of a word, so the surroundings end in something else.
before = st.text(max_size=30).map(lambda text: text + " ") | st.sampled_from(["", "x=", '{"k":"', "(", "\\n", "é"])
after = st.text(max_size=30).map(lambda text: " " + text) | st.sampled_from(["", '"}', ",x", ")", "\n"])
planted = st.builds(lambda head, token, tail: (head + token + tail, token), before, tokens, after)
fragments = st.lists(
    st.sampled_from(
        [
            *TOKENS.values(),
            *(place.format(PASSWORD) for place in PLACES.values()),
            *(REDACTED, "-p", " ", '"', "'", "=", ":", "://", "@", "export ", "A_KEY", "Bearer ", "Authorization: "),
            *("...", "\n", "\\n", "-----BEGIN PRIVATE KEY-----", "-----END PRIVATE KEY-----", "eyJ", "sk-", "--token"),
        ]
    ),
    max_size=8,
).map("".join)
json_like = st.recursive(
    st.none() | st.booleans() | st.integers() | fragments | st.text(max_size=40),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12) | fragments, inner, max_size=4),
    max_leaves=12,
)


# What stands around a private key may be seen.
NO_SECRET = r"-----BEGIN RSA PRIVATE KEY-----\n -----END RSA PRIVATE KEY-----"


def parts_of(secret: str) -> list[str]:
    """
    Pieces of a secret that must not be seen either.
    """
    return [secret[at : at + 12] for at in range(8, len(secret) - 16, 9)]


def assert_gone(secret: str, shown: object) -> None:
    text = json.dumps(shown, ensure_ascii=False)
    found = [part for part in parts_of(json.dumps(secret)[1:-1]) if part in text and part not in NO_SECRET]
    assert found == []


# ---- keys ----


@pytest.mark.parametrize(
    "key",
    [
        *("password", "API-KEY", "apikey", "accessToken", "passwordHash", "sessionToken", "APIKey", "x-api-key"),
        *("pwd", "user_pwd", "cookie", "Set-Cookie", "bearer", "otp", "pin", "cvv", "ssn", "userSSN", "AWS_SECRET"),
        *("password2", "privatekey", "connectionString", "databaseUrl", "db.password", "my key", "credential"),
    ],
)
def test_key_that_names_a_secret_is_sensitive(key: str) -> None:
    assert POLICY.is_sensitive_key(key)
    assert {key: REDACTED} == POLICY.redact_args({key: "plain"})


@pytest.mark.parametrize(
    "key",
    [
        *("keyword", "keyboard", "tokenizer", "monkey", "donkey", "primary_key", "primaryKey", "max_tokens"),
        *("maxTokens", "key_name", "sort-keys", "cacheKey", "spinner", "opinion", "shipping", "secretary", ""),
    ],
)
def test_key_that_only_sounds_like_a_secret_is_kept(key: str) -> None:
    assert not POLICY.is_sensitive_key(key)
    assert {key: "plain"} == POLICY.redact_event_args({key: "plain"})


def test_key_added_by_the_user_is_matched_in_every_spelling() -> None:
    policy = RedactionPolicy(sensitive_keys=["customerId"], safe_compound_keys=["token_kind"])

    redacted = policy.redact_args({"customer_id": 1, "customer-id": 2, "customerId": 3, "tokenKind": 4, "id": 5})

    assert redacted == {
        "customer_id": REDACTED,
        "customer-id": REDACTED,
        "customerId": REDACTED,
        "tokenKind": 4,
        "id": 5,
    }


def test_key_in_both_sets_is_sensitive() -> None:
    assert RedactionPolicy(sensitive_keys=["primary_key"]).is_sensitive_key("primary_key")
    assert RedactionPolicy(safe_compound_keys=["password"]).is_sensitive_key("password")


def test_key_that_is_not_text_is_kept() -> None:
    kept = {1: "a", None: "b", 2.5: "c"}

    assert kept == POLICY.redact_args(kept)
    assert not POLICY.is_sensitive_key(7)


def test_key_cache_under_a_flood_of_names_stays_bounded_and_right() -> None:
    policy = RedactionPolicy()

    for number in range(10_000):
        policy.redact_args({f"name_{number}": 1, f"token_{number}": 2})

    assert len(policy._keys) <= 4_096
    assert policy.redact_args({"token_1": "x", "name_1": "x"}) == {"token_1": REDACTED, "name_1": "x"}


@pytest.mark.parametrize("token", TOKENS.values(), ids=TOKENS)
def test_key_that_contains_a_secret_is_not_shown(token: str) -> None:
    for method in (POLICY.redact_args, POLICY.redact_tree, POLICY.redact_event_args, POLICY.cap_payload):
        assert_gone(token, method({f"for {token}": 1}))


# ---- detectors ----


@pytest.mark.parametrize("token", TOKENS.values(), ids=TOKENS)
def test_detector_token_inside_text_replaces_only_the_token(token: str) -> None:
    text = f"it is {token} as agreed"

    assert f"it is {REDACTED} as agreed" == POLICY.redact_text(text)
    assert {"note": f"it is {REDACTED} as agreed"} == POLICY.redact_args({"note": text})
    assert POLICY.looks_secret(text)


@pytest.mark.parametrize("token", TOKENS.values(), ids=TOKENS)
def test_detector_value_that_starts_with_a_token_is_replaced_whole(token: str) -> None:
    assert POLICY.redact_args({"note": f"{token} and the rest"}) == {"note": REDACTED}


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
def test_detector_password_in_its_place_is_replaced_and_the_rest_is_kept(place: str) -> None:
    text = place.format(PASSWORD)

    shown = POLICY.redact_bash_command(text)

    assert PASSWORD not in shown
    assert "and more" not in shown
    assert shown.startswith(text[:4])
    assert text.endswith(shown[-1]) or shown.endswith(REDACTED)
    assert shown == POLICY.redact_text(shown)
    assert POLICY.looks_secret(text)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("mysql -p secret", "mysql -p [REDACTED]"),
        ("mysql -psecret", "mysql -p[REDACTED]"),
        ("sshpass -p '12 34' ssh host", "sshpass -p [REDACTED] ssh host"),
        ("-p=abc", "-p=[REDACTED]"),
        ("sk-proj-aaaa", "[REDACTED]"),
        ("https://u:p@ss@host/x", "https://u:[REDACTED]@host/x"),
        ("export API_KEY=abc; ls", "export API_KEY=[REDACTED]; ls"),
        ("export api_key='a b'", "export api_key=[REDACTED]"),
        ('{"cmd": "mysql -p abc"}', '{"cmd": "mysql -p [REDACTED]"}'),
        ("Authorization: Bearer abc", "Authorization: Bearer [REDACTED]"),
        ("Proxy-Authorization: abc", "Proxy-Authorization: [REDACTED]"),
    ],
)
def test_detector_in_a_command_replaces_exactly_the_secret(text: str, shown: str) -> None:
    assert shown == POLICY.redact_bash_command(text)


@pytest.mark.parametrize(
    "text",
    [
        *("keyword keyboard tokenizer monkey donkey primary_key max_tokens", "a-p b", "ssh -port", "find . -print"),
        *("mkdir -p /workspace/out", "docker run --publish 80:80", "task-550e8400e29b41d4a716446655440000"),
        *("disk_test_integrationrun", "risk-ant-colony", "MAX_TOKENS=100 run", "MONKEY=1", "if TOKEN == other"),
        *("https://example.com:8080/@user", "user@example.com:22", "bearer authentication", "the bearer of news"),
        *("-----BEGIN CERTIFICATE-----\nMIIE\n-----END CERTIFICATE-----", "eyJ is how a header starts", "-p"),
        *("rm -rf / # not a secret", "2024-01-01T00:00:00Z", "ASIA and AKIA", "git log -p --stat", "-p, --port"),
    ],
)
def test_detector_benign_text_is_the_same_object(text: str) -> None:
    assert POLICY.redact_text(text) == text
    assert not POLICY.looks_secret(text)
    assert {"note": text} == POLICY.redact_event_args({"note": text})


def test_detector_private_key_without_its_end_goes_to_the_end() -> None:
    assert f"key: {REDACTED}" == POLICY.redact_text(f"key: -----BEGIN PRIVATE KEY-----\n{PEM_BODY}")
    assert f"key: {REDACTED}" == POLICY.redact_text("key: -----BEGIN PRIVATE KEY-----\\n> quoted lines of it")


def test_detector_private_key_without_its_start_goes_back_to_the_last_other_character() -> None:
    shown = POLICY.redact_text(f"tail key.pem: {PEM_BODY}\n-----END PRIVATE KEY-----\nok")

    assert f"tail key.pem: {REDACTED}\nok" == shown


def test_detector_quoted_marker_of_a_private_key_keeps_the_command() -> None:
    assert f'grep "{REDACTED}" /src' == POLICY.redact_text('grep "-----BEGIN PRIVATE KEY-----" /src')


def test_detectors_switched_off_leave_keys_and_custom_patterns() -> None:
    policy = RedactionPolicy(custom_patterns=[(r"cust-\d+", "cust-#")], detect_secret_values=False)
    text = f"{TOKENS['github']} -p abc cust-77"

    shown = policy.redact_args({"note": text, "password": "x"})

    assert {"note": f"{TOKENS['github']} -p abc cust-#", "password": REDACTED} == shown
    assert policy.looks_secret("cust-1")
    assert not policy.looks_secret(TOKENS["github"])


# ---- options ----


def test_custom_pattern_runs_before_the_detectors_with_groups() -> None:
    policy = RedactionPolicy(custom_patterns=[(r"id=(\w)\w*", r"id=\1**"), (re.compile("(?i)acme"), "client")])

    assert policy.redact_text("id=secret for ACME") == "id=s** for client"


def test_custom_pattern_at_the_start_does_not_swallow_the_value() -> None:
    policy = RedactionPolicy(custom_patterns=[("acme", REDACTED)])

    assert [f"{REDACTED} is a client"] == policy.redact_args(["acme is a client"])


@pytest.mark.parametrize(("regex", "replacement"), [("(unclosed", ""), ("fine", r"\7"), ("fine", r"\g<name>")])
def test_custom_pattern_that_cannot_work_is_refused_with_its_text(regex: str, replacement: str) -> None:
    with pytest.raises(EdictumConfigError, match=re.escape(repr(regex))):
        RedactionPolicy(custom_patterns=[(regex, replacement)])


def test_sensitive_keys_given_as_one_string_are_refused() -> None:
    with pytest.raises(EdictumConfigError, match="expected a list of names"):
        RedactionPolicy(sensitive_keys="password")


# ---- structures ----


def test_redact_args_of_many_types_gives_json_types() -> None:
    class Shape:
        def __str__(self) -> str:
            return f"shape with {TOKENS['aws']}"

    class Broken:
        def __str__(self) -> str:
            raise RuntimeError("no text")

    shown = POLICY.redact_args(
        {
            "a": (1, "x"),
            "b": {"only"},
            "c": Shape(),
            "d": Broken(),
            "e": b"raw",
            "f": None,
            "g": 1.5,
            "h": True,
            "i": MappingProxyType({"token": 1}),
            "j": 10**5000,
            "k": 2**70,
            "l": bytes(100_000),
            3: "three",
            ("t", 1): "pair",
        }
    )

    assert {
        "a": [1, "x"],
        "b": ["only"],
        "c": f"shape with {REDACTED}",
        "d": "[Broken without text]",
        "e": "b'raw'",
        "f": None,
        "g": 1.5,
        "h": True,
        "i": {"token": REDACTED},
        "j": "[too large to show]",
        "k": 2**70,
        "l": "[100000 bytes]",
        3: "three",
        "('t', 1)": "pair",
    } == shown


def test_redact_args_of_a_read_only_copy_gives_plain_containers() -> None:
    shown = POLICY.redact_event_args(freeze_args({"a": {"b": [1, {"password": 2}]}}, Notes()))

    assert shown == {"a": {"b": [1, {"password": REDACTED}]}}
    assert [dict, dict, list] == [type(shown), type(shown["a"]), type(shown["a"]["b"])]


def test_redact_args_long_string_is_shortened_to_1000() -> None:
    assert [
        POLICY.redact_args("x" * 1_000),
        POLICY.redact_args("x" * 1_000),
        POLICY.redact_args("word " * 900),
    ] == ["x" * 1_000, "x" * 1_000, "word " * 199 + "wo..."]
    assert len(POLICY.redact_args("y" * 1_000_000)) <= 1_000


def test_redact_args_cycle_and_depth_end_in_a_note() -> None:
    cycle: dict[str, Any] = {"a": []}
    cycle["a"] += [cycle, cycle["a"]]
    deep: Any = "bottom"
    for _ in range(3_000):
        deep = [deep]

    assert POLICY.redact_args(cycle) == {"a": ["[refers to itself]", "[refers to itself]"]}
    assert POLICY.redact_event_args(cycle) == POLICY.redact_tree(cycle) == POLICY.redact_args(cycle)
    assert json.dumps(POLICY.redact_args(deep)) == "[" * 20 + '"[nested too deep]"' + "]" * 20


def test_redact_args_structure_that_unfolds_without_end_is_given_up() -> None:
    """
    Twenty levels of one list used ten times in the next are 10**20 leaves.
    """
    shared: Any = ["x" * 900]
    for _ in range(19):
        shared = [shared] * 10

    assert POLICY.redact_args(shared) == "[too large to show]"


def test_redact_event_args_over_8_kb_keeps_what_fits() -> None:
    args = {f"part{number}": "word " * 250 for number in range(12)} | {"last": 1}

    shown = POLICY.redact_event_args(args)

    assert list(args) == list(shown)
    assert shown["part0"].startswith("word word")
    assert shown["part11"] == "[left out: arguments exceed 8 KB]"
    assert shown["last"] == 1
    assert len(json.dumps(shown, separators=(",", ":"))) <= MAX_ARGS


def test_redact_event_args_with_too_many_names_says_how_many_are_left_out() -> None:
    shown = POLICY.redact_event_args({f"name{number}": "v" for number in range(100_000)})

    assert len(json.dumps(shown, separators=(",", ":"))) <= MAX_ARGS
    assert re.fullmatch(r"\d+ more arguments", shown["_left_out"])


# ---- shortening and borders ----


def test_redact_text_very_long_keeps_both_ends_and_says_what_is_missing() -> None:
    text = "first " + "filler words " * 40_000 + "last"

    shown = POLICY.redact_text(text)

    assert shown.startswith("first filler")
    assert shown.endswith("words last")
    kept = re.sub(r"\n\[(\d+) characters left out\]\n", "", shown)
    assert [str(len(text) - len(kept))] == re.findall(r"\n\[(\d+) characters left out\]\n", shown)
    assert len(shown) < 131_072
    assert shown == POLICY.redact_text(shown)


def test_redact_result_is_shortened_to_500_by_default() -> None:
    assert POLICY.redact_result("x" * 600) == "x" * 497 + "..."
    assert POLICY.redact_result("x" * 500) == "x" * 500
    assert POLICY.redact_result("x" * 600, max_length=5) == "xx..."


secret_texts = {**TOKENS, **{name: place.format(BODY) for name, place in PLACES.items()}}


@pytest.mark.parametrize("secret", secret_texts.values(), ids=secret_texts)
@pytest.mark.parametrize("filler", ["words of text ", "line\n", "unbroken"])
def test_redact_secret_across_any_border_leaves_no_part(secret: str, filler: str) -> None:
    """
    The secret is moved over the border of each kind of cut, also where it stands in the part that is dropped.
    """
    cuts: list[tuple[int, int, Callable[[str], Any]]] = [
        (1_000, 0, POLICY.redact_args),
        (1_000, 0, lambda text: POLICY.redact_event_args({"a": text})),
        (1_000 + 8_192, 0, POLICY.redact_args),
        (500 + 8_192, 0, POLICY.redact_result),
        (65_536 - 64, 200_000, POLICY.redact_text),
        (65_536 - 64 + 8_192, 200_000, POLICY.redact_text),
        (200_000 - 65_536 + 64, 200_000, POLICY.redact_text),
        (200_000 - 65_536 + 64 - 8_192, 200_000, POLICY.redact_text),
    ]
    for border, total, method in cuts:
        for offset in (1, len(secret) // 4, len(secret) // 2, len(secret) - 2):
            start = (filler * (border // len(filler) + 1))[: border - offset] + " "
            rest = " " + filler * ((max(total, border + 12_000) - border) // len(filler))
            assert_gone(secret if secret in TOKENS.values() else BODY, method(start + secret + rest))


def test_redact_very_long_token_across_the_tail_border_leaves_no_part() -> None:
    token = "eyJ" + "hbGciOiJIUzI1NiJ9xxxx." + "Zm9v" * 20_000

    for lead in (100_000, 150_000, 190_000):
        assert "Zm9vZm9v" not in POLICY.redact_text("w " * (lead // 2) + token + " w" * 33_000)


# ---- records ----


def test_cap_payload_small_record_is_an_equal_copy() -> None:
    record: dict[str, Any] = {"tool_name": "T", "tool_args": {"a": 1}, "reason": None, "hooks_evaluated": []}

    capped = POLICY.cap_payload(record)

    assert record == capped
    assert capped is not record


def test_cap_payload_over_32_kb_drops_the_result_and_the_arguments() -> None:
    record = {"tool_name": "T", "tool_args": {"data": "x" * 40_000}, "result_summary": "y", "reason": "r"}

    assert POLICY.cap_payload(record) == {
        "tool_name": "T",
        "tool_args": {"_redacted": "payload exceeded 32KB"},
        "reason": "r",
        "_truncated": ["result_summary", "tool_args"],
    }


def test_cap_payload_single_fields_are_bounded() -> None:
    record = {
        "tool_args": {f"a{number}": "x" * 900 for number in range(12)},
        "reason": "r" * 2_000,
        "contracts_evaluated": [{"n": number} for number in range(130)],
        "hooks_evaluated": [1] * 101,
    }

    capped = POLICY.cap_payload(record)

    assert capped["_truncated"] == ["tool_args", "reason", "hooks_evaluated", "contracts_evaluated"]
    assert capped["reason"] == "r" * 1_021 + "..."
    assert [len(capped["contracts_evaluated"]), len(capped["hooks_evaluated"])] == [100, 100]
    assert len(json.dumps(capped["tool_args"], separators=(",", ":"))) <= MAX_ARGS
    assert capped["tool_args"]["a0"] == "x" * 900


def test_cap_payload_large_unknown_fields_are_dropped_largest_first() -> None:
    record = {"tool_name": "T", "small": "s", "big": ["b" * 500] * 30, "biggest": ["c" * 500] * 100}

    assert {"tool_name", "small", "big", "_truncated"} == set(POLICY.cap_payload(record))
    assert POLICY.cap_payload(record)["_truncated"] == ["biggest"]


def test_cap_payload_of_many_fields_lists_a_bounded_number_of_names() -> None:
    record: dict[str, Any] = {f"field {number} " + "é" * 90: "v" * 50 for number in range(5_000)}

    capped = POLICY.cap_payload(record)

    assert len(json.dumps(capped, separators=(",", ":"))) <= MAX_PAYLOAD
    assert len(capped["_truncated"]) == 21
    assert re.fullmatch(r"and \d+ more", capped["_truncated"][-1])


fields = st.sampled_from(["tool_args", "reason", "result_summary", "principal", "contracts_evaluated", "metadata", "x"])
sizes = st.sampled_from([1, 3, 40, 300])
big_values = st.builds(lambda value, count: [value] * count, json_like, sizes) | st.builds(
    lambda text, count: text * count, st.text(max_size=30) | fragments, sizes
)


@pytest.mark.property
@settings(max_examples=60, deadline=None)
@given(st.dictionaries(fields | st.text(max_size=300), json_like | big_values, max_size=7))
def test_cap_payload_any_record_fits_and_is_stable(record: dict[str, Any]) -> None:
    capped = POLICY.cap_payload(record)

    assert len(json.dumps(capped, separators=(",", ":"))) <= MAX_PAYLOAD
    assert capped == POLICY.cap_payload(capped)


# ---- properties ----


@pytest.mark.property
@settings(max_examples=300, deadline=None)
@given(planted)
def test_property_planted_token_never_survives_in_text(case: tuple[str, str]) -> None:
    text, token = case

    assert POLICY.looks_secret(text)
    for shown in (POLICY.redact_text(text), POLICY.redact_bash_command(text), POLICY.redact_result(text)):
        assert_gone(token, shown)


@pytest.mark.property
@settings(max_examples=150, deadline=None)
@given(planted, json_like, st.lists(st.sampled_from(["list", "dict", "tuple", "key"]), max_size=10))
def test_property_planted_token_never_survives_in_structures(
    case: tuple[str, str], other: Any, nesting: list[str]
) -> None:
    text, token = case
    wrappers: dict[str, Callable[[Any], Any]] = {
        "list": lambda inner: [other, inner, "x"],
        "dict": lambda inner: {"a": other, "b": inner},
        "tuple": lambda inner: (inner, other),
        "key": lambda inner: {text: inner},
    }
    value: Any = text
    for name in nesting:
        value = wrappers[name](value)
    record = {"tool_args": {"v": value}, "reason": text, "contracts_evaluated": [{"message": text}], "free": value}

    for method in (POLICY.redact_args, POLICY.redact_tree, POLICY.redact_event_args, POLICY.cap_payload):
        assert_gone(token, method(record))


@pytest.mark.property
@settings(max_examples=400, deadline=None)
@given(fragments, st.integers(min_value=0, max_value=200))
def test_property_redacting_twice_changes_nothing(text: str, limit: int) -> None:
    once = POLICY.redact_text(text)
    short = POLICY.redact_text(text, max_length=limit)

    assert once == POLICY.redact_text(once)
    assert not POLICY.looks_secret(once)
    assert short == POLICY.redact_text(short, max_length=limit)
    assert len(short) <= limit


@pytest.mark.property
@settings(max_examples=200, deadline=None)
@given(json_like)
def test_property_redacting_structures_twice_changes_nothing(value: Any) -> None:
    args = POLICY.redact_args(value)
    tree = POLICY.redact_tree(value)

    assert args == POLICY.redact_args(args)
    assert tree == POLICY.redact_tree(tree)


HOSTILE = [
    *("sk-", "aask-", "sk-proj-", "aask-proj-aaa", "aask-aA", "sk_live_", "task_live_a", "gh", "ghp_", "github_pat_"),
    *("xox", "xoxb-", "AKIA", "AIza", "AIza-", "eyJ", "eyJeyJ.", "eyJaaaaaaaaaaaaaaaaaaaaa.", "Bearer ", "Bearer a"),
    *(
        "-p",
        "-p ",
        ' -p "',
        " -p '",
        " -p\\",
        ";-p;",
        "-p=",
        " -p ;",
        "--",
        "--a-",
        "--password",
        "--password ",
        "--a-token=",
    ),
    *(
        "export ",
        "export A",
        "export A_KEY=",
        "A",
        "KEY",
        "KEY=",
        'KEY="',
        "KEY= ",
        "KEY=;",
        "A_KEY='=",
        "://",
        "://a",
        "://:",
    ),
    *(
        "://a:b",
        "://a:@",
        "Authorization",
        "Authorization:",
        "Authorization: ",
        'Authorization: "',
        "Authorization: Bearer ",
    ),
    *(
        "-----BEGIN ",
        "-----BEGIN PRIVATE KEY-----",
        "-----BEGIN PRIVATE KEY-----\n",
        "-----END PRIVATE KEY-----",
        "-----",
    ),
    *("-----BEGIN A A A A ", "MIIE\n", " ", "\t", "\n", "=", ";", "...", "\\", "\\n", '"', "'"),
]


@pytest.mark.security
@pytest.mark.parametrize("piece", HOSTILE)
def test_detectors_on_a_million_hostile_characters_terminate(piece: str) -> None:
    """
    One pattern with quadratic cost would take minutes here; the file as a whole takes seconds.
    """
    text = piece * (1_000_000 // len(piece))
    # Literals of every gate, so that all detectors run; the long runs end in what their pattern needs last.
    gates = " sk- xox -p -- ----- gh k_live_ AKIA AIza eyJ earer KEY= export :// uthorization "

    assert isinstance(POLICY.looks_secret(gates + text), bool)
    for end in ("", gates, "@", ";"):
        assert len(POLICY.redact_text(text + end)) <= 131_072


@pytest.mark.property
@given(st.text(alphabet="sk-_pxoghatlivewcAKISzeyJrBUTHN=:/.0123456789abcdefXYZ \n", max_size=80))
def test_may_hide_text_without_a_sign_is_left_alone_by_all_detectors(text: str) -> None:
    if may_hide(text) is None:
        assert mask_credentials(text, POLICY.is_sensitive_key) is text


@pytest.mark.parametrize("name", sorted(TOKENS))
def test_may_hide_every_kind_of_token_has_a_sign(name: str) -> None:
    assert may_hide(f"it is {TOKENS[name]} here") is not None
