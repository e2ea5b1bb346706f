"""
The last good ruleset on disk, for a start while the console cannot be reached.

What is kept is the console's signed answer as it came.  It is verified again when it is used, so whoever can write to
the folder can delete it or make it look younger, but cannot make a ruleset.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import secrets
import time
from pathlib import Path
from typing import Any

import attrs
from edictum import EdictumConfigError

from edictum_client.errors import BundleVerificationError, ServerProtocolError
from edictum_client.wire import CurrentRuleset, read

logger = logging.getLogger(__name__)

DEFAULT_AGE = 24 * 3600.0
_CLOCK_SLACK = 300.0


@attrs.frozen
class Kept:
    """
    A ruleset from the cache.

    Attributes:
        ruleset: The console's answer; not verified.
        age: Seconds since the console said so.
        newest: The highest number of a deployment that was accepted, of each ruleset.
    """

    ruleset: CurrentRuleset
    age: float
    newest: dict[str, int]


class Cache:
    """
    Rulesets of one console in a folder.

    Args:
        folder: Where; made if it is not there, for this user alone.
        base_url: The console.
        agent_id: The agent, for the ruleset that was assigned to it.

    Raises:
        EdictumConfigError: The folder cannot be used.
    """

    def __init__(self, folder: Path, base_url: str, agent_id: str) -> None:
        self._folder = folder
        self._base_url = base_url
        self._agent_id = agent_id
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise EdictumConfigError(f"cache_dir {folder} cannot be used: {error.strerror or error}") from error

    def keep(self, env: str, wanted: str | None, ruleset: CurrentRuleset, newest: dict[str, int]) -> None:
        """
        Remember what is in force.  A disk that is full is said in the log and stops nothing.

        Args:
            env: The environment.
            wanted: The name that the agent insists on; None where the console assigns one.
            ruleset: The console's answer, verified.
            newest: The highest number of a deployment that was accepted, of each ruleset.
        """
        kept = {"kept_at": time.time(), "newest": newest, "ruleset": attrs.asdict(ruleset)}
        path = self._path(env, wanted)
        aside = path.with_suffix(f".{secrets.token_hex(4)}")
        try:
            descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                json.dump(kept, file)
                file.flush()
                os.fsync(file.fileno())
            aside.replace(path)
        except OSError as error:
            aside.unlink(missing_ok=True)
            logger.error("the ruleset could not be kept in %s: %s", self._folder, error)

    def find(self, env: str, wanted: str | None) -> Kept | None:
        """
        The ruleset that was in force last; None where there is none.

        Raises:
            BundleVerificationError: The file is damaged.
        """
        path = self._path(env, wanted)
        try:
            found: Any = json.loads(path.read_bytes())
            ruleset = read(found["ruleset"], CurrentRuleset, "the ruleset in the cache")
            kept_at, newest = float(found["kept_at"]), dict(found["newest"])
            if not all(type(number) is int for number in newest.values()):
                raise ValueError("a number of a deployment is none")
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, RecursionError, ServerProtocolError) as error:
            raise BundleVerificationError(f"the ruleset kept in {path} cannot be read: {error}") from None
        age = time.time() - kept_at
        if age < -_CLOCK_SLACK:
            raise BundleVerificationError(f"the ruleset kept in {path} is from the future; check the clock")
        return Kept(ruleset, max(age, 0.0), newest)

    def _path(self, env: str, wanted: str | None) -> Path:
        whose = f"ruleset {wanted}" if wanted is not None else f"agent {self._agent_id}"
        digest = hashlib.sha256(f"{self._base_url}\n{env}\n{whose}".encode()).hexdigest()
        return self._folder / f"{digest[:32]}.json"
