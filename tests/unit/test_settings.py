"""Settings: all errors at once and by name, no secret in a text, and URLs from parts."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

import pytest
import redis as redis_client
from hypothesis import given
from hypothesis import strategies as st
from psycopg2.extensions import parse_dsn

from config.fields import Rate
from config.process.variables import other_secrets, variables_of
from config.settings import (
    Settings,
    SettingsError,
    SourceSpec,
    load,
    mask_url,
    parse_source,
    parse_speed,
)  # fmt: skip
from config.venues import VENUES, Venue

SECRETS = {
    "DATABASE_URL": "postgresql://hub:s3cret-one@db.example/hub",
    "REDIS_URL": "redis://:s3cret-two@redis.example:6379/0",
    "OANDA_API_TOKEN": "s3cret-three",
}
# The values of a variable: no NUL, and no space at the ends, because `load` strips them.
texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=40).filter(
    lambda text: text == text.strip()
)


def settings(**environ: str) -> Settings:
    return load(environ, dotenv=None)


def problems(**environ: str) -> dict[str, str]:
    with pytest.raises(SettingsError) as caught:
        settings(**environ)
    for name, text in caught.value.problems.items():
        assert f"{name}: {text}" in str(caught.value)
    return caught.value.problems


def test_empty_environment_is_the_contract_s_defaults() -> None:
    chosen = settings()
    assert (chosen.websocket_host, chosen.websocket_port, chosen.websocket_max_clients) == ("127.0.0.1", 5001, 1000)
    assert (chosen.hub_workers, list(chosen.hub_ports)) == (1, [5001])
    assert (chosen.websocket_ping_interval, chosen.websocket_ping_timeout) == (25, 5)
    assert (chosen.api_host, chosen.api_port) == ("127.0.0.1", 5000)
    assert (chosen.database_url, chosen.redis_url, chosen.hub_data_dir) == (None, None, Path("var"))
    assert (chosen.db_pool_max, chosen.db_timeout_ms) == (20, 5000)
    assert (chosen.sources, chosen.ingestion_interval_seconds) == ((SourceSpec("synthetic"),), 3)
    assert (chosen.synthetic_seed, chosen.synthetic_volatility) == (None, 1)
    assert chosen.binance_symbols == ("BTCUSDT", "ETHUSDT", "SOLUSDT", "BNBUSDT", "ADAUSDT", "XRPUSDT")
    assert (chosen.batch_size, chosen.batch_timeout_ms, chosen.max_reconnect_attempts) == (100, 1000, 10)
    assert (chosen.volatility_threshold, chosen.volatility_critical, chosen.correlation_change_threshold) == (0.02, 0.04, 0.2)
    assert (chosen.log_level, chosen.log_format, chosen.log_file) == ("INFO", "json", None)


def test_all_errors_are_raised_at_once_with_their_variables() -> None:
    found = problems(
        WEBSOCKET_PORT="70000",
        API_PORT="http",
        WEBSOCKET_MAX_CLIENTS="0",
        REDIS_URL="http://redis",
        SOURCES="synthetic,nonsense",
        VOLATILITY_THRESHOLD="0.5",
        LOG_LEVEL="loud",
    )
    assert set(found) == {
        "WEBSOCKET_PORT", "API_PORT", "WEBSOCKET_MAX_CLIENTS", "REDIS_URL", "SOURCES",
        "VOLATILITY_CRITICAL",  # not above the threshold, which is valid alone
        "LOG_LEVEL",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("WEBSOCKET_PING_INTERVAL", "0"),
        ("DB_PORT", "-1"),
        ("HUB_WORKERS", "0"),
        ("DB_TIMEOUT", "1.5"),
        ("REDIS_DB", "-1"),
        ("INGESTION_INTERVAL_SECONDS", "0"),
        ("INGESTION_INTERVAL_SECONDS", "nan"),
        ("BATCH_SIZE", "many"),
        ("STREAM_MAX_LENGTH", "999"),
        ("SYNTHETIC_SEED", "x"),
        ("SYNTHETIC_SEED", "-1"),
        ("SYNTHETIC_VOLATILITY", "20.5"),
        ("SYNTHETIC_VOLATILITY", "-0.1"),
        ("SYNTHETIC_VOLATILITY", "nan"),
        ("SOURCE_MAX_AHEAD_SECONDS", "0"),
        ("SOURCE_MAX_AHEAD_SECONDS", "3601"),
        ("API_PORT", "+5000"),
        ("BATCH_SIZE", "1_000"),
        ("DB_POOL_MAX", "2 0"),
        ("REDIS_PORT", "٦٣٧٩"),
        ("RETENTION_TRADES", "1" * 10),
        ("OANDA_REST_URL", "api.example"),
        ("BINANCE_WS_URL", "https://example"),
        ("CORRELATION_CHANGE_THRESHOLD", "-0.1"),
        ("LOG_FORMAT", "xml"),
        ("DATABASE_DIRECT_URL", "mysql://db/x"),
        ("DATABASE_POOLER", "statement"),
        ("PERFORMANCE_LOG_SECONDS", "86401"),
    ],
)
def test_invalid_value_is_named(name: str, value: str) -> None:
    assert set(problems(**{name: value})) == {name}


def test_hub_and_rest_alone_use_the_pooler() -> None:
    pooled, direct = "postgresql://pooler:6432/x", "postgresql://db/x"
    chosen = settings(DATABASE_URL=pooled, DATABASE_DIRECT_URL=direct, DATABASE_POOLER="transaction")
    assert {name: chosen.database_of(name) for name in ("hub", "rest", "jobs", "books", "observer", "migrate")} == {
        **dict.fromkeys(("hub", "rest"), (pooled, "DATABASE_URL")),
        **dict.fromkeys(("jobs", "books", "observer", "migrate"), (direct, "DATABASE_DIRECT_URL")),
    }
    assert settings(DATABASE_URL=pooled).database_of("jobs") == (pooled, "DATABASE_URL")
    assert settings(DB_HOST="db").database_of("jobs") == ("postgresql://tickwire@db:5432/tickwire", "DB_*")
    assert settings().database_of("jobs")[0] is None


def test_pooler_in_transaction_mode_needs_the_direct_address() -> None:
    environ = {"DATABASE_URL": "postgresql://pooler/x", "DATABASE_POOLER": "transaction"}
    for service in (None, "up", "jobs", "migrate"):
        with pytest.raises(SettingsError) as caught:
            load(environ, dotenv=None, service=service)
        assert set(caught.value.problems) == {"DATABASE_DIRECT_URL"}
    for service in ("hub", "rest"):
        assert load(environ, dotenv=None, service=service).database_pooler == "transaction"
    assert settings(**{**environ, "DATABASE_POOLER": "session"}).database_direct_url == environ["DATABASE_URL"]


@pytest.mark.parametrize(("name", "value"), [("DATABASE_DIRECT_URL", "postgresql://db/x"), ("DATABASE_POOLER", "session")])
def test_settings_of_a_database_need_a_server_of_the_operator(name: str, value: str) -> None:
    assert set(problems(**{name: value})) == {name}


def test_hub_processes_have_consecutive_ports() -> None:
    assert list(settings(WEBSOCKET_PORT="65533", HUB_WORKERS="3").hub_ports) == [65533, 65534, 65535]
    assert set(problems(WEBSOCKET_PORT="65534", HUB_WORKERS="3")) == {"HUB_WORKERS"}


def test_secret_is_in_no_text_of_the_settings() -> None:
    chosen = settings(**SECRETS)
    assert chosen.database_url == SECRETS["DATABASE_URL"]
    for shown in (repr(chosen), str(chosen), mask_url(str(chosen.database_url)), mask_url(str(chosen.redis_url))):
        assert "s3cret" not in shown
    assert mask_url(str(chosen.redis_url)) == "redis://:***@redis.example:6379/0"
    assert mask_url("unix://tickwire:s3cret@/var/redis.sock?db=0") == "unix://tickwire:***@/var/redis.sock?db=0"
    assert mask_url("postgresql://hub@db/x?password=s3cret&a=1") == "postgresql://hub@db/x?password=***&a=1"


def test_secret_is_in_no_error() -> None:
    bad = {name: value.replace("://", ":/") for name, value in SECRETS.items()} | {"DB_PASSWORD": "s3cret-four", "DB_PORT": "x"}
    with pytest.raises(SettingsError) as caught:
        settings(**bad)
    assert set(caught.value.problems) == {"DATABASE_URL", "REDIS_URL", "DB_PORT"}
    assert "s3cret" not in str(caught.value) + repr(caught.value)
    assert caught.value.__context__ is None  # a traceback shows the context too


@given(password=texts)
def test_masked_url_has_no_password(password: str) -> None:
    url = settings(DB_HOST="db", DB_USER="hub", DB_PASSWORD=password).database_url
    assert url is not None
    assert mask_url(url) == "postgresql://hub:***@db:5432/tickwire"


@given(user=texts, password=texts, name=texts)
def test_database_url_accepts_any_text_as_a_part(user: str, password: str, name: str) -> None:
    """libpq itself parses the URL."""
    url = settings(DB_HOST="db.example", DB_PORT="6543", DB_USER=user, DB_PASSWORD=password, DB_NAME=name).database_url
    assert url is not None
    assert parse_dsn(url) == {"host": "db.example", "port": "6543", "user": user, "password": password, "dbname": name}


@given(password=texts.filter(lambda text: text != "None"))
def test_redis_url_accepts_any_text_as_password(password: str) -> None:
    url = settings(REDIS_HOST="redis.example", REDIS_PORT="6380", REDIS_DB="3", REDIS_PASSWORD=password).redis_url
    assert url is not None
    options = redis_client.Redis.from_url(url).connection_pool.connection_kwargs
    assert (options["host"], options["port"], options["db"], options["password"]) == ("redis.example", 6380, 3, password)


@pytest.mark.parametrize("password", ["None", "", "  ", None])
def test_empty_redis_password_is_none(password: str | None) -> None:
    environ = {"REDIS_HOST": "redis"} | ({} if password is None else {"REDIS_PASSWORD": password})
    assert settings(**environ).redis_url == "redis://redis:6379/0"


def test_database_url_without_a_password_has_none() -> None:
    url = settings(DB_HOST="db").database_url
    assert url == "postgresql://tickwire@db:5432/tickwire"
    assert urlsplit(url).password is None


def test_url_overrides_its_parts() -> None:
    chosen = settings(**SECRETS, DB_HOST="elsewhere", DB_PASSWORD="x", REDIS_HOST="elsewhere")
    assert (chosen.database_url, chosen.redis_url) == (SECRETS["DATABASE_URL"], SECRETS["REDIS_URL"])


def test_parts_without_a_host_mean_the_embedded_servers() -> None:
    chosen = settings(DB_PORT="1", DB_NAME="x", DB_USER="x", DB_PASSWORD="x", REDIS_PORT="1", REDIS_DB="1", REDIS_PASSWORD="x")
    assert (chosen.database_url, chosen.redis_url) == (None, None)


def test_quoted_password_is_unquoted_by_a_url_parser() -> None:
    url = settings(DB_HOST="db", DB_PASSWORD="a:b/c@d%e?f#g h").database_url
    assert unquote(urlsplit(url or "").password or "") == "a:b/c@d%e?f#g h"


def test_empty_sources_are_none_and_missing_ones_the_default() -> None:
    assert settings(SOURCES="").sources == ()
    assert settings().sources == (SourceSpec("synthetic"),)
    assert settings(SOURCES="synthetic, synthetic ,").sources == (SourceSpec("synthetic"), SourceSpec("synthetic"))


def test_missing_replay_file_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "EUR_USD.csv"
    assert set(problems(SOURCES=f"replay:{file}")) == {"SOURCES"}
    file.touch()
    assert settings(SOURCES=f"synthetic,replay:{file}@60@loop").sources[1] == SourceSpec("replay", file, 60.0, loop=True)


names = st.text("abcXYZ_./-0123456789", min_size=1).filter(lambda name: name.strip())


@given(name=names, speed=st.none() | st.just("max") | st.integers(1, 10**6) | st.decimals("0.01", "1000", places=2), loop=st.booleans())
def test_replay_source_is_read_back_from_its_text(name: str, speed: object, loop: bool) -> None:
    options = ([] if speed is None else [f"@{speed}"]) + (["@loop"] if loop else [])
    expected = 1.0 if speed is None else None if speed == "max" else float(str(speed))
    for order in (options, options[::-1]):
        assert parse_source(f"replay:{name}" + "".join(order)) == SourceSpec("replay", Path(name), expected, loop)


@given(st.text())
def test_other_source_is_a_value_error(text: str) -> None:
    try:
        spec = parse_source(text)
    except ValueError:
        return
    assert text == "synthetic" or text.startswith("replay:")
    assert spec.kind in ("synthetic", "replay")


@pytest.mark.parametrize(
    "text",
    [
        "", "nonsense", "synthetic:x", "replay", "replay:", "replay:@60", "replay:f@fast", "replay:f@0", "replay:f@-1", "replay:f@1@2",
        "replay:f@", "replay:f@inf", "replay:f@nan", "replay:f@1e3",
    ],
)  # fmt: skip
def test_malformed_source_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse_source(text)


def test_oanda_without_its_account_is_refused() -> None:
    assert set(problems(SOURCES="oanda")) == {"OANDA_API_TOKEN", "OANDA_ACCOUNT_ID"}
    secret = "0123456789-abcdef"
    chosen = load({"SOURCES": "oanda,binance", "OANDA_API_TOKEN": secret, "OANDA_ACCOUNT_ID": "101-004-1-001"}, dotenv=None)
    assert [spec.kind for spec in chosen.sources] == ["oanda", "binance"]
    assert secret not in repr(chosen)


@pytest.mark.parametrize("service", ["hub", "rest", "migrate", "status", "replay"])
def test_credentials_of_a_source_are_needed_by_its_service_alone(service: str) -> None:
    chosen = load({"SOURCES": "oanda", "OANDA_API_TOKEN": "s3cret", "OANDA_ACCOUNT_ID": "s3cret"}, dotenv=None, service=service)
    assert (chosen.oanda_api_token, chosen.oanda_account_id, chosen.secrets) == (None, None, ())
    for runs in ("jobs", "up", "job"):
        with pytest.raises(SettingsError, match="OANDA_API_TOKEN"):
            load({"SOURCES": "oanda"}, dotenv=None, service=runs)


def test_service_ignores_the_variables_of_others_in_dotenv_too(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("OANDA_API_TOKEN=s3cret\nOANDA_REST_URL=not-a-url\nAPI_PORT=6000\n")
    assert load({}, dotenv=file, service="hub").api_port == 6000
    with pytest.raises(SettingsError, match="OANDA_REST_URL"):
        load({}, dotenv=file, service="jobs")


def test_variables_of_a_service_are_all_but_those_of_others() -> None:
    environ = {"OANDA_API_TOKEN": "a", "oanda_account_id": "b", "JWT_SECRET": "c", "PATH": "d"}
    assert variables_of("jobs", environ).keys() == environ.keys() - {"JWT_SECRET"}
    assert variables_of("hub", environ).keys() == variables_of("rest", environ).keys() == {"JWT_SECRET", "PATH"}
    assert variables_of("up", environ) == variables_of(None, environ) == environ
    assert variables_of("migrate", environ).keys() == {"PATH"}


def test_speed_is_a_number_or_max() -> None:
    assert [parse_speed(text) for text in ("1", "60", "0.5", "max")] == [1.0, 60.0, 0.5, None]


def test_environment_overrides_dotenv(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("API_PORT=6000\nWEBSOCKET_PORT=6001\nSOURCES=\nLOG_LEVEL=debug\n")
    chosen = load({"API_PORT": "7000"}, dotenv=file)
    assert (chosen.api_port, chosen.websocket_port, chosen.sources, chosen.log_level) == (7000, 6001, (), "DEBUG")
    assert load({"SOURCES": "synthetic", "WEBSOCKET_PORT": ""}, dotenv=file).sources == (SourceSpec("synthetic"),)
    assert load({"WEBSOCKET_PORT": ""}, dotenv=file).websocket_port == 5001  # an empty variable is an unset one
    assert load({}, dotenv=tmp_path / "absent").api_port == 5000


def test_list_ignores_spaces_and_trailing_commas() -> None:
    assert settings(CORS_ORIGINS=" https://a.example, https://b.example ,").cors_origins == ("https://a.example", "https://b.example")
    assert settings(CORS_ORIGINS="").cors_origins == ()


def test_settings_are_immutable() -> None:
    chosen = settings()
    with pytest.raises(FrozenInstanceError):
        chosen.api_port = 1  # type: ignore[misc]


def test_host_may_be_ipv6_or_a_directory() -> None:
    chosen = settings(DB_HOST="::1", REDIS_HOST="::1")
    assert (chosen.database_url, chosen.redis_url) == ("postgresql://tickwire@[::1]:5432/tickwire", "redis://[::1]:6379/0")
    assert settings(DB_HOST="/run/pg").database_url == "postgresql://tickwire@%2Frun%2Fpg:5432/tickwire"


FORMS = "synthetic, oanda, binance, replay:FILE[@SPEED][@loop], scenario"


def test_venue_of_the_table_is_a_source_with_its_required_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "SOURCES" in problems(SOURCES="exchange")
    monkeypatch.setitem(VENUES, "exchange", Venue("exchange", "live", required=("oanda_api_token",)))
    assert settings(SOURCES="exchange", OANDA_API_TOKEN="x").sources == (SourceSpec("exchange"),)
    assert problems(SOURCES="exchange") == {"OANDA_API_TOKEN": "Needed for the source exchange."}
    assert problems(SOURCES="other")["SOURCES"] == f"'other' is not one of {FORMS}, exchange"


def test_error_of_an_unknown_source_names_every_venue() -> None:
    assert problems(SOURCES="nonsense")["SOURCES"] == f"'nonsense' is not one of {FORMS}"


def test_secrets_are_the_values_that_no_response_may_contain() -> None:
    chosen = settings(**SECRETS, OANDA_ACCOUNT_ID="101-004-1-001", DB_PASSWORD="part")
    assert set(chosen.secrets) == {*SECRETS.values(), "101-004-1-001"}
    assert settings().secrets == ()


def test_rates_and_networks_are_parsed() -> None:
    chosen = settings(RATE_EVENTS="600/m", TRUSTED_PROXIES="127.0.0.1, 10.0.0.0/8,::1")
    assert (chosen.rate_events, chosen.rate_events.per_second, str(chosen.rate_events)) == (Rate(600, 60), 10.0, "600/m")
    assert chosen.trusted_proxies == ("127.0.0.1/32", "10.0.0.0/8", "::1/128")
    assert set(problems(RATE_EVENTS="50", TRUSTED_PROXIES="10.0.0.1/8")) == {"RATE_EVENTS", "TRUSTED_PROXIES"}


@pytest.mark.parametrize("mark", ["/", "#", "?", "@", "%", "/#?@%", "[", "\u2100", "\n", " "])
@pytest.mark.parametrize("name", ["DATABASE_URL", "REDIS_URL"])
def test_error_of_a_url_names_the_variable_alone(name: str, mark: str) -> None:
    scheme = name.partition("_")[0].lower().replace("database", "postgresql")
    for password in ("SECRET{}QUIET", "1234{}QUIET", "{}QUIET", "SECRET{}"):
        secret = password.format(mark)
        found = problems(**{name: f"{scheme}://user:{secret}@host.example:6000/0", "API_PORT": "x"})
        assert set(found) == {name, "API_PORT"}, password
        for start in range(len(secret) - 3):
            assert secret[start : start + 4] not in str(found), password
        assert "host.example" not in str(found), password


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:p@h:x/d", "postgresql://u:p@h:0/d", "postgresql://u:p@h:70000/d", "postgresql://u:p@[::1/d",
        "redis://h:1:2/0", "redis://:12/34@h", "redis://:1?b@h", "redis://u:p@h:6379:1/0", "unix://u:a/b@/run/x",
    ],
)  # fmt: skip
def test_url_that_clients_read_in_different_ways_is_refused(url: str) -> None:
    name = "DATABASE_URL" if url.startswith("postgresql") else "REDIS_URL"
    assert set(problems(**{name: url})) == {name}


@given(user=texts, password=texts)
def test_url_with_percent_encoded_parts_is_accepted(user: str, password: str) -> None:
    parts = f"{quote(user, safe='')}:{quote(password, safe='')}"
    urls = f"postgresql://{parts}@[::1]:5432/x?user=a@b", f"unix://{parts}@/run/redis.sock?db=0"
    chosen = settings(DATABASE_URL=urls[0], REDIS_URL=urls[1])
    assert (chosen.database_url, chosen.redis_url) == urls
    for url in urls:
        read = urlsplit(url)
        assert (unquote(read.username or ""), unquote(read.password or "")) == (user, password)


def test_secrets_of_other_variables_are_found_for_the_logs() -> None:
    environ = {"JWT_SECRET": " jot ", "DB_PASSWORD": "door", "OANDA_API_TOKEN": "tok", "API_PORT": "1"}
    assert set(other_secrets(environ, dotenv=None)) == {"jot", "door", "tok"}
