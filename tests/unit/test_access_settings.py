"""The settings of access control: the mode of each bind host, and texts that name the variable."""

from __future__ import annotations

from pathlib import Path

import pytest

from config.access.modes import is_loopback
from config.settings import Settings, SettingsError, load
from tests.support.compose import compose

SECRET = "s" * 32
JWT = {"JWT_ALGORITHMS": "HS256", "JWT_SECRET": SECRET, "JWT_ISSUER": "https://id.example.com", "JWT_AUDIENCE": "tickwire"}


def settings(service: str | None = None, **environ: str) -> Settings:
    return load(environ, dotenv=None, service=service)


def problems(service: str | None = None, **environ: str) -> dict[str, str]:
    with pytest.raises(SettingsError) as caught:
        settings(service, **environ)
    return caught.value.problems


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("[::1]", True),
        ("localhost", True),
        ("LocalHost", True),
        ("::ffff:127.0.0.1", True),
        ("0.0.0.0", False),  # noqa: S104
        ("::", False),
        ("192.168.1.7", False),
        ("10.0.0.1", False),
        ("localhost.example.com", False),
        ("tickwire", False),
        ("0", False),
    ],
)
def test_loopback_is_decided_by_the_address(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback


OUTSIDE = ("0.0.0.0", "::", "192.168.1.7")  # noqa: S104


def test_auto_is_optional_on_the_loopback_alone() -> None:
    assert settings().auth_mode == "optional"
    assert settings(WEBSOCKET_HOST="::1", API_HOST="localhost").auth_mode == "optional"
    for host in OUTSIDE:
        assert settings(WEBSOCKET_HOST=host).auth_mode == "required"
        assert settings(API_HOST=host).auth_mode == "required"
    assert settings(TRUSTED_PROXIES="127.0.0.1").auth_mode == "required"


def test_required_and_off_hold_on_the_loopback() -> None:
    assert settings(AUTH="required").auth_mode == "required"
    assert settings(AUTH="off").auth_mode == "off"
    assert settings(AUTH="off", TRUSTED_PROXIES="127.0.0.1").auth_mode == "off"


@pytest.mark.parametrize("service", ["up", "hub", "rest"])
def test_off_outside_of_the_loopback_needs_another_setting(service: str) -> None:
    for name in ("WEBSOCKET_HOST", "API_HOST"):
        for host in OUTSIDE:
            assert set(problems(service, AUTH="off", **{name: host})) == {"AUTH"}
            assert settings(service, AUTH="off", AUTH_ALLOW_OPEN="true", **{name: host}).auth_mode == "off"
    assert settings("jobs", AUTH="off", API_HOST="192.168.1.7").auth == "off"  # it opens no port


def test_containers_need_a_key() -> None:
    for name in ("hub", "rest"):
        environ = compose()["services"][name]["environment"]
        found = load(environ, dotenv=None, service=name)
        assert (found.auth_mode, found.rate_storage) == ("required", "redis")
        with pytest.raises(SettingsError) as caught:
            load({**environ, "AUTH": "off"}, dotenv=None, service=name)
        assert set(caught.value.problems) == {"AUTH"}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("AUTH", "on"),
        ("AUTH_ALLOW_OPEN", "yes"),
        ("ANONYMOUS_SCOPES", "read,admin"),
        ("ANONYMOUS_SCOPES", "reed"),
        ("ANONYMOUS_INSTRUMENTS", "eur_*"),
        ("JWT_ALGORITHMS", "none"),
        ("JWT_ALGORITHMS", "HS256,RS256"),
        ("RATE_REQUESTS", "600"),
        ("RATE_CONNECTIONS", "0"),
        ("RATE_STORAGE", "disk"),
        ("RETENTION_ACCESS_LOG", "-1"),
        ("JWT_JWKS_URL", "ftp://id.example.com/keys"),
    ],
)
def test_invalid_value_is_named(name: str, value: str) -> None:
    assert set(problems(**{name: value})) == {name}


def test_scopes_and_patterns_are_lists() -> None:
    found = settings(ANONYMOUS_SCOPES="observe, read", ANONYMOUS_INSTRUMENTS="EUR_*,!EUR_CHF")
    assert (found.anonymous_scopes, found.anonymous_instruments) == (("read", "observe"), ("EUR_*", "!EUR_CHF"))


def test_jwt_needs_one_key_an_issuer_and_an_audience(tmp_path: Path) -> None:
    assert settings(**JWT).jwt_secret == SECRET
    for name in ("JWT_SECRET", "JWT_ISSUER", "JWT_AUDIENCE"):
        assert set(problems(**{**JWT, name: ""})) == {name}
    assert set(problems(**{**JWT, "JWT_SECRET": SECRET[1:]})) == {"JWT_SECRET"}
    assert SECRET[1:] not in str(problems(**{**JWT, "JWT_SECRET": SECRET[1:]}))
    file = tmp_path / "secret"
    file.write_text(SECRET + "\n")
    assert set(problems(**JWT, JWT_SECRET_FILE=str(file))) == {"JWT_SECRET_FILE"}
    from_file = {**JWT, "JWT_SECRET": "", "JWT_SECRET_FILE": str(file)}
    assert settings(**from_file).jwt_secret == SECRET
    assert SECRET in settings(**from_file).secrets
    assert SECRET not in repr(settings(**from_file))
    for bad in (SECRET[1:] + "\n", ""):
        file.write_text(bad)
        assert set(problems(**from_file)) == {"JWT_SECRET_FILE"}
    file.unlink()
    assert set(problems(**from_file)) == {"JWT_SECRET_FILE"}


def test_public_keys_come_from_a_file_or_a_url(tmp_path: Path) -> None:
    public = {**JWT, "JWT_ALGORITHMS": "RS256,EdDSA", "JWT_SECRET": ""}
    assert set(problems(**public)) == {"JWT_JWKS_FILE"}
    file = tmp_path / "keys.json"
    assert set(problems(**public, JWT_JWKS_FILE=str(file))) == {"JWT_JWKS_FILE"}
    file.write_text("{}")
    assert settings(**public, JWT_JWKS_FILE=str(file)).jwt_algorithms == ("RS256", "EdDSA")
    assert set(problems(**public, JWT_JWKS_FILE=str(file), JWT_JWKS_URL="https://id.example.com/k")) == {"JWT_JWKS_URL"}
    assert set(problems(**public, JWT_JWKS_URL="http://id.example.com/k")) == {"JWT_JWKS_URL"}
    for url in ("https://id.example.com/k", "http://127.0.0.1:8000/k", "http://localhost/k"):
        assert settings(**public, JWT_JWKS_URL=url).jwt_jwks_url == url


def test_services_without_tokens_do_not_load_their_settings() -> None:
    broken = {**JWT, "JWT_SECRET": "short"}
    for service in ("jobs", "migrate", "key"):
        assert settings(service, **broken).jwt_secret is None
    for service in ("up", "hub", "rest", "token"):
        assert set(problems(service, **broken)) == {"JWT_SECRET"}
