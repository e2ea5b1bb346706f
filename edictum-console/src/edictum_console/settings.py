"""
What the operator decides: one value, read from ``EDICTUM_*`` variables, complete and checked before anything starts.

A value that is unknown, unusable or insecure is refused, all of them at once, each with the variable's name, what is
wrong and what to do.  Other parts of the family have ``EDICTUM_*`` variables of their own, so an unknown name is
refused only when it looks like a misspelling of one of these.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Callable, Mapping
from datetime import timedelta
from difflib import get_close_matches
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import TypeAlias, TypeVar
from urllib.parse import urlsplit

import attrs

from edictum_console.errors import SettingsError

Network: TypeAlias = IPv4Network | IPv6Network

T = TypeVar("T")

_SEALING_KEY = re.compile(r"[0-9a-fA-F]{64}")
_TRUTH = {"true": True, "1": True, "false": False, "0": False}
_ENVIRONMENTS = ("development", "production")
_FORMATS = ("auto", "text", "json")
_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
_SHORTEST_SECRET = 32
_SHORTEST_PASSWORD = 12
KNOWN = (
    "EDICTUM_ADMIN_EMAIL",
    "EDICTUM_ADMIN_PASSWORD",
    "EDICTUM_APPROVALS_PER_MINUTE",
    "EDICTUM_AUTO_MIGRATE",
    "EDICTUM_BASE_URL",
    "EDICTUM_CORS_ORIGINS",
    "EDICTUM_DATABASE_URL",
    "EDICTUM_DATA_DIR",
    "EDICTUM_DRAIN_SECONDS",
    "EDICTUM_ENV_NAME",
    "EDICTUM_EVENTS_BODY_MIB",
    "EDICTUM_EVENTS_PER_BATCH",
    "EDICTUM_EVENTS_PER_MINUTE",
    "EDICTUM_LOG_FORMAT",
    "EDICTUM_LOG_LEVEL",
    "EDICTUM_RATE_LIMIT_MAX_ATTEMPTS",
    "EDICTUM_RATE_LIMIT_WINDOW_SECONDS",
    "EDICTUM_METRICS_TOKEN",
    "EDICTUM_OUTBOUND_NETWORKS",
    "EDICTUM_OUTBOUND_PLAINTEXT",
    "EDICTUM_REDIS_URL",
    "EDICTUM_REQUESTS_PER_MINUTE",
    "EDICTUM_SECRET_KEY",
    "EDICTUM_SECURITY_CONTACT",
    "EDICTUM_SESSION_REQUESTS_PER_MINUTE",
    "EDICTUM_SESSION_TTL_HOURS",
    "EDICTUM_SIGNING_KEY_SECRET",
    "EDICTUM_SIGNING_KEY_SECRET_PREVIOUS",
    "EDICTUM_STREAMS_PER_AGENT",
    "EDICTUM_STREAMS_PER_TENANT",
    "EDICTUM_TRUSTED_PROXIES",
)


@attrs.frozen(kw_only=True)
class Settings:
    """
    Everything that can be configured.

    Attributes:
        data_dir: Where the embedded database and generated secrets lie.
        database_url: ``postgresql://...``, or None for the file ``console.db`` in ``data_dir``.
        redis_url: ``redis://...`` or ``rediss://...``, or None for state in this process and the database.
        secret_key: Authenticates logins.
        sealing_key: Seals private keys in the database.
        previous_sealing_key: The one before, with which older rows may still be sealed.
        admin_email: Who is made the first administrator, together with ``admin_password``.
        admin_password: The password of the first administrator.
        base_url: Where people and agents reach the console.
        production: Whether what is convenient and unsafe is refused.
        session_ttl: How long a login lasts without being used.
        login_attempts: How many logins one address may try within ``login_window``.
        login_window: The time in which they are counted.
        security_contact: Whom to tell of a weakness: ``mailto:...`` or ``https://...``; None names nobody.
        cors_origins: Whose pages may use the API from a browser, with a key or a script's token and never with a login.
        trusted_proxies: Networks whose word about the client's address is believed.
        log_level: From which level on messages are written.
        log_json: Whether they are written as lines of JSON.
        auto_migrate: Whether ``serve`` brings the schema up to date.
        drain_seconds: Over how long streams are ended when the console stops.
        metrics_token: What opens ``/metrics`` from other machines; None where only this one may read them.
        outbound_networks: Networks that are not public and that channels of notifications may reach nevertheless.
        outbound_plaintext: Whether channels of notifications may do without TLS.
        requests_per_minute: How many requests an API key may make within a minute.
        session_requests_per_minute: How many of them may be about session values.
        approvals_per_minute: How many requests for approval an agent may make within a minute.
        events_per_minute: How many events a tenant may deliver within a minute.
        events_per_batch: How many events one request may have.
        events_body: How many bytes a request with events may have.
        streams_per_tenant: How many streams a tenant may hold at one replica.
        streams_per_agent: How many of them may be of one agent.
    """

    data_dir: Path
    database_url: str | None = attrs.field(default=None, repr=False)  # may hold a password
    redis_url: str | None = attrs.field(default=None, repr=False)
    secret_key: bytes = attrs.field(repr=False)
    sealing_key: bytes = attrs.field(repr=False)
    previous_sealing_key: bytes | None = attrs.field(default=None, repr=False)
    admin_email: str | None = None
    admin_password: str | None = attrs.field(default=None, repr=False)
    base_url: str = "http://localhost:8000"
    production: bool = False
    session_ttl: timedelta = timedelta(hours=24)
    login_attempts: int = 10
    login_window: timedelta = timedelta(minutes=5)
    security_contact: str | None = None
    cors_origins: tuple[str, ...] = ()
    trusted_proxies: tuple[Network, ...] = ()
    log_level: str = "INFO"
    log_json: bool = False
    auto_migrate: bool = True
    drain_seconds: float = 10.0
    metrics_token: bytes | None = attrs.field(default=None, repr=False)
    outbound_networks: tuple[Network, ...] = ()
    outbound_plaintext: bool = False
    requests_per_minute: int = 6_000
    session_requests_per_minute: int = 3_000
    approvals_per_minute: int = 10
    events_per_minute: int = 200_000
    events_per_batch: int = 10_000
    events_body: int = 64 * 1024 * 1024
    streams_per_tenant: int = 1000
    streams_per_agent: int = 20

    @property
    def secure(self) -> bool:
        """
        Whether browsers reach the console by HTTPS.
        """
        return self.base_url.startswith("https://")


def load_settings(environ: Mapping[str, str], port: int = 8000, *, generate: bool = True) -> Settings:
    """
    Read the settings; generate secrets that are missing and may be generated.

    Args:
        environ: The variables, usually ``os.environ``.
        port: Where the console listens, which is its address on this machine unless the variables name another one.
        generate: Whether secrets are generated; a command for a console that is there makes none.

    Raises:
        SettingsError: At least one is wrong; nothing was generated.
    """
    reader = _Reader(environ)
    reader.refuse_misspelled()
    production = reader.choice("EDICTUM_ENV_NAME", _ENVIRONMENTS, "development") == "production"
    data_dir = reader.read("EDICTUM_DATA_DIR", _folder) or _default_folder(environ)
    database_url = reader.read("EDICTUM_DATABASE_URL", _database_url)
    secret_key = reader.read("EDICTUM_SECRET_KEY", _secret)
    sealing_key = reader.read("EDICTUM_SIGNING_KEY_SECRET", _sealing_key)
    embedded = database_url is None
    for variable, value in (("EDICTUM_SECRET_KEY", secret_key), ("EDICTUM_SIGNING_KEY_SECRET", sealing_key)):
        if value is None and not reader.given(variable) and (production or not embedded):
            where = "in production" if production else "with EDICTUM_DATABASE_URL, for all replicas need the same"
            reader.problem(variable, f"is needed {where}", "set it to the output of: openssl rand -hex 32")
    values: dict[str, object] = {
        "database_url": database_url,
        "redis_url": reader.read("EDICTUM_REDIS_URL", _redis_url),
        "previous_sealing_key": reader.read("EDICTUM_SIGNING_KEY_SECRET_PREVIOUS", _sealing_key),
        "base_url": reader.read("EDICTUM_BASE_URL", _base_url) or f"http://localhost:{port}",
        "session_ttl": timedelta(hours=reader.whole("EDICTUM_SESSION_TTL_HOURS", 24, 1, 24 * 7)),
        "login_attempts": reader.whole("EDICTUM_RATE_LIMIT_MAX_ATTEMPTS", 10, 1, 1000),
        "login_window": timedelta(seconds=reader.whole("EDICTUM_RATE_LIMIT_WINDOW_SECONDS", 300, 1, 86_400)),
        "security_contact": reader.read("EDICTUM_SECURITY_CONTACT", _contact),
        "cors_origins": reader.read("EDICTUM_CORS_ORIGINS", _origins) or (),
        "trusted_proxies": reader.read("EDICTUM_TRUSTED_PROXIES", _networks) or (),
        "log_level": reader.choice("EDICTUM_LOG_LEVEL", _LEVELS, "INFO"),
        "log_json": reader.choice("EDICTUM_LOG_FORMAT", _FORMATS, "auto")
        in (("auto", "json") if production else ("json",)),
        "auto_migrate": reader.truth("EDICTUM_AUTO_MIGRATE", True),
        "drain_seconds": float(reader.whole("EDICTUM_DRAIN_SECONDS", 10, 0, 600)),
        "metrics_token": reader.read("EDICTUM_METRICS_TOKEN", _secret),
        "outbound_networks": reader.read("EDICTUM_OUTBOUND_NETWORKS", _networks) or (),
        "outbound_plaintext": reader.truth("EDICTUM_OUTBOUND_PLAINTEXT", False),
        "requests_per_minute": reader.whole("EDICTUM_REQUESTS_PER_MINUTE", 6_000, 1, 10_000_000),
        "session_requests_per_minute": reader.whole("EDICTUM_SESSION_REQUESTS_PER_MINUTE", 3_000, 1, 10_000_000),
        "approvals_per_minute": reader.whole("EDICTUM_APPROVALS_PER_MINUTE", 10, 1, 100_000),
        "events_per_minute": reader.whole("EDICTUM_EVENTS_PER_MINUTE", 200_000, 1, 100_000_000),
        "events_per_batch": reader.whole("EDICTUM_EVENTS_PER_BATCH", 10_000, 1, 100_000),
        "events_body": reader.whole("EDICTUM_EVENTS_BODY_MIB", 64, 1, 1024) * 1024 * 1024,
        "streams_per_tenant": reader.whole("EDICTUM_STREAMS_PER_TENANT", 1000, 1, 100_000),
        "streams_per_agent": reader.whole("EDICTUM_STREAMS_PER_AGENT", 20, 1, 100_000),
    }
    _read_admin(reader, values)
    if production and not str(values["base_url"]).startswith("https://"):
        reader.problem("EDICTUM_BASE_URL", "is not HTTPS, which production needs", "set the public https:// address")
    if production and values["outbound_plaintext"]:
        reader.problem("EDICTUM_OUTBOUND_PLAINTEXT", "is not for production", "remove it, and use TLS everywhere")
    reader.raise_if_any()
    return Settings(
        data_dir=data_dir,
        production=production,
        secret_key=secret_key or _generated(data_dir / "secret.key", generate).encode(),
        sealing_key=sealing_key or bytes.fromhex(_generated(data_dir / "sealing.key", generate)),
        **values,  # type: ignore[arg-type]  # each value was made by the function for its variable
    )


def _read_admin(reader: _Reader, values: dict[str, object]) -> None:
    email, password = reader.text("EDICTUM_ADMIN_EMAIL"), reader.text("EDICTUM_ADMIN_PASSWORD")
    if (email is None) != (password is None):
        missing = "EDICTUM_ADMIN_EMAIL" if email is None else "EDICTUM_ADMIN_PASSWORD"
        reader.problem(missing, "is missing", "set both, or neither and use the set-up link that serve prints")
    if email is not None and not re.fullmatch(r"[^@\s]+@[^@\s]+", email):
        reader.problem("EDICTUM_ADMIN_EMAIL", "is not an e-mail address", "set it to one like ana@example.com")
    if password is not None and len(password) < _SHORTEST_PASSWORD:
        reader.problem(
            "EDICTUM_ADMIN_PASSWORD", f"has fewer than {_SHORTEST_PASSWORD} characters", "choose a longer one"
        )
    values |= {"admin_email": email, "admin_password": password}


class _Reader:
    """
    Reads variables and collects what is wrong with them; never repeats a value, which may be a secret.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._problems: list[str] = []

    def problem(self, variable: str, what: str, remedy: str) -> None:
        self._problems.append(f"{variable} {what}; {remedy}")

    def raise_if_any(self) -> None:
        if self._problems:
            raise SettingsError(self._problems)

    def refuse_misspelled(self) -> None:
        for name in self._environ:
            if name.startswith("EDICTUM_") and name not in KNOWN:
                close = get_close_matches(name, KNOWN, n=1, cutoff=0.85)
                if close:
                    self.problem(name, "is not known", f"did you mean {close[0]}?")

    def given(self, variable: str) -> bool:
        return self.text(variable) is not None

    def text(self, variable: str) -> str | None:
        return self._environ.get(variable, "").strip() or None

    def read(self, variable: str, parse: Callable[[str], T]) -> T | None:
        text = self.text(variable)
        if text is None:
            return None
        try:
            return parse(text)
        except _UnusableError as error:
            self.problem(variable, error.what, error.remedy)
            return None

    def choice(self, variable: str, words: tuple[str, ...], default: str) -> str:
        text = self.text(variable)
        if text is not None and text not in words:
            self.problem(variable, "has an unknown value", f"use one of: {', '.join(words)}")
        return text or default

    def truth(self, variable: str, default: bool) -> bool:
        text = self.text(variable)
        if text is not None and text.lower() not in _TRUTH:
            self.problem(variable, "is neither true nor false", "write true or false")
        return default if text is None else _TRUTH.get(text.lower(), default)

    def whole(self, variable: str, default: int, lowest: int, highest: int) -> int:
        text = self.text(variable)
        if text is None:
            return default
        if not text.isascii() or not text.isdigit() or not lowest <= int(text) <= highest:
            self.problem(variable, "is out of range", f"write a whole number from {lowest} to {highest}")
            return default
        return int(text)


