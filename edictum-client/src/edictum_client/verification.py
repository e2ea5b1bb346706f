"""
Whether a ruleset may be trusted: who signed it, for which place, and that it is not an old one brought back.

Ed25519 is what ``cryptography`` computes (extra ``verified``).  What is ours is the refusal of keys that verify
anything, and what has to be signed.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from edictum import EdictumConfigError

from edictum_client.errors import BundleVerificationError
from edictum_client.wire import CurrentRuleset, SigningKey

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

_FIELD = 2**255 - 19
_D = -121665 * pow(121666, _FIELD - 2, _FIELD) % _FIELD
_KEY_DIGITS = 64
_SIGNATURE_BYTES = 64
_MOST_ROTATIONS = 1000


def verify_bundle_signature(yaml_bytes: bytes, signature: str | None, public_key: str) -> None:
    """
    Check the Ed25519 signature over the bytes of a ruleset.

    Args:
        yaml_bytes: The bytes.
        signature: As base64.
        public_key: As 64 hexadecimal digits.

    Raises:
        BundleVerificationError: The signature is missing, malformed, or another key's.
        EdictumConfigError: The key is none, or one under which anything can be signed.
    """
    _check_signature(public_key_of(public_key), yaml_bytes, signature, "the ruleset")


def public_key_of(digits: object) -> Ed25519PublicKey:
    """
    Read a public key.

    Raises:
        EdictumConfigError: It is none, it is one under which anybody can sign, or ``cryptography`` is not installed.
    """
    try:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    except ImportError:
        raise EdictumConfigError(
            "signatures are checked with the package cryptography: pip install 'edictum-client[verified]'"
        ) from None
    try:
        raw = bytes.fromhex(digits) if isinstance(digits, str) and len(digits) == _KEY_DIGITS else b""
    except ValueError:
        raw = b""
    if len(raw) * 2 != _KEY_DIGITS:
        raise EdictumConfigError(f"signing_public_key is a public key as {_KEY_DIGITS} hexadecimal digits")
    if _is_weak(raw):
        raise EdictumConfigError("signing_public_key is not a safe key: signatures can be made up for it")
    return Ed25519PublicKey.from_public_bytes(raw)


class Trust:
    """
    What an agent believes about rulesets.

    Args:
        public_key: The key that it was given, as hexadecimal digits; None checks no signatures.
        follow_rotation: Believe also keys that were signed by one that is believed.

    Raises:
        EdictumConfigError: The key cannot be used.
    """

    def __init__(self, public_key: str | None, *, follow_rotation: bool = False) -> None:
        self._keys: dict[str, Ed25519PublicKey] = {}
        self._follow_rotation = follow_rotation
        self._newest: dict[tuple[str, str], int] = {}
        if public_key is not None:
            self._keys[public_key.lower()] = public_key_of(public_key)

    @property
    def verifies(self) -> bool:
        """
        Whether signatures are checked.
        """
        return bool(self._keys)

    def lacks_key_of(self, ruleset: CurrentRuleset) -> bool:
        """
        Whether a ruleset names a key that is not believed yet, but may be after a look at all keys.
        """
        named = (ruleset.public_key or "").lower()
        return self._follow_rotation and self.verifies and named not in self._keys

    def learn(self, keys: Iterable[SigningKey]) -> None:
        """
        Believe the keys that those believed have signed, one after the other.

        Also those that a revoked key signed: whoever stole a key that this agent believes can sign rulesets with it
        anyway.
        """
        if not self._follow_rotation:
            return
        # From the oldest on: the console names the newest first, and each is believed only after the one before it.
        remaining = [key for key in keys if key.cross_signature is not None][:_MOST_ROTATIONS][::-1]
        found = True
        while found:
            found = False
            for key in list(remaining):
                if self._vouched(key):
                    remaining.remove(key)
                    self._keys[key.public_key.lower()] = public_key_of(key.public_key)
                    found = True

    def _vouched(self, key: SigningKey) -> bool:
        try:
            raw = bytes.fromhex(key.public_key)
            public_key_of(key.public_key)
        except (ValueError, EdictumConfigError):
            return False
        for known in self._keys.values():
            try:
                _check_signature(known, raw, key.cross_signature, "a signing key")
            except BundleVerificationError:
                continue
            return True
        return False

    def check(self, ruleset: CurrentRuleset, name: str, env: str) -> bytes:
        """
        Decide whether a ruleset may replace the one in force.

        Args:
            ruleset: What the console says is deployed.
            name: The ruleset that was asked for.
            env: The environment.

        Returns:
            Its bytes.

        Raises:
            BundleVerificationError: It is another one, not signed as it has to be, or older than one accepted before.
        """
        content = _decoded(ruleset.yaml_bytes, "yaml_bytes")
        if (ruleset.name, ruleset.env) != (name, env):
            raise BundleVerificationError(
                f"asked for ruleset {name!r} of {env!r}, and got {ruleset.name!r} of {ruleset.env!r}"
            )
        if hashlib.sha256(content).hexdigest() != ruleset.revision_hash:
            raise BundleVerificationError(
                f"the bytes of ruleset {name!r} do not have the digest that is given for them"
            )
        if self._keys:
            self._check_signed(ruleset, content)
        newest = self._newest.get((env, name), 0)
        if ruleset.deployment_seq < newest:
            raise BundleVerificationError(
                f"ruleset {name!r}: deployment {ruleset.deployment_seq} is older than {newest}, which was here before; "
                "roll back by a new deployment"
            )
        return content

    def accepted(self, name: str, env: str, deployment_seq: int) -> None:
        """
        Remember the number of a deployment; none below it is accepted from now on.
        """
        place = (env, name)
        self._newest[place] = max(self._newest.get(place, 0), deployment_seq)

    def newest(self, env: str) -> dict[str, int]:
        """
        The highest number that was accepted of each ruleset of an environment.
        """
        return {name: number for (place, name), number in self._newest.items() if place == env}

    def _check_signed(self, ruleset: CurrentRuleset, content: bytes) -> None:
        named = (ruleset.public_key or "").lower()
        known = self._keys.get(named)
        if known is None:
            pinned = ", ".join(f"{key[:16]}..." for key in self._keys)
            raise BundleVerificationError(
                f"ruleset {ruleset.name!r} is signed with key {named[:16] or 'unknown'}..., and this agent believes "
                f"{pinned}; after a rotation give it the new signing_public_key, or trust_rotation=True"
            )
        what = f"ruleset {ruleset.name!r}"
        _check_signature(known, content, ruleset.signature, what)
        # The bytes alone could be an old version, or one that was meant for another environment.
        envelope = _decoded(ruleset.envelope, "envelope")
        _check_signature(known, envelope, ruleset.envelope_signature, f"the deployment of {what}")
        said = _object(envelope)
        for field, value in (
            ("env", ruleset.env),
            ("name", ruleset.name),
            ("version", ruleset.version),
            ("revision_hash", ruleset.revision_hash),
            ("deployment_seq", ruleset.deployment_seq),
        ):
            if said.get(field) != value or type(said.get(field)) is not type(value):
                raise BundleVerificationError(f"{what}: what was signed of its deployment has another {field}")


def _check_signature(key: Ed25519PublicKey, data: bytes, signature: str | None, what: str) -> None:
    from cryptography.exceptions import InvalidSignature

    if not signature:
        raise BundleVerificationError(f"{what} is not signed")
    raw = _decoded(signature, "signature")
    if len(raw) != _SIGNATURE_BYTES:
        raise BundleVerificationError(f"{what}: the signature has {len(raw)} bytes instead of {_SIGNATURE_BYTES}")
    try:
        key.verify(raw, data)
    except InvalidSignature:
        raise BundleVerificationError(
            f"{what}: the signature is not by the key that this agent believes; compare signing_public_key with the "
            "console's"
        ) from None


def _decoded(text: str | None, field: str) -> bytes:
    try:
        return base64.b64decode(text or "", validate=True)
    except (binascii.Error, ValueError):
        raise BundleVerificationError(f"{field} is not base64") from None


def _object(raw: bytes) -> dict[str, Any]:
    try:
        found = json.loads(raw)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise BundleVerificationError("what was signed of the deployment cannot be read")
    return found


def _is_weak(raw: bytes) -> bool:
    """
    Whether a public key is no point of the curve's large group, or not written in the one way it should be.

    For a point of small order, a signature for one message is one for many.
    """
    sign, y = raw[31] >> 7, int.from_bytes(raw, "little") & (2**255 - 1)
    if y >= _FIELD:
        return True
    # x^2 = (y^2 - 1) / (d y^2 + 1), see RFC 8032, 5.1.3.
    square = (y * y - 1) * pow(_D * y * y + 1, _FIELD - 2, _FIELD) % _FIELD
    x = pow(square, (_FIELD + 3) // 8, _FIELD)
    if x * x % _FIELD != square:
        x = x * pow(2, (_FIELD - 1) // 4, _FIELD) % _FIELD
    if x * x % _FIELD != square or (x == 0 and sign):
        return True
    if x % 2 != sign:
        x = _FIELD - x
    point = (x, y)
    for _ in range(3):
        point = _doubled(point)
    return point == (0, 1)


def _doubled(point: tuple[int, int]) -> tuple[int, int]:
    x, y = point
    product = _D * x * x * y * y % _FIELD
    doubled_x = 2 * x * y * pow(1 + product, _FIELD - 2, _FIELD) % _FIELD
    doubled_y = (y * y + x * x) * pow(1 - product, _FIELD - 2, _FIELD) % _FIELD
    return doubled_x, doubled_y
