"""
The container files say what is true of the console; nothing here needs a container engine.
"""

from __future__ import annotations

import re
import socket
import subprocess
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import requires
from pathlib import Path
from typing import Any

import pytest
from edictum_console.cli import main
from edictum_console.settings import KNOWN, Settings, load_settings
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from ruamel.yaml import YAML
from servers import Redis, find_program, free_port
from test_serve import serving

FOLDER = Path(__file__).parents[1]
ROOT = FOLDER.parent
COMPOSE_FILES = ("compose.yaml", "compose.embedded.yaml")
SECRETS = ("EDICTUM_SECRET_KEY", "EDICTUM_SIGNING_KEY_SECRET", "EDICTUM_POSTGRES_PASSWORD", "EDICTUM_REDIS_PASSWORD")
VARIABLE = re.compile(r"\$\{(\w+)(:[-?])([^}]*)\}")

DOCKERFILE = (FOLDER / "Dockerfile").read_text()


def compose(name: str) -> dict[str, Any]:
    found: dict[str, Any] = YAML(typ="safe", pure=True).load(FOLDER / name)
    return found


def services(name: str) -> dict[str, Any]:
    found: dict[str, Any] = compose(name)["services"]
    return found


def environment(name: str, given: dict[str, str]) -> dict[str, str]:
    """
    The environment of the console in a compose file, with what somebody gave filled in.
    """

    def fill(match: re.Match[str]) -> str:
        variable, kind, text = match.groups()
        if kind == ":?" and not given.get(variable):
            pytest.fail(f"{variable} is needed")
        return given.get(variable) or (text if kind == ":-" else "")

    words = services(name)["console"]["environment"]
    return {variable: VARIABLE.sub(fill, value) for variable, value in words.items()}


def instruction(word: str) -> list[str]:
    return re.findall(rf"^{word} (.*)$", DOCKERFILE.replace("\\\n", ""), re.MULTILINE)


@pytest.mark.parametrize("name", COMPOSE_FILES)
def test_compose_sets_only_variables_that_are_known(name: str) -> None:
    assert services(name)["console"]["environment"].keys() <= set(KNOWN)


@pytest.mark.parametrize("name", COMPOSE_FILES)
def test_compose_passes_on_where_messages_may_go(name: str) -> None:
    found = services(name)["console"]["environment"]
    assert {"EDICTUM_OUTBOUND_NETWORKS", "EDICTUM_OUTBOUND_PLAINTEXT"} <= found.keys()


def test_compose_with_its_secrets_makes_settings_for_production(tmp_path: Path) -> None:
    given = {**dict.fromkeys(SECRETS, "ab" * 32), "EDICTUM_BASE_URL": "https://console.example.com"}
    settings = load_settings(environment("compose.yaml", given) | {"EDICTUM_DATA_DIR": str(tmp_path / "unused")})
    assert settings.production
    assert settings.database_url == f"postgresql://edictum:{'ab' * 32}@postgres:5432/edictum"
    assert settings.redis_url == f"redis://:{'ab' * 32}@redis:6379/0"
    assert not (tmp_path / "unused").exists()  # replicas keep nothing on their own disk


def test_compose_embedded_with_nothing_given_makes_settings(tmp_path: Path) -> None:
    settings = load_settings(environment("compose.embedded.yaml", {}) | {"EDICTUM_DATA_DIR": str(tmp_path)})
    assert settings.database_url is None
    assert settings.base_url == "http://localhost:8000"


@pytest.mark.security
def test_compose_asks_for_every_secret_by_name_and_says_what_to_do() -> None:
    needed = {
        variable: text
        for variable, kind, text in VARIABLE.findall((FOLDER / "compose.yaml").read_text())
        if kind == ":?"
    }
    assert needed.keys() == {*SECRETS, "EDICTUM_BASE_URL"}
    assert all("set it to" in text for text in needed.values())


@pytest.mark.security
@pytest.mark.parametrize("name", COMPOSE_FILES)
def test_compose_gives_the_console_no_more_than_it_needs(name: str) -> None:
    console = services(name)["console"]
    assert console["read_only"] is True
    assert console["cap_drop"] == ["ALL"]
    assert console["security_opt"] == ["no-new-privileges:true"]
    assert console["ports"] == ["127.0.0.1:8000:8000"]
    assert console["build"]["dockerfile"] == FOLDER.relative_to(ROOT).joinpath("Dockerfile").as_posix()
    assert console.get("volumes", []) == (["data:/data"] if "embedded" in name else [])


@pytest.mark.security
def test_compose_keeps_the_databases_in_a_network_of_their_own() -> None:
    file = compose("compose.yaml")
    assert file["networks"]["data"] == {"internal": True}
    for name in ("postgres", "redis"):
        assert file["services"][name]["networks"] == ["data"]
        assert "ports" not in file["services"][name]
        assert file["services"]["console"]["depends_on"][name] == {"condition": "service_healthy"}