class _UnusableError(Exception):
    def __init__(self, what: str, remedy: str) -> None:
        self.what = what
        self.remedy = remedy
        super().__init__(what)


def _folder(text: str) -> Path:
    folder = Path(text).expanduser()
    if not folder.is_absolute():
        raise _UnusableError("is not an absolute path", "write the path from the root")
    return folder


def _default_folder(environ: Mapping[str, str]) -> Path:
    base = environ.get("XDG_DATA_HOME", "")
    return (Path(base) if base.startswith("/") else Path.home() / ".local" / "share") / "edictum-console"


def _database_url(text: str) -> str:
    # The spelling with a driver is common in files written for other consoles.
    text = text.replace("postgresql+asyncpg://", "postgresql://", 1)
    parts = urlsplit(text)
    if parts.scheme not in ("postgresql", "postgres") or not parts.path.strip("/"):
        raise _UnusableError(
            "is not the address of a Postgres database",
            "write postgresql://user:password@host/database, or remove it for the embedded database",
        )
    return text


def _redis_url(text: str) -> str:
    if urlsplit(text).scheme not in ("redis", "rediss", "unix"):
        raise _UnusableError(
            "is not the address of a Redis server", "write redis://host:6379/0, rediss:// for TLS, or remove it"
        )
    return text


