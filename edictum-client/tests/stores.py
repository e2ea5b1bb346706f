"""
What a console in production stands on: Postgres, Redis and replicas, as the console's own tests start them.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

_FOLDER = Path(__file__).parents[2] / "edictum-console" / "tests"


def load(name: str) -> Any:
    """
    Import a module of those tests by its file, because both folders of tests have a ``consoles``.
    """
    if name not in sys.modules:
        spec = spec_from_file_location(name, _FOLDER / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


servers = load("servers")

SECRETS = {"EDICTUM_SECRET_KEY": "s" * 32, "EDICTUM_SIGNING_KEY_SECRET": "ab" * 32}


@contextmanager
def stores() -> Iterator[tuple[Any, Any]]:
    """
    Run a Postgres and a Redis.
    """
    # Not pytest's folder, which only its owner may enter: Postgres runs as another user.
    with tempfile.TemporaryDirectory(prefix="edictum-client-redis-") as folder:
        place = Path(tempfile.mkdtemp(prefix="edictum-client-postgres-"))
        redis = servers.Redis(Path(folder))
        try:
            postgres = servers.Postgres(place)
            try:
                yield postgres, redis
            finally:
                postgres.close()
        finally:
            redis.close()
            shutil.rmtree(place, ignore_errors=True)


def variables_for(postgres: Any, redis: Any) -> dict[str, str]:
    """
    What a console needs to be told to use them.
    """
    return {"EDICTUM_DATABASE_URL": postgres.new_database(), "EDICTUM_REDIS_URL": redis.url, **SECRETS}
