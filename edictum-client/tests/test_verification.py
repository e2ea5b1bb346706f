"""
Which rulesets are believed: those that the right key has signed for this place, and none that is older than one before.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import attrs
import pytest
from answers import Asked, answering, reply
from consoles import Console, rules
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from edictum import Edictum, EdictumConfigError
from edictum.memory_storage import MemoryBackend
from edictum_client import (
    BundleVerificationError,
    EdictumServerClient,
    ServerContractSource,
    verify_bundle_signature,
)
from edictum_client.verification import Trust, public_key_of
from edictum_client.wire import CurrentRuleset, SigningKey
from hypothesis import given, settings
from hypothesis import strategies as st

T = TypeVar("T", CurrentRuleset, SigningKey)

FIELD = 2**255 - 19
GROUP = 2**252 + 27742317777372353535851937790883648493
CONTENT = rules().encode()


def key_of(number: int) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32)


def digits_of(key: Ed25519PrivateKey) -> str:
    return key.public_key().public_bytes_raw().hex()


KEY, OTHER = key_of(1), key_of(2)
PINNED = digits_of(KEY)


def text_of(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def signed(
    content: bytes = CONTENT,
    key: Ed25519PrivateKey = KEY,
    *,
    env: str = "production",
    name: str = "rules",
    seq: int = 3,
    said: dict[str, Any] | None = None,
) -> CurrentRuleset:
    """
    What a console answers; ``said`` is signed of the deployment instead of what is true.
    """
    revision = hashlib.sha256(content).hexdigest()
    facts = {"v": 1, "env": env, "name": name, "version": seq, "revision_hash": revision, "deployment_seq": seq}
    facts |= said or {}
    envelope = json.dumps(facts, sort_keys=True, separators=(",", ":")).encode()
    return CurrentRuleset(
        name=name,
        env=env,
        version=seq,
        revision_hash=revision,
        yaml_bytes=text_of(content),
        deployment_seq=seq,
        signature=text_of(key.sign(content)),
        public_key=digits_of(key),
        envelope=text_of(envelope),
        envelope_signature=text_of(key.sign(envelope)),
    )


def check(ruleset: CurrentRuleset, trust: Trust | None = None) -> bytes:
    return (trust or Trust(PINNED)).check(ruleset, "rules", "production")


def changed(value: T, **fields: Any) -> T:
    return attrs.evolve(value, **fields)


def flipped(raw: bytes, bit: int) -> bytes:
    found = bytearray(raw)
    found[bit // 8 % len(raw)] ^= 1 << bit % 8
    return bytes(found)


# --- one signature --------------------------------------------------------------------------------


def test_signature_of_the_key_over_the_bytes_is_good() -> None:
    verify_bundle_signature(CONTENT, text_of(KEY.sign(CONTENT)), PINNED)
    verify_bundle_signature(CONTENT, text_of(KEY.sign(CONTENT)), PINNED.upper())
    verify_bundle_signature(b"", text_of(KEY.sign(b"")), PINNED)


@pytest.mark.security
@pytest.mark.property
@given(st.binary(min_size=1, max_size=200), st.integers(0, 2000), st.booleans())
def test_signature_any_bit_flipped_is_refused(content: bytes, bit: int, in_content: bool) -> None:
    signature = KEY.sign(content)
    if in_content:
        content = flipped(content, bit)
    else:
        signature = flipped(signature, bit)
    with pytest.raises(BundleVerificationError, match="not by the key"):
        verify_bundle_signature(content, text_of(signature), PINNED)


@pytest.mark.security
@pytest.mark.parametrize(
    ("signature", "why"),
    [
        (None, "not signed"),
        ("", "not signed"),
        ("not base64!", "not base64"),
        ("YQ", "not base64"),
        ("ä" * 88, "not base64"),
        (KEY.sign(CONTENT).hex(), "bytes instead of 64|not base64"),
        (text_of(KEY.sign(CONTENT)[:63]), "63 bytes instead of 64"),
        (text_of(KEY.sign(CONTENT) + b"\0"), "65 bytes instead of 64"),
        (text_of(bytes(64)), "not by the key"),
        (text_of(OTHER.sign(CONTENT)), "not by the key"),
    ],
)
def test_signature_that_is_none_is_refused(signature: str | None, why: str) -> None:
    with pytest.raises(BundleVerificationError, match=why):
        verify_bundle_signature(CONTENT, signature, PINNED)


@pytest.mark.security
def test_signature_written_in_another_way_is_refused() -> None:
    raw = KEY.sign(CONTENT)
    larger = int.from_bytes(raw[32:], "little") + GROUP

    with pytest.raises(BundleVerificationError, match="not by the key"):
        verify_bundle_signature(CONTENT, text_of(raw[:32] + larger.to_bytes(32, "little")), PINNED)


# --- keys -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "digits",
    [
        "",
        "ab",
        PINNED[:-1],
        PINNED + "0",
        PINNED[:-1] + "g",
        " " * 64,
        PINNED[:62] + "  ",
        "ä" * 64,
        None,
        7,
        b"a" * 64,
    ],
    ids=repr,
)
def test_key_that_is_none_is_a_config_error(digits: Any) -> None:
    with pytest.raises(EdictumConfigError, match="64 hexadecimal digits"):
        public_key_of(digits)


LOW_ORDER = [
    "01" + "00" * 31,  # the point that adds nothing
    "ec" + "ff" * 30 + "7f",  # order 2
    "00" * 32,  # order 4
    "00" * 31 + "80",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",  # order 8
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
]
WRITTEN_TWICE = [
    "01" + "00" * 30 + "80",
    "ec" + "ff" * 31,
    *((FIELD + more + sign * 2**255).to_bytes(32, "little").hex() for more in range(19) for sign in (0, 1)),
]


@pytest.mark.security
@pytest.mark.parametrize("digits", LOW_ORDER + WRITTEN_TWICE)
def test_key_under_which_signatures_can_be_made_up_is_refused(digits: str) -> None:
    with pytest.raises(EdictumConfigError, match="not a safe key"):
        public_key_of(digits)
    with pytest.raises(EdictumConfigError, match="not a safe key"):
        Trust(digits.upper())


@pytest.mark.security
def test_key_of_low_order_is_refused_where_the_library_believes_it() -> None:
    weak, signature = bytes.fromhex(LOW_ORDER[0]), bytes.fromhex(LOW_ORDER[0]) + bytes(32)
    Ed25519PublicKey.from_public_bytes(weak).verify(signature, b"anything")  # this is why

    with pytest.raises(EdictumConfigError, match="not a safe key"):
        verify_bundle_signature(b"anything", text_of(signature), weak.hex())


def off_the_curve() -> Iterator[int]:
    d = -121665 * pow(121666, -1, FIELD) % FIELD
    for y in range(2, 200):
        square = (y * y - 1) * pow(d * y * y + 1, -1, FIELD)
        if pow(square, (FIELD - 1) // 2, FIELD) != 1:
            yield y


@pytest.mark.security
def test_key_off_the_curve_is_refused() -> None:
    found = list(off_the_curve())
    assert len(found) > 50
    for y in found:
        with pytest.raises(EdictumConfigError, match="not a safe key"):
            public_key_of(y.to_bytes(32, "little").hex())


@pytest.mark.property
@given(st.binary(min_size=32, max_size=32))
def test_key_that_was_made_properly_is_taken(seed: bytes) -> None:
    key = Ed25519PrivateKey.from_private_bytes(seed)
    assert public_key_of(digits_of(key)) == key.public_key()


def test_key_without_the_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.asymmetric.ed25519", None)

    with pytest.raises(EdictumConfigError, match=r"edictum-client\[verified\]"):
        public_key_of(PINNED)


# --- a ruleset for a place ------------------------------------------------------------------------


def test_ruleset_signed_for_its_place_is_believed() -> None:
    assert check(signed()) == CONTENT


def test_ruleset_without_a_pinned_key_is_believed_but_must_be_the_one_that_was_asked_for() -> None:
    unsigned = changed(signed(), signature=None, public_key=None, envelope=None, envelope_signature=None)
    assert not Trust(None).verifies
    assert check(unsigned, Trust(None)) == CONTENT
    for changes in ({"name": "other"}, {"env": "staging"}, {"revision_hash": "ab" * 32}, {"yaml_bytes": "%"}):
        with pytest.raises(BundleVerificationError):
            check(changed(unsigned, **changes), Trust(None))


SIGNED = ("yaml_bytes", "signature", "envelope", "envelope_signature")


@pytest.mark.security
@pytest.mark.property
@given(st.sampled_from(SIGNED), st.integers(0, 8 * len(CONTENT)))
def test_ruleset_any_bit_flipped_is_refused(field: str, bit: int) -> None:
    good = signed()
    other = text_of(flipped(base64.b64decode(getattr(good, field)), bit))
    with pytest.raises(BundleVerificationError):
        check(changed(good, **{field: other}))


@pytest.mark.security
@pytest.mark.parametrize("field", ["signature", "public_key", "envelope", "envelope_signature"])
@pytest.mark.parametrize("value", [None, "", "%", "YQ=="])
def test_ruleset_part_of_what_was_signed_missing_or_broken_is_refused(field: str, value: str | None) -> None:
    with pytest.raises(BundleVerificationError):
        check(changed(signed(), **{field: value}))


LAX = signed(rules(forbidden="nothing").encode(), seq=2)
STAGING = signed(rules(timeout=5).encode(), env="staging", seq=9)
ANOTHERS = signed(rules(forbidden="else").encode(), OTHER, seq=4)
PARTS = [field.name for field in attrs.fields(CurrentRuleset) if field.name != "version"]


@pytest.mark.security
@pytest.mark.property
@settings(max_examples=2 * settings().max_examples)
@given(st.fixed_dictionaries({part: st.sampled_from([signed(), LAX, STAGING, ANOTHERS]) for part in PARTS}))
def test_ruleset_put_together_of_others_is_refused(sources: dict[str, CurrentRuleset]) -> None:
    mixed = changed(signed(), **{part: getattr(source, part) for part, source in sources.items()})
    if mixed in (signed(), LAX):  # each as it was signed
        assert check(mixed)
    else:
        with pytest.raises(BundleVerificationError):
            check(mixed)


@pytest.mark.security
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("env", "staging"),
        ("env", None),
        ("name", "other"),
        ("name", ["rules"]),
        ("revision_hash", LAX.revision_hash),
        ("deployment_seq", 2),
        ("deployment_seq", 4),
        ("deployment_seq", "3"),
        ("deployment_seq", 3.0),
        ("deployment_seq", None),
    ],
)
def test_ruleset_whose_deployment_was_signed_otherwise_is_refused_by_the_field(field: str, value: object) -> None:
    with pytest.raises(BundleVerificationError, match=f"another {field}"):
        check(signed(said={field: value}))


@pytest.mark.security
def test_ruleset_whose_number_was_signed_as_true_is_refused() -> None:
    with pytest.raises(BundleVerificationError, match="another deployment_seq"):
        check(signed(seq=1, said={"deployment_seq": True}))


@pytest.mark.security
@pytest.mark.parametrize("envelope", [b"", b"{", b"[]", b"null", b"\xff", b"[" * 100_000])
def test_ruleset_whose_deployment_cannot_be_read_is_refused(envelope: bytes) -> None:
    odd = changed(signed(), envelope=text_of(envelope), envelope_signature=text_of(KEY.sign(envelope)))
    with pytest.raises(BundleVerificationError, match="cannot be read"):
        check(odd)


@pytest.mark.security
def test_ruleset_signed_with_another_key_names_both_and_the_way_out() -> None:
    with pytest.raises(BundleVerificationError, match="trust_rotation=True") as raised:
        check(signed(key=OTHER))
    assert PINNED[:16] in str(raised.value)
    assert digits_of(OTHER)[:16] in str(raised.value)


# --- older than one before ------------------------------------------------------------------------


@pytest.mark.security
def test_ruleset_older_than_one_that_was_accepted_is_refused() -> None:
    trust = Trust(PINNED)
    trust.accepted("rules", "production", 3)
    trust.accepted("rules", "production", 1)  # forgets nothing

    assert trust.newest("production") == {"rules": 3}
    assert check(signed(seq=3), trust)
    assert check(signed(seq=4), trust)
    with pytest.raises(BundleVerificationError, match="is older than 3"):
        check(signed(seq=2), trust)


def test_ruleset_older_than_one_of_another_place_is_believed() -> None:
    trust = Trust(PINNED)
    trust.accepted("rules", "staging", 9)
    trust.accepted("other", "production", 9)

    assert check(signed(seq=2), trust)


def test_ruleset_that_was_only_checked_refuses_no_other() -> None:
    trust = Trust(PINNED)
    check(signed(seq=9), trust)

    assert check(signed(seq=2), trust)  # the one before could not be loaded, say


@pytest.mark.security
def test_guard_started_again_with_a_cache_refuses_an_older_deployment(tmp_path: Path) -> None:
    now = [signed(seq=5)]

    def console(asked: Asked) -> bytes:
        return reply(attrs.asdict(now[0])) if "/v1/rulesets/" in asked.path else reply({"next_in": 60})

    async def life(address: str) -> None:
        guard = await Edictum.from_server(
            address,
            "key",
            "agent",
            bundle_name="rules",
            auto_watch=False,
            signing_public_key=PINNED,
            cache_dir=tmp_path,
            storage_backend=MemoryBackend(),
        )
        await guard.close()

    with answering(console) as server:
        asyncio.run(life(server.address))
        now[0] = signed(rules(forbidden="nothing").encode(), seq=4)
        with pytest.raises(BundleVerificationError, match="is older than 5"):
            asyncio.run(life(server.address))
        now[0] = signed(rules(forbidden="nothing").encode(), seq=6)
        asyncio.run(life(server.address))


# --- keys that follow one another -----------------------------------------------------------------


def after(new: Ed25519PrivateKey, old: Ed25519PrivateKey | None, state: str = "active") -> SigningKey:
    """
    A key, signed by the one before it.
    """
    raw = new.public_key().public_bytes_raw()
    return SigningKey(raw.hex(), state, None if old is None else text_of(old.sign(raw)))


CHAIN = [after(KEY, None, "revoked"), *(after(key_of(number), key_of(number - 1)) for number in range(2, 7))]
LAST = key_of(6)


def learned(keys: list[SigningKey], *, follow: bool = True) -> Trust:
    trust = Trust(PINNED, follow_rotation=follow)
    trust.learn(keys)
    return trust


@pytest.mark.property
@settings(max_examples=settings().max_examples // 5)
@given(st.permutations(CHAIN))
def test_chain_in_any_order_is_followed_to_its_end(keys: list[SigningKey]) -> None:
    assert check(signed(key=LAST), learned(keys))
    assert check(signed(), learned(keys))


def test_chain_without_trust_in_rotation_is_not_followed() -> None:
    trust = learned(CHAIN, follow=False)

    assert not trust.lacks_key_of(signed(key=LAST))
    with pytest.raises(BundleVerificationError, match="trust_rotation"):
        check(signed(key=LAST), trust)


def test_chain_is_asked_for_where_a_key_is_not_known() -> None:
    assert learned([]).lacks_key_of(signed(key=LAST))
    assert not learned(CHAIN).lacks_key_of(signed(key=LAST))
    assert not Trust(None, follow_rotation=True).lacks_key_of(signed(key=LAST))


@pytest.mark.security
@pytest.mark.property
@settings(max_examples=settings().max_examples // 2)
@given(st.integers(1, 5), st.integers(0, 511))
def test_chain_with_a_signature_changed_is_followed_up_to_there(place: int, bit: int) -> None:
    forged = list(CHAIN)
    signature = base64.b64decode(forged[place].cross_signature or "")
    forged[place] = changed(forged[place], cross_signature=text_of(flipped(signature, bit)))

    trust = learned(forged)

    assert check(signed(key=key_of(place)), trust)
    with pytest.raises(BundleVerificationError):
        check(signed(key=LAST), trust)


@pytest.mark.security
@pytest.mark.parametrize(
    "keys",
    [
        [],
        CHAIN[:3] + CHAIN[4:],
        [after(LAST, OTHER)],
        [after(LAST, LAST)],
        [after(OTHER, LAST), after(LAST, OTHER)],
        [changed(CHAIN[1], public_key=digits_of(LAST))],
        [changed(after(LAST, KEY), cross_signature=None)],
        [changed(after(LAST, KEY), cross_signature="")],
        [changed(after(LAST, KEY), cross_signature="%")],
    ],
    ids=["empty", "a gap", "a stranger's", "its own", "a circle", "another's signature", "none", "nothing", "no text"],
)
def test_chain_that_does_not_begin_with_a_key_that_is_believed_is_not(keys: list[SigningKey]) -> None:
    with pytest.raises(BundleVerificationError, match="is signed with key"):
        check(signed(key=LAST), learned(keys))


@pytest.mark.security
@pytest.mark.parametrize("digits", [*LOW_ORDER, "zz" * 32, "", "ab"])
def test_chain_to_a_key_that_is_none_or_weak_is_not_followed(digits: str) -> None:
    raw = bytes.fromhex(digits) if set(digits) <= set("0123456789abcdef") else digits.encode()
    trust = learned([SigningKey(digits, "active", text_of(KEY.sign(raw))), *CHAIN])

    made_up = changed(signed(), public_key=digits, signature=text_of(bytes.fromhex(LOW_ORDER[0]) + bytes(32)))
    with pytest.raises(BundleVerificationError):
        check(made_up, trust)
    assert check(signed(key=LAST), trust)


# --- a console that replaces its key --------------------------------------------------------------


def rotate(console: Console, **how: Any) -> str:
    return str(console.call("POST", "/api/v1/settings/rotate-signing-key", how)["public_key"])


def fetched(console: Console, key: str, name: str, pinned: str, *, follow: bool) -> tuple[CurrentRuleset, bytes]:
    async def scenario() -> tuple[CurrentRuleset, bytes]:
        async with EdictumServerClient(console.address, key, agent_id="agent", bundle_name=name) as client:
            return await ServerContractSource(client, Trust(pinned, follow_rotation=follow)).fetch()

    return asyncio.run(scenario())


@pytest.mark.security
def test_console_that_rotates_its_key_twice_is_believed_by_those_who_follow(console: Console, name: str) -> None:
    console.deploy(rules(name))
    before, first = console.key(), console.public_key()
    second = rotate(console)
    third = rotate(console)
    free = console.key()  # bound to no key of before
    assert len({first, second, third}) == 3

    assert fetched(console, before, name, first, follow=False)[0].public_key == first
    ruleset, content = fetched(console, free, name, first, follow=True)
    assert (ruleset.public_key, content) == (third, rules(name).encode())
    assert fetched(console, free, name, second, follow=True)[1] == content
    assert fetched(console, free, name, third, follow=False)[1] == content
    for pinned in (first, second):
        with pytest.raises(BundleVerificationError, match="after a rotation"):
            fetched(console, free, name, pinned, follow=False)
    with pytest.raises(BundleVerificationError, match="is signed with key"):
        fetched(console, free, name, PINNED, follow=True)


@pytest.mark.security
def test_guard_while_the_key_is_replaced_follows_or_keeps_its_rules(console: Console, name: str) -> None:
    console.deploy(rules(name))
    pinned, key = console.public_key(), console.key()
    agents = {True: f"{name}-follows", False: f"{name}-stays"}

    async def scenario() -> None:
        guards = {
            follow: await Edictum.from_server(
                console.address,
                key,
                agent_id,
                bundle_name=name,
                signing_public_key=pinned,
                trust_rotation=follow,
                storage_backend=MemoryBackend(),
            )
            for follow, agent_id in agents.items()
        }
        applied = {follow: guard._connection.source for follow, guard in guards.items()}  # type: ignore[union-attr]
        try:
            new = await asyncio.to_thread(rotate, console, compromised=True)
            async with asyncio.timeout(60):
                while applied[True].applied.public_key != new:
                    await asyncio.sleep(0.05)
                await asyncio.to_thread(console.deploy, rules(name, forbidden="else"))
                while applied[True].applied.version != 2:
                    await asyncio.sleep(0.05)
            assert (applied[False].applied.public_key, applied[False].applied.version) == (pinned, 1)
        finally:
            for guard in guards.values():
                await guard.close()

    asyncio.run(scenario())
    assert console.events(agent_id=agents[False], action="ruleset_rejected")
    assert not console.events(agent_id=agents[True], action="ruleset_rejected")
    assert [each["decision_name"] for each in console.events(agent_id=agents[True], action="ruleset_reloaded")] == [
        name
    ]