def _base_url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path.strip("/") or parts.query:
        raise _UnusableError(
            "is not the address of a server", "write it without a path, like https://console.example.com"
        )
    return text.rstrip("/")


def _origins(text: str) -> tuple[str, ...]:
    origins = tuple(part.strip().lower().rstrip("/") for part in text.split(","))
    if "*" in text:
        raise _UnusableError("may not have a *", "name every origin, like https://app.example.com")
    for origin in origins:
        parts = urlsplit(origin)
        if parts.scheme not in ("http", "https") or not parts.netloc or origin != f"{parts.scheme}://{parts.netloc}":
            raise _UnusableError(
                "is not a list of origins", "separate them by commas, each like https://app.example.com, without a path"
            )
    return origins


def _contact(text: str) -> str:
    if not re.fullmatch(r"mailto:[!-~]+@[!-~]+|https://[!-~]+", text):
        raise _UnusableError("is no address to write to", "write mailto:security@example.com or an https:// address")
    return text


def _secret(text: str) -> bytes:
    if len(text) < _SHORTEST_SECRET:
        raise _UnusableError(
            f"has fewer than {_SHORTEST_SECRET} characters", "set it to the output of: openssl rand -hex 32"
        )
    return text.encode()


def _sealing_key(text: str) -> bytes:
    if not _SEALING_KEY.fullmatch(text):
        raise _UnusableError("is not 64 hexadecimal digits", "set it to the output of: openssl rand -hex 32")
    return bytes.fromhex(text)


