"""The only reader of the environment: it becomes one frozen `Settings`, or one error that names every bad variable."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from dotenv import dotenv_values
from marshmallow import EXCLUDE, Schema, ValidationError, validate
from marshmallow.fields import Field, Float, Int, Str

_SOURCES = ("synthetic", "replay", "oanda", "binance")
_POSITIVE = validate.Range(min=0, min_inclusive=False)
_AT_LEAST_ONE = validate.Range(min=1)
_HIGHEST_PORT = 65535
_PORT = validate.Range(min=1, max=_HIGHEST_PORT)


class SettingsError(Exception):
    """The environment does not make valid settings. `problems` maps each variable's name to what is wrong with it."""

    def __init__(self, problems: Mapping[str, str]) -> None:
        self.problems = dict(problems)
        super().__init__("invalid settings:\n" + "\n".join(f"  {name}: {text}" for name, text in problems.items()))


@dataclass(frozen=True, slots=True)
class SourceSpec:
    """One entry of `SOURCES`. `file`, `speed` and `loop` belong to `replay` alone.

    `speed` is how many seconds of the recording pass in one second; None is as fast as the bus takes it.
    """

    kind: str
    file: Path | None = None
    speed: float | None = 1.0
    loop: bool = False

    @property
    def name(self) -> str:
        """What logs, health and the store call this source."""
        return f"{self.kind}:{self.file.name}" if self.file else self.kind


def parse_source(text: str) -> SourceSpec:
    """Read one `SOURCES` entry: `synthetic`, `oanda`, `binance` or `replay:FILE[@SPEED][@loop]`; `ValueError` otherwise."""
    kind, _, rest = text.partition(":")
    if kind not in _SOURCES:
        raise ValueError(f"{text!r} is not one of synthetic, oanda, binance, replay:FILE[@SPEED][@loop]")
    if kind != "replay":
        if rest:
            raise ValueError(f"{kind} takes no argument, got {rest!r}")
        return SourceSpec(kind)
    file, *options = rest.split("@")
    if not file:
        raise ValueError("replay needs a file: replay:FILE[@SPEED][@loop]")
    loop = "loop" in options
    speeds = [option for option in options if option != "loop"]
    if len(speeds) > 1:
        raise ValueError(f"{text!r} gives more than one speed")
    speed = parse_speed(speeds[0]) if speeds else 1.0
    return SourceSpec(kind, Path(file), speed, loop)


def parse_speed(text: str) -> float | None:
    """Read a replay speed: `max` is None, else a number above 0; `ValueError` otherwise."""
    if text == "max":
        return None
    if not re.fullmatch(r"\d+(\.\d+)?", text) or float(text) == 0:
        raise ValueError(f"replay speed {text!r} is neither a number above 0 nor 'max'")
    return float(text)


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything an operator can set; names follow the environment variables. Secrets stay out of `repr`.

    `database_url` and `redis_url` are None where the embedded servers are to be used.
    """

    websocket_host: str
    websocket_port: int
    hub_workers: int
    websocket_max_clients: int
    websocket_ping_interval: int
    websocket_ping_timeout: int
    outbox_limit_bytes: int
    outbox_timeout: float
    cors_origins: tuple[str, ...]
    api_host: str
    api_port: int
    database_url: str | None = field(repr=False)
    db_pool_max: int
    db_timeout_ms: int
    redis_url: str | None = field(repr=False)
    hub_data_dir: Path
    sources: tuple[SourceSpec, ...]
    ingestion_interval_seconds: float
    synthetic_seed: int | None
    oanda_api_token: str | None = field(repr=False)
    oanda_account_id: str | None
    oanda_rest_url: str
    oanda_stream_url: str
    binance_ws_url: str
    binance_rest_url: str
    binance_symbols: tuple[str, ...]
    batch_size: int
    batch_timeout_ms: int
    stream_max_length: int
    max_reconnect_attempts: int
    retention_prices: int
    retention_trades: int
    retention_candles: int
    volatility_threshold: float
    volatility_critical: float
    volatility_thresholds: Mapping[str, tuple[float, float]]
    correlation_change_threshold: float
    log_level: str
    log_format: str
    log_file: Path | None

    @property
    def hub_ports(self) -> range:
        """One port for each hub process that `up` starts."""
        return range(self.websocket_port, self.websocket_port + self.hub_workers)


def mask_url(url: str) -> str:
    """The URL with every password in it replaced by `***`, whether before the `@` or in the query."""
    url = re.sub(r"(//[^/@]*?:)[^/]*@", r"\1***@", url)
    return re.sub(r"(?i)(password=)[^&]*", r"\1***", url)


class _Items(Field[tuple[str, ...]]):
    """A comma list."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> tuple[str, ...]:
        return tuple(item.strip() for item in value.split(",") if item.strip())