def test_compose_finds_redis_healthy_only_when_it_serves(redis_server: Redis) -> None:
    kind, program, *words = services("compose.yaml")["redis"]["healthcheck"]["test"]
    assert kind == "CMD"

    def healthy(port: int) -> bool:
        command = [find_program(program, "redis-tools"), "-p", str(port), *words]
        return subprocess.run(command, capture_output=True, timeout=30, check=False).returncode == 0

    def load(listening: socket.socket) -> None:
        connection, _ = listening.accept()
        with connection:
            connection.recv(1000)
            connection.sendall(b"-LOADING Redis is loading the dataset in memory\r\n")

    assert healthy(redis_server.port)
    with socket.create_server(("127.0.0.1", 0)) as loading, ThreadPoolExecutor() as threads:
        answered = threads.submit(load, loading)
        assert not healthy(loading.getsockname()[1])
        answered.result()
    assert not healthy(free_port())


@pytest.mark.parametrize("name", COMPOSE_FILES)
def test_compose_waits_longer_than_the_console_needs_to_stop(name: str) -> None:
    drain = Settings(data_dir=Path("/"), secret_key=b"", sealing_key=b"").drain_seconds
    assert int(services(name)["console"]["stop_grace_period"].removesuffix("s")) > drain + 2


def test_image_listens_keeps_its_data_and_checks_itself_where_the_console_does() -> None:
    assert instruction("EXPOSE") == ["8000"]
    assert instruction("VOLUME") == ["/data"]
    assert "EDICTUM_DATA_DIR=/data" in instruction("ENV")[-1]
    assert instruction("ENTRYPOINT") == ['["edictum-console"]']
    assert instruction("CMD") == ['["serve", "--host", "0.0.0.0"]']
    assert instruction("HEALTHCHECK")[0].endswith('CMD ["edictum-console", "health"]')


def test_image_compiles_what_it_cannot_write_later() -> None:
    assert "PYTHONDONTWRITEBYTECODE=1" in instruction("ENV")[-1]
    assert any(words.startswith("python -m compileall") for words in instruction("RUN"))


@pytest.mark.security
def test_image_runs_as_nobody_in_particular_and_takes_no_secret() -> None:
    assert instruction("USER") == ["10001:10001"]
    assert not re.findall(r"^ARG", DOCKERFILE, re.MULTILINE)
    copied = [words.split()[0] for words in instruction("COPY") if not words.startswith("--from")]
    assert all((ROOT / path).exists() for path in copied)
    allowed = [line[1:] for line in (FOLDER / "Dockerfile.dockerignore").read_text().splitlines() if line[:1] == "!"]
    assert sorted(allowed) == sorted(path for words in instruction("COPY")[:-1] for path in words.split()[:-1])


def test_image_installs_pinned_versions_only() -> None:
    assert "PIP_CONSTRAINT=/source/constraints.txt" in instruction("ENV")[0]
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = {canonicalize_name(line.split("==")[0]) for line in lines if "==" in line}
    needed, found = ["edictum-console"], {"edictum-console", "edictum-core"}
    extras = {"edictum-core": ["yaml-fast"], "edictum-console": [""]}
    for name in needed:  # grows while it is walked
        for requirement in map(Requirement, requires(name) or ()):
            marker, other = requirement.marker, canonicalize_name(requirement.name)
            if marker and not any(marker.evaluate({"extra": extra}) for extra in ["", *extras.get(name, [])]):
                continue
            extras.setdefault(other, []).extend(requirement.extras)
            if other not in found:
                found.add(other)
                needed.append(other)
    assert sorted(found - pinned) == ["edictum-console", "edictum-core"]


def test_health_of_a_console_that_serves_is_good(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with serving(tmp_path) as (address, _, process):
        port = address.rpartition(":")[2]
        assert main(["health", "--port", port]) == 0
        assert '"status":"ok"' in capfd.readouterr().out
        process.kill()
        process.wait(20)
        assert main(["health", "--port", port]) == 1
    assert "nothing that speaks HTTP answers" in capfd.readouterr().err


def test_health_of_a_console_without_its_database_is_bad(
    postgres: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    secrets = {"EDICTUM_SECRET_KEY": "s" * 32, "EDICTUM_SIGNING_KEY_SECRET": "ab" * 32}
    with serving(tmp_path, EDICTUM_DATABASE_URL=postgres.new_database(), **secrets) as (address, _, _):
        postgres.server.kill()
        try:
            assert main(["health", "--port", address.rpartition(":")[2]]) == 1
        finally:
            postgres.start()
    assert "unavailable" in capfd.readouterr().err


def test_health_where_nothing_listens_is_bad(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["health", "--port", str(free_port())]) == 1
    assert "ConnectionRefusedError" in capfd.readouterr().err