def _networks(text: str) -> tuple[Network, ...]:
    try:
        return tuple(ip_network(part.strip()) for part in text.split(","))
    except ValueError:
        raise _UnusableError(
            "is not a list of networks", "separate addresses or networks by commas, like 10.0.0.0/8"
        ) from None


def _generated(file: Path, generate: bool) -> str:
    """
    Return the secret in a file, made on first use and readable by its owner only.

    Raises:
        SettingsError: The file cannot be made or does not hold such a secret, or is not there and must not be made.
    """
    if not generate and not file.exists():
        what = f"EDICTUM_DATA_DIR: there is no {file.name} in {file.parent}; is it the folder of the console?"
        raise SettingsError([f"{what} A new one is made by: edictum-console migrate"])
    try:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            with open(file, "x", opener=_private) as stream:
                stream.write(secrets.token_hex(32))
        except FileExistsError:
            pass
        text = file.read_text().strip()
    except OSError as error:
        what = f"EDICTUM_DATA_DIR does not work: {error.strerror}"
        raise SettingsError([f"{what}; name a folder that can be written, or set all secrets"]) from error
    if not _SEALING_KEY.fullmatch(text):
        raise SettingsError([f"EDICTUM_DATA_DIR: {file.name} in it is damaged; restore it from a backup"])
    return text


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
