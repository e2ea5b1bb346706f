"""
What a console answers, as attrs classes.

Fields that are not known are ignored, because a newer console may say more.  A field that is missing or of another
type is an error: nothing is converted, a number is never taken from a text.
"""

from __future__ import annotations

from collections.abc import Callable
from math import isfinite
from typing import Any, TypeVar, get_origin

import attrs
from cattrs import Converter, transform_error
from cattrs.cols import list_structure_factory, mapping_structure_factory
from cattrs.gen import make_dict_structure_fn

from edictum_client.errors import ServerProtocolError

T = TypeVar("T")


@attrs.frozen
class CurrentRuleset:
    """
    What is deployed under a name.

    Attributes:
        name: The ruleset.
        env: Where.
        version: Which version.
        revision_hash: The SHA-256 of its bytes, as hexadecimal digits.
        yaml_bytes: The bytes, as base64.
        deployment_seq: The number of the deployment, which only rises; older consoles do not number them.
        signature: The Ed25519 signature over the bytes, as base64.
        public_key: What verifies it, as hexadecimal digits.
        envelope: What was signed of the deployment, as base64.
        envelope_signature: The signature over that, as base64.
    """

    name: str
    env: str
    version: int
    revision_hash: str
    yaml_bytes: str
    deployment_seq: int = 0
    signature: str | None = None
    public_key: str | None = None
    envelope: str | None = None
    envelope_signature: str | None = None


@attrs.frozen
class SigningKey:
    """
    A key that signs rulesets, or did.

    Attributes:
        public_key: As hexadecimal digits.
        state: ``active``, ``retiring`` or ``revoked``.
        cross_signature: What the key before it signed of this one, as base64; None for the first.
    """

    public_key: str
    state: str
    cross_signature: str | None = None


@attrs.frozen
class SigningKeys:
    """
    All keys, the newest first.
    """

    signing_keys: list[SigningKey]


@attrs.frozen
class Operations:
    """
    What came of operations on session values.

    Attributes:
        results: One for each.
        applied: Whether they were done; otherwise none was.
    """

    results: list[dict[str, Any]]
    applied: bool


@attrs.frozen
class Approval:
    """
    A request for approval, as the console has it.
    """

    id: str
    status: str
    decided_by: str | None = None
    decision_reason: str | None = None


@attrs.frozen
class Rejected:
    """
    An event that is not stored, and never will be.
    """

    index: int
    code: str
    detail: str = ""


@attrs.frozen
class Ingested:
    """
    What became of a batch of events.
    """

    accepted: int
    duplicates: int
    rejected: list[Rejected] = attrs.field(factory=list)


@attrs.frozen
class Desired:
    """
    What the agent is to run.
    """

    bundle_name: str
    revision_hash: str
    deployment_seq: int


@attrs.frozen
class Heard:
    """
    The answer to a report of the agent.

    Attributes:
        next_in: Seconds until the next one.
        desired: What the agent is to run.
    """

    next_in: float
    desired: Desired | None = None


def _leaf(value: Any, kind: Any) -> Any:
    accepted = (int, float) if kind is float else (kind,)
    if type(value) not in accepted:
        raise TypeError(f"expected {kind.__name__}, not {type(value).__name__}")
    if type(value) is float and not isfinite(value):  # which JSON does not have, and Python reads nevertheless
        raise TypeError("expected a number")
    return value


def _only(container: type, inner: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """
    Refuse another kind of container, which the functions of cattrs would walk through item by item.
    """

    def hook(value: Any, kind: Any) -> Any:
        if type(value) is not container:
            raise TypeError(f"expected {container.__name__}, not {type(value).__name__}")
        return inner(value, kind)

    return hook


def _is_generic(kind: Any, container: type) -> bool:
    return bool(get_origin(kind) == container)


def _make_converter() -> Converter:
    converter = Converter(detailed_validation=True)
    for kind in (str, int, float, bool):
        converter.register_structure_hook(kind, _leaf)

    @converter.register_structure_hook_factory(lambda kind: _is_generic(kind, list))
    def lists(kind: Any, converter: Converter) -> Callable[[Any, Any], Any]:
        return _only(list, list_structure_factory(kind, converter))

    @converter.register_structure_hook_factory(lambda kind: _is_generic(kind, dict))
    def mappings(kind: Any, converter: Converter) -> Callable[[Any, Any], Any]:
        return _only(dict, mapping_structure_factory(kind, converter))

    @converter.register_structure_hook_factory(lambda kind: isinstance(kind, type) and attrs.has(kind))
    def objects(kind: Any, converter: Converter) -> Callable[[Any, Any], Any]:
        return _only(dict, make_dict_structure_fn(kind, converter))

    return converter


_CONVERTER = _make_converter()


def read(value: Any, kind: type[T], what: str) -> T:
    """
    Read an answer.

    Args:
        value: What JSON held.
        kind: The class it has to be.
        what: What was asked for, for the error.

    Raises:
        ServerProtocolError: It is something else; the error names each field, and no value.
    """
    try:
        return _CONVERTER.structure(value, kind)
    except Exception as error:
        problems = "; ".join(transform_error(error))
        raise ServerProtocolError(f"{what}: the console answered in another form: {problems}") from None
