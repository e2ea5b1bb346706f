from __future__ import annotations

from pathlib import Path

import pytest
from edictum_console.errors import SettingsError
from edictum_console.settings import Settings, load_settings

SECRET = "0123456789abcdef0123456789abcdef"
COMPLETE = {
    "EDICTUM_DATABASE_URL": "postgresql+asyncpg://console:hunter2@db/console",
    "EDICTUM_SECRET_KEY": SECRET,
    "EDICTUM_SIGNING_KEY_SECRET": SECRET * 2,
}


def load(tmp_path: Path, **variables: str) -> Settings:
    return load_settings({"EDICTUM_DATA_DIR": str(tmp_path / "data"), **variables})


def problems(tmp_path: Path, **variables: str) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as caught:
        load(tmp_path, **variables)
    assert not (tmp_path / "data").exists()  # nothing is generated for a configuration that is refused
    for value in variables.values():
        assert value == "production" or len(value) < 5 or value not in str(caught.value)
    return caught.value.problems


def test_nothing_configured_makes_secrets_that_stay_and_are_private(tmp_path: Path) -> None:
    first, second = load(tmp_path), load(tmp_path)
    assert first == second
    assert len(first.sealing_key) == 32
    for file in ("secret.key", "sealing.key"):
        assert (tmp_path / "data" / file).stat().st_mode & 0o077 == 0


def test_console_on_another_port_names_it_in_links_unless_an_address_is_given(tmp_path: Path) -> None:
    folder = {"EDICTUM_DATA_DIR": str(tmp_path)}
    assert load_settings(folder, 9000).base_url == "http://localhost:9000"
    given = {**folder, "EDICTUM_BASE_URL": "https://console.example.com"}
    assert load_settings(given, 9000).base_url == "https://console.example.com"


def test_postgres_needs_secrets_that_replicas_share(tmp_path: Path) -> None:
    found = problems(tmp_path, EDICTUM_DATABASE_URL=COMPLETE["EDICTUM_DATABASE_URL"])
    assert [problem.split()[0] for problem in found] == ["EDICTUM_SECRET_KEY", "EDICTUM_SIGNING_KEY_SECRET"]
    settings = load(tmp_path, **COMPLETE)
    assert settings.database_url == "postgresql://console:hunter2@db/console"
    assert settings.secret_key == SECRET.encode()
    assert not (tmp_path / "data").exists()


def test_settings_do_not_show_secrets(tmp_path: Path) -> None:
    text = repr(load(tmp_path, **COMPLETE))
    assert "hunter2" not in text
    assert SECRET not in text


def test_production_refuses_generated_secrets_and_plain_http(tmp_path: Path) -> None:
    found = problems(tmp_path, EDICTUM_ENV_NAME="production")
    assert {problem.split()[0] for problem in found} == {
        "EDICTUM_BASE_URL",
        "EDICTUM_SECRET_KEY",
        "EDICTUM_SIGNING_KEY_SECRET",
    }
    assert load(tmp_path, **COMPLETE, EDICTUM_ENV_NAME="production", EDICTUM_BASE_URL="https://c.example").secure


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("EDICTUM_ADMIN_EMAIL", "ana@example.com"),  # without a password
        ("EDICTUM_AUTO_MIGRATE", "perhaps"),
        ("EDICTUM_BASE_URL", "no.scheme.test"),
        ("EDICTUM_BASE_URL", "https://host.test/path"),
        ("EDICTUM_CORS_ORIGINS", "*"),
        ("EDICTUM_CORS_ORIGINS", "https://app.example.com, https://*.example.com"),
        ("EDICTUM_CORS_ORIGINS", "https://app.example.com/page"),
        ("EDICTUM_CORS_ORIGINS", "no.scheme.test"),
        ("EDICTUM_DATABASE_URL", "mysql://host/console"),
        ("EDICTUM_DATA_DIR", "relative/path"),
        ("EDICTUM_DRAIN_SECONDS", "601"),
        ("EDICTUM_LOG_FORMAT", "xml"),
        ("EDICTUM_LOG_LEVEL", "LOUD"),
        ("EDICTUM_RATE_LIMIT_MAX_ATTEMPTS", "-1"),
        ("EDICTUM_RATE_LIMIT_WINDOW_SECONDS", "1.5"),
        ("EDICTUM_REDIS_URL", "http://cache"),
        ("EDICTUM_SECRET_KEY", "too short a secret"),
        ("EDICTUM_SESSION_TTL_HOURS", "0"),
        ("EDICTUM_SIGNING_KEY_SECRET", "not hexadecimal at all"),
        ("EDICTUM_SIGNING_KEY_SECRET_PREVIOUS", SECRET),
        ("EDICTUM_TRUSTED_PROXIES", "10.0.0.0/8, somewhere"),
        ("EDICTUM_DATABSE_URL", "postgresql://host/console"),
    ],
)
def test_unusable_value_is_refused_with_its_variable_and_a_remedy(tmp_path: Path, variable: str, value: str) -> None:
    assert any("EDICTUM_" in problem and "; " in problem for problem in problems(tmp_path, **{variable: value}))