class _Sources(_Items):
    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        try:
            return tuple(parse_source(item) for item in super()._deserialize(value, attr, data, **kwargs))
        except ValueError as error:
            raise ValidationError(str(error)) from None


class _Thresholds(_Items):
    """`EUR_USD=0.01/0.02,BTCUSDT=0.05/0.1`: an instrument's own warning and critical threshold."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        found = {}
        for item in super()._deserialize(value, attr, data, **kwargs):
            match = re.fullmatch(r"([A-Za-z0-9_]+)=(\d+(?:\.\d+)?)/(\d+(?:\.\d+)?)", item)
            if match is None:
                raise ValidationError(f"{item!r} is not of the form EUR_USD=0.01/0.02.")
            warning, critical = float(match[2]), float(match[3])
            if not 0 < warning <= critical:
                raise ValidationError(f"{item!r}: needs 0 < warning <= critical.")
            found[match[1]] = (warning, critical)
        return found


class _Url(Str):
    """A URL of the given schemes; the message never shows the value, which may hold a password."""

    def __init__(self, *schemes: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.schemes = schemes

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        if not value.startswith(tuple(f"{scheme}://" for scheme in self.schemes)):
            raise ValidationError("must be a URL starting with " + " or ".join(f"{name}://" for name in self.schemes))
        return str(value)


class _PathText(Field[Path]):
    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Path:
        try:
            return Path(value).expanduser()
        except RuntimeError:
            raise ValidationError("names a user that does not exist.") from None


class _Environment(Schema):
    """Names, kinds and defaults of the variables; keys are the lower-case names."""

    class Meta:
        unknown = EXCLUDE

    websocket_host = Str(load_default="127.0.0.1")
    websocket_port = Int(load_default=5001, validate=_PORT)
    hub_workers = Int(load_default=1, validate=_AT_LEAST_ONE)
    websocket_max_clients = Int(load_default=1000, validate=_AT_LEAST_ONE)
    websocket_ping_interval = Int(load_default=25, validate=_AT_LEAST_ONE)
    websocket_ping_timeout = Int(load_default=5, validate=_AT_LEAST_ONE)
    outbox_limit_bytes = Int(load_default=256 * 1024, validate=validate.Range(min=16 * 1024))
    outbox_timeout = Float(load_default=30.0, validate=_POSITIVE)
    cors_origins = _Items(load_default=())
    api_host = Str(load_default="127.0.0.1")
    api_port = Int(load_default=5000, validate=_PORT)
    database_url = _Url("postgresql", "postgres", load_default=None)
    db_host = Str(load_default=None)
    db_port = Int(load_default=5432, validate=_PORT)
    db_name = Str(load_default="tickwire")
    db_user = Str(load_default="tickwire")
    db_password = Str(load_default="")
    db_pool_max = Int(load_default=20, validate=_AT_LEAST_ONE)
    db_timeout = Int(load_default=5000, validate=_AT_LEAST_ONE)
    redis_url = _Url("redis", "rediss", "unix", load_default=None)
    redis_host = Str(load_default=None)
    redis_port = Int(load_default=6379, validate=_PORT)
    redis_db = Int(load_default=0, validate=validate.Range(min=0))
    redis_password = Str(load_default="")
    hub_data_dir = _PathText(load_default=Path("var"))
    sources = _Sources(load_default=(SourceSpec("synthetic"),))
    ingestion_interval_seconds = Float(load_default=3.0, validate=_POSITIVE)
    synthetic_seed = Int(load_default=None)
    oanda_api_token = Str(load_default=None)
    oanda_account_id = Str(load_default=None)
    oanda_rest_url = _Url("https", "http", load_default="https://api-fxpractice.oanda.com")
    oanda_stream_url = _Url("https", "http", load_default="https://stream-fxpractice.oanda.com")
    binance_ws_url = _Url("wss", "ws", load_default="wss://stream.binance.com:9443")
    binance_rest_url = _Url("https", "http", load_default="https://api.binance.com")
    binance_symbols = _Items(load_default=("BTCUSDT", "ETHUSDT", "SOLUSDT", "BNBUSDT", "ADAUSDT", "XRPUSDT"))
    batch_size = Int(load_default=100, validate=_AT_LEAST_ONE)
    batch_timeout = Int(load_default=1000, validate=_AT_LEAST_ONE)
    stream_max_length = Int(load_default=500_000, validate=validate.Range(min=1000))
    max_reconnect_attempts = Int(load_default=10, validate=_AT_LEAST_ONE)
    retention_prices = Int(load_default=730, validate=validate.Range(min=0))
    retention_trades = Int(load_default=730, validate=validate.Range(min=0))
    retention_candles = Int(load_default=730, validate=validate.Range(min=0))
    volatility_threshold = Float(load_default=0.02, validate=_POSITIVE)
    volatility_critical = Float(load_default=0.04, validate=_POSITIVE)
    volatility_thresholds = _Thresholds(load_default=dict)
    correlation_change_threshold = Float(load_default=0.2, validate=_POSITIVE)
    log_level = Str(load_default="INFO", validate=validate.OneOf(["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]))
    log_format = Str(load_default="json", validate=validate.OneOf(["json", "text"]))
    log_file = _PathText(load_default=None)


def load(environ: Mapping[str, str] | None = None, *, dotenv: Path | None = Path(".env")) -> Settings:
    """Parse `environ` (default: the process environment, over `dotenv` where that file exists) once.

    An empty variable counts as unset, except `SOURCES`, where empty means none.
    Raises `SettingsError` naming every variable that is wrong, all together.
    """
    file = dotenv_values(dotenv) if dotenv is not None and dotenv.is_file() else {}
    merged = {**file, **(os.environ if environ is None else environ)}
    given = {name.lower(): text.strip() for name, text in merged.items() if text and text.strip()}
    if merged.get("SOURCES") == "":
        given["sources"] = ""
    given["log_level"] = given.get("log_level", "INFO").upper()
    problems: dict[str, str] = {}
    values: dict[str, Any] = {}
    try:
        values = _Environment().load(given)
    except ValidationError as error:
        problems = {name.upper(): " ".join(texts) for name, texts in error.messages_dict.items()}
        values = {**_Environment().load({}), **dict(error.valid_data or {})}
    problems = {**_contradictions(values), **problems}
    if problems:
        raise SettingsError(problems)
    return _assemble(values)


def _contradictions(values: dict[str, Any]) -> dict[str, str]:
    """What is wrong with settings that are fine one by one."""
    problems = {}
    if values["volatility_critical"] < values["volatility_threshold"]:
        problems["VOLATILITY_CRITICAL"] = "Must not be below VOLATILITY_THRESHOLD."
    if values["websocket_port"] + values["hub_workers"] - 1 > _HIGHEST_PORT:
        problems["HUB_WORKERS"] = f"Their ports, from WEBSOCKET_PORT on, must not go beyond {_HIGHEST_PORT}."
    if any(spec.kind == "oanda" for spec in values["sources"]):
        for name in ("oanda_api_token", "oanda_account_id"):
            if values[name] is None:
                problems[name.upper()] = "Needed for the source oanda."
    if any(spec.kind == "binance" for spec in values["sources"]) and not values["binance_symbols"]:
        problems["BINANCE_SYMBOLS"] = "Needed for the source binance."
    for spec in values["sources"]:
        if spec.file is not None and not spec.file.is_file():
            problems["SOURCES"] = f"replay file {spec.file} does not exist."
    return problems


def _assemble(values: dict[str, Any]) -> Settings:
    """Fold the DB_* and REDIS_* parts into one URL each and leave the rest as it is."""
    parts = {
        name: values.pop(name)
        for name in list(values)
        if re.match(r"(db_(host|port|name|user|password)|redis_(host|port|db|password))$", name)
    }
    if values["database_url"] is None and parts["db_host"]:
        secret = f":{quote(parts['db_password'], safe='')}" if parts["db_password"] else ""
        user = quote(parts["db_user"], safe="")
        values["database_url"] = (
            f"postgresql://{user}{secret}@{_host(parts['db_host'])}:{parts['db_port']}/{quote(parts['db_name'], safe='')}"
        )
    if values["redis_url"] is None and parts["redis_host"]:
        word = parts["redis_password"]
        secret = f":{quote(word, safe='')}@" if word and word != "None" else ""
        values["redis_url"] = f"redis://{secret}{_host(parts['redis_host'])}:{parts['redis_port']}/{parts['redis_db']}"
    return Settings(db_timeout_ms=values.pop("db_timeout"), batch_timeout_ms=values.pop("batch_timeout"), **values)


def _host(host: str) -> str:
    """A host as a URL has it: IPv6 in brackets, a socket's directory quoted."""
    return f"[{host}]" if ":" in host else quote(host, safe="")
