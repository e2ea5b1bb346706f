"""
Judging calls of which a decision log holds only a part: what is called certain is true of every call that it may be.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
import reference
from call_strategies import ruleset
from edictum import Principal, RedactionPolicy, create_envelope
from edictum.cli.partial import ANYTHING, BREAKS, FAILS, HOLDS, is_partial, judge_partial
from edictum.ruleset.document import from_mapping
from edictum.ruleset.reader import read_ruleset
from edictum.ruleset.syntax import PreRule
from guards import pre
from hypothesis import event, given
from hypothesis import strategies as st

Data = dict[str, Any]
EITHER = HOLDS | FAILS
MASK = "[REDACTED]"


def judge(when: Data, args: Data, principal: Principal | None = None) -> int:
    (rule,) = read_ruleset(from_mapping(ruleset(pre(when=when)))).rules
    assert isinstance(rule, PreRule)
    call = create_envelope("tool", args, principal=principal, timestamp=datetime.now(UTC))
    return judge_partial(rule.when, call, [])


# --- what is partial -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [
        MASK,
        f"curl -H 'Authorization: Bearer {MASK}' x",
        "x" * 997 + "...",
        "a\n[123 characters left out]\nb",
        "[left out: arguments exceed 8 KB]",
        "[nested too deep]",
        "[123 bytes]",
        {"_redacted": "payload exceeded 32KB"},
        {"_left_out": "3 more arguments"},
        {"a": [1, {"b": MASK}]},
        {f"key {MASK}": 1},
    ],
)
def test_masked_cut_and_left_out_values_are_partial(value: Any) -> None:
    assert is_partial(value)
    assert is_partial({"a": [value]})


@pytest.mark.parametrize("value", ["", "x", "and so on...", "[]", 1, None, True, [], {}, {"a": ["b"]}, "[REDACT]"])
def test_other_values_are_whole(value: Any) -> None:
    assert not is_partial(value)


@pytest.mark.parametrize(
    "args",
    [
        {"token": "x"},
        {"text": "ghp_" + "a1B2" * 9},
        {"text": "see https://user:secret@host/"},
        {"text": "word " * 400},
        {"text": "x" * 200_000},
        {"several": ["x" * 900 for _ in range(20)]},
        {"blob": b"x" * 10_000},
    ],
)
def test_what_our_own_redaction_changes_is_seen(args: Data) -> None:
    """
    The marks are those of the redaction, so a new one must be known here.
    """
    logged = RedactionPolicy().redact_event_args(args)
    assert logged != args
    assert is_partial(logged)


def test_what_our_own_redaction_makes_of_deep_arguments_is_seen() -> None:
    deep: Any = "end"
    for _ in range(30):
        deep = [deep]
    assert is_partial(RedactionPolicy().redact_args({"a": deep}))


# --- single tests --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("test", "text", "expected"),
    [
        ({"exists": True}, f"a{MASK}", HOLDS),
        ({"equals": "abc"}, f"a{MASK}", EITHER),
        ({"equals": "bc"}, f"a{MASK}", FAILS),
        ({"equals": 5}, f"a{MASK}", FAILS),
        ({"not_equals": "bc"}, f"a{MASK}", HOLDS),
        ({"in": ["x", "ab"]}, f"a{MASK}", EITHER),
        ({"not_in": ["x", "y"]}, f"a{MASK}", HOLDS),
        ({"contains": "rm"}, f"rm {MASK}", HOLDS),
        ({"contains": "rm"}, f"r{MASK}", EITHER),
        ({"contains_any": ["x", "rm"]}, f"rm {MASK}", HOLDS),
        ({"starts_with": "git push"}, f"git push {MASK}", HOLDS),
        ({"starts_with": "git push"}, f"git {MASK}", EITHER),
        ({"starts_with": "git push"}, f"svn {MASK}", FAILS),
        ({"ends_with": ".env"}, f"{MASK}/.env", HOLDS),
        ({"ends_with": ".env"}, f"{MASK}env", EITHER),
        ({"ends_with": ".env"}, f"{MASK}.pem", FAILS),
        ({"ends_with": "x"}, "x" * 997 + "...", EITHER),
        ({"matches": r"\bcurl\b"}, f"curl -H {MASK}", HOLDS),
        ({"matches": r"ghp_[a-z]{36}"}, f"t = {MASK}", EITHER),
        ({"matches": r"curl.*-H"}, f"curl {MASK} -H", EITHER),  # a private key has line breaks
        ({"matches": r"(?s)curl.*-H"}, f"curl {MASK} -H", HOLDS),
        ({"matches": r"^.{0,20}$"}, f"curl {MASK}", EITHER),
        ({"matches": r"curl(?!.*secret)"}, f"curl {MASK}", EITHER),
        ({"matches_any": ["nothing", "curl"]}, f"curl {MASK}", HOLDS),
        ({"gt": 1}, f"a{MASK}", BREAKS),
        ({"gt": 1}, MASK, ANYTHING),
        ({"equals": 5}, MASK, ANYTHING),
        ({"exists": True}, MASK, ANYTHING),  # null is masked too under a name that sounds secret
    ],
)
def test_text_of_which_a_part_is_known(test: Data, text: str, expected: int) -> None:
    assert judge({"args.a": test}, {"a": text}) == expected


@pytest.mark.parametrize(
    ("when", "args", "expected"),
    [
        ({"args.a": {"equals": 1}}, {"a": 1, "b": MASK}, HOLDS),
        ({"args.a": {"exists": False}}, {"b": MASK}, HOLDS),
        ({"args.a": {"exists": False}}, {"_redacted": "payload exceeded 32KB"}, ANYTHING),
        ({"args.b": {"equals": 1}}, {"b": 1, "_left_out": "3 more arguments"}, HOLDS),
        ({"args.a.b": {"equals": 1}}, {"a": "[nested too deep]"}, ANYTHING),
        ({"args.a.b": {"equals": 1}}, {"a": f"x{MASK}"}, FAILS),
        ({"args.a": {"equals": ["x"]}}, {"a": [MASK]}, ANYTHING),
        ({"env.A": {"equals": "x"}}, {}, ANYTHING),
        ({"metadata.a": {"exists": True}}, {}, ANYTHING),
        ({"environment": {"equals": "production"}}, {"a": MASK}, HOLDS),
        ({"principal.role": {"equals": "x"}}, {"a": MASK}, FAILS),
        ({"not": {"args.a": {"contains": "rm"}}}, {"a": f"rm {MASK}"}, FAILS),
        ({"not": {"args.a": {"gt": 1}}}, {"a": f"rm {MASK}"}, BREAKS),
        ({"all": [{"args.b": {"equals": 2}}, {"args.a": {"equals": 1}}]}, {"a": MASK, "b": 1}, FAILS),
        ({"all": [{"args.a": {"equals": 1}}, {"args.b": {"equals": 2}}]}, {"a": MASK, "b": 1}, FAILS | BREAKS),
        ({"any": [{"args.b": {"equals": 1}}, {"args.a": {"equals": 1}}]}, {"a": MASK, "b": 1}, HOLDS),
        ({"any": [{"args.a": {"contains": "x"}}, {"args.b": {"equals": 1}}]}, {"a": f"y{MASK}", "b": 1}, HOLDS),
    ],
)
def test_condition_on_a_partial_call(when: Data, args: Data, expected: int) -> None:
    assert judge(when, args) == expected


def test_partial_principal() -> None:
    principal = Principal(role="senior", claims={"team": MASK})
    assert judge({"principal.claims.team": {"equals": "x"}}, {}, principal) == ANYTHING
    assert judge({"principal.role": {"equals": "senior"}}, {}, principal) == HOLDS
    assert judge({"principal.user_id": {"exists": False}}, {}, principal) == HOLDS


# --- property ------------------------------------------------------------------------------------

WORDS = st.sampled_from(["x", "y", "xy", "yx ", "1", "X", " ", "", "\n", "x1"])
PIECES = st.lists(st.tuples(WORDS, st.booleans()), min_size=1, max_size=5)
PATTERNS = st.sampled_from(["x", "^x", "x$", r"\d", "(?i)X", "x|1", "^$", ":1"]) | st.sampled_from(
    ["x.*y", r"\bx", r"y\b", "^x", "x+1?", "[^x]", "(?=y)x", "xy|1$", "(?s)x.x"]
)
TESTS = st.one_of(
    st.fixed_dictionaries({"exists": st.booleans()}),
    st.fixed_dictionaries({"equals": WORDS | st.just(1)}),
    st.fixed_dictionaries({"not_equals": WORDS}),
    st.fixed_dictionaries({"in": st.lists(WORDS, min_size=1, max_size=3)}),
    st.fixed_dictionaries({"not_in": st.lists(WORDS, min_size=1, max_size=3)}),
    st.fixed_dictionaries({"contains": WORDS}),
    st.fixed_dictionaries({"contains_any": st.lists(WORDS, min_size=1, max_size=2)}),
    st.fixed_dictionaries({"starts_with": WORDS}),
    st.fixed_dictionaries({"ends_with": WORDS}),
    st.fixed_dictionaries({"matches": PATTERNS}),
    st.fixed_dictionaries({"matches_any": st.lists(PATTERNS, min_size=1, max_size=2)}),
    st.fixed_dictionaries({"gt": st.integers(0, 2)}),
)
LEAVES = st.builds(lambda name, test: {f"args.{name}": test}, st.sampled_from(["a", "b"]), TESTS)
WHEN = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.builds(lambda items: {"all": items}, st.lists(inner, min_size=1, max_size=3)),
        st.builds(lambda items: {"any": items}, st.lists(inner, min_size=1, max_size=3)),
        st.builds(lambda item: {"not": item}, inner),
    ),
    max_leaves=4,
)
_BITS = {reference.TRUE: HOLDS, reference.FALSE: FAILS, reference.ERROR: BREAKS}


@pytest.mark.property
@given(WHEN, PIECES, PIECES)
def test_judge_partial_allows_for_the_call_that_was_made(
    when: Data, a: list[tuple[str, bool]], b: list[tuple[str, bool]]
) -> None:
    """
    Whatever was masked: the outcome on the call as it was is among those that are called possible.
    """
    original = {name: "".join(word for word, _ in pieces) for name, pieces in (("a", a), ("b", b))}
    logged = {
        name: "".join(MASK if hidden else word for word, hidden in pieces) for name, pieces in (("a", a), ("b", b))
    }
    outcome = judge(when, logged)
    event(f"certain: {outcome in (HOLDS, FAILS, BREAKS)}")
    assert outcome & _BITS[reference.verdict(when, reference.Call("tool", original))]