def test_origins_are_read_as_browsers_write_them(tmp_path: Path) -> None:
    found = load(tmp_path, EDICTUM_CORS_ORIGINS=" https://App.example.com/ , http://localhost:5173")
    assert found.cors_origins == ("https://app.example.com", "http://localhost:5173")


@pytest.mark.parametrize(
    ("form", "production", "expected"),
    [
        ("", False, False),
        ("", True, True),
        ("auto", True, True),
        ("text", True, False),
        ("json", False, True),
    ],
)
def test_log_is_json_where_it_is_asked_for_and_in_production(
    tmp_path: Path, form: str, production: bool, expected: bool
) -> None:
    variables = {**COMPLETE, "EDICTUM_LOG_FORMAT": form}
    if production:
        variables |= {"EDICTUM_ENV_NAME": "production", "EDICTUM_BASE_URL": "https://c.example"}
    assert load(tmp_path, **variables).log_json is expected


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    assert len(problems(tmp_path, EDICTUM_LOG_LEVEL="LOUD", EDICTUM_DRAIN_SECONDS="x", EDICTUM_REDIS_URL="x")) == 3


def test_misspelled_variable_is_told_with_the_right_name(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, EDICTUM_TRUSTED_PROXY="10.0.0.1")
    assert problem == "EDICTUM_TRUSTED_PROXY is not known; did you mean EDICTUM_TRUSTED_PROXIES?"


def test_variable_of_another_part_of_the_family_is_left_alone(tmp_path: Path) -> None:
    assert load(tmp_path, EDICTUM_SCHEMAS_DIR="/somewhere").database_url is None


def test_damaged_generated_secret_is_refused(tmp_path: Path) -> None:
    load(tmp_path)
    (tmp_path / "data" / "sealing.key").write_text("short")
    with pytest.raises(SettingsError, match=r"sealing\.key"):
        load(tmp_path)


def test_what_leaves_without_tls_is_refused_in_production_and_networks_are_named(tmp_path: Path) -> None:
    production = {**COMPLETE, "EDICTUM_ENV_NAME": "production", "EDICTUM_BASE_URL": "https://console.example.com"}
    found = problems(tmp_path, **production, EDICTUM_OUTBOUND_PLAINTEXT="true", EDICTUM_OUTBOUND_NETWORKS="mail.intern")
    assert sorted(problem.split()[0] for problem in found) == [
        "EDICTUM_OUTBOUND_NETWORKS",
        "EDICTUM_OUTBOUND_PLAINTEXT",
    ]
    settings = load(tmp_path, **production, EDICTUM_OUTBOUND_NETWORKS="10.1.0.0/16, fd00::1")
    assert [str(network) for network in settings.outbound_networks] == ["10.1.0.0/16", "fd00::1/128"]
    assert not settings.outbound_plaintext
