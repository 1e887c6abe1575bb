"""Settings: one table of all variables.

`load` parses the environment once. The result is one frozen `Settings`, or one error that names
every invalid variable.
"""

# ruff: noqa: RUF009  # every row of the table is a call

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from marshmallow import EXCLUDE, Schema, ValidationError, validate
from marshmallow.fields import Field, Float, Str

from config.access.checks import problems_of, read_secret
from config.access.fields import SYMMETRIC, Flag, InstrumentPatterns, JwtAlgorithms, ScopeNames
from config.access.modes import AUTH_VALUES, AUTO, AuthMode, mode_of
from config.access.patterns import EVERY
from config.access.scopes import SCOPES
from config.books import checks as book_checks
from config.books.fields import AUDITS, DELAY_MS_RANGE, HEARTBEAT_RANGE, MARKET_NAMES, QUEUE_RANGE, BookSymbols
from config.books.markets import defaults_of
from config.bus import checks as bus_checks
from config.fields import Items, Networks, Origins, PathText, PublicUrl, Rate, RateText, Seeds, Sources, Thresholds, Url, WholeNumber
from config.observability.fields import AlertLimits, AlertLimitsText, Currency, CurrencyParity, Zone, limits_of
from config.process.fanout_loop import AUTO as AUTO_LOOP
from config.process.fanout_loop import FANOUT_LOOPS
from config.process.variables import read_variables, variables_of
from config.secrets import mask_url as mask_url
from config.urls import database_url_of, redis_url_of
from config.venues import VENUES
from config.venues import SourceSpec as SourceSpec
from config.venues import parse_source as parse_source
from config.venues import parse_speed as parse_speed

_MAX_PORT = 65535
SINGLE_PROCESSES = ("jobs", "observer", "books")  # of `up`, besides hubs and REST; each listens on METRICS_PORT
_PORT = validate.Range(min=1, max=_MAX_PORT)
_POSITIVE = validate.Range(min=0, min_inclusive=False)
_LEVELS = {"WARN": "WARNING"}  # accepted word -> level
_AT_LEAST_ONE = validate.Range(min=1)
_ZERO_OR_ONE = validate.OneOf([0, 1])
_NOT_NEGATIVE = validate.Range(min=0)
_DRAIN = validate.Range(0, 3600)
_DRAIN_DEFAULTS = {"hub_drain_delay": 5.0, "hub_drain_seconds": 10.0}  # under `up` both are 0: Ctrl-C is quick
_ENDING_SECONDS = 10  # of a hub after the drain
# Processes and commands that need the credentials of each source in SOURCES.
_RUN_SOURCES = (None, "up", "jobs", "job")
_POOLED = ("hub", "rest")  # processes that may use a pooler in transaction mode
_OTHER_CONNECTIONS = 10  # of checks, commands and elections


class SettingsError(Exception):
    """The environment does not make valid settings.

    `problems` maps the name of each variable to its problem.
    """

    def __init__(self, problems: Mapping[str, str]) -> None:
        self.problems = dict(problems)
        super().__init__("invalid settings:\n" + "\n".join(f"  {name}: {text}" for name, text in problems.items()))


def _var(kind: Field[Any], *, name: str = "", secret: bool = False, part: bool = False) -> Any:
    """Declare one variable: `kind` has its type, default and validation.

    `name` is the lower-case name of the variable, if it differs from the attribute. A `secret`
    stays out of `repr` and of answers. A `part` is an ingredient of `database_url` or `redis_url`.
    """
    return field(repr=not (secret or part), metadata={"kind": kind, "name": name, "secret": secret})


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that an operator can set, one row per variable.

    `scripts/env_example.py` prints `.env.example` from it. That file takes over the order,
    the comments and the blank lines between the rows. `database_url`, `database_direct_url` and
    `redis_url` are None if the embedded servers are used; use them, and not their parts.
    """

    # Every setting, with its default. Copy this file to .env and change the lines you need; the
    # environment wins over .env. Empty means unset, which is the default everywhere, except for
    # SOURCES: an empty SOURCES means no source. A value with # or $ or a space in it needs 'single
    # quotes'.

    # The hub (Socket.IO). 0.0.0.0 listens on every address of the machine, and clients need a key.
    websocket_host: str = _var(Str(load_default="127.0.0.1"))
    websocket_port: int = _var(WholeNumber(load_default=5001, validate=_PORT))
    # Number of hub processes that `manage.py up` starts, on WEBSOCKET_PORT and the ports after it;
    # docs/deployment.md describes the proxy in front of them.
    hub_workers: int = _var(WholeNumber(load_default=1, validate=_AT_LEAST_ONE))
    # Of each hub process; one more client is refused with server_full.
    websocket_max_clients: int = _var(WholeNumber(load_default=1000, validate=_AT_LEAST_ONE))
    # Seconds.
    websocket_ping_interval: int = _var(WholeNumber(load_default=25, validate=_AT_LEAST_ONE))
    websocket_ping_timeout: int = _var(WholeNumber(load_default=5, validate=_AT_LEAST_ONE))
    # Bytes that may wait for a slow client, unsent ones in the kernel included, and seconds for
    # which its socket may accept nothing, before it is disconnected. Prices conflate to the latest
    # per instrument before that.
    outbox_limit_bytes: int = _var(WholeNumber(load_default=256 * 1024, validate=validate.Range(min=16 * 1024)))
    outbox_timeout: float = _var(Float(load_default=30.0, validate=_POSITIVE))
    # The loop that sends a broadcast: auto (in C if the extension is installed), python or c.
    fanout_loop: str = _var(Str(load_default=AUTO_LOOP, validate=validate.OneOf(FANOUT_LOOPS)))
    # Milliseconds in which broadcasts are collected, to go out together; 0: what is ready together
    # goes out at once. More than 20 exceeds a latency budget of 50 ms.
    flush_interval_ms: int = _var(WholeNumber(load_default=0, validate=validate.Range(max=1000)))
    # Bytes of missed prices that may wait for one returning client, besides OUTBOX_LIMIT_BYTES;
    # above it `recovered` is false.
    replay_limit_bytes: int = _var(WholeNumber(load_default=1024 * 1024, validate=_NOT_NEGATIVE))
    # Plain WebSockets: connections of each hub process on /ws/metrics, and as many on /ws, and
    # seconds between two Pings. A connection without any frame for twice this time is closed.
    ws_max_connections: int = _var(WholeNumber(load_default=1000, validate=_AT_LEAST_ONE))
    ws_heartbeat_interval: int = _var(WholeNumber(load_default=15, validate=_AT_LEAST_ONE))
    # A hub that stops refuses new clients at once, waits HUB_DRAIN_DELAY seconds for the proxies,
    # then closes its clients in slices over HUB_DRAIN_SECONDS. Unset: 5 and 10, and 0 for both
    # under `manage.py up`.
    hub_drain_delay: float = _var(Float(load_default=None, validate=_DRAIN))
    hub_drain_seconds: float = _var(Float(load_default=None, validate=_DRAIN))
    # Address of the hub as clients reach it, with its path: https://hub.example.com. Unset: a page
    # at API_PORT uses WEBSOCKET_PORT of its own host, every other page its own address.
    hub_public_url: str | None = _var(PublicUrl("https", "http", load_default=None))
    # Web pages that may use the hub and REST besides those of this machine and of the requested
    # host: a comma list of origins (https://example.com), or * for all.
    cors_origins: tuple[str, ...] = _var(Origins(load_default=()))
    # Names that a request may have in its Host header, besides those of this machine and the bind
    # host, for the hub and REST: a comma list without ports.
    allowed_hosts: tuple[str, ...] = _var(Items(load_default=()))
    # Addresses or networks of the proxies in front, a comma list. Of their requests the last
    # address in X-Forwarded-For is the client's.
    trusted_proxies: tuple[str, ...] = _var(Networks(load_default=()))

    # REST
    api_host: str = _var(Str(load_default="127.0.0.1"))
    api_port: int = _var(WholeNumber(load_default=5000, validate=_PORT))
    # Number of REST processes.
    api_workers: int = _var(WholeNumber(load_default=1, validate=_AT_LEAST_ONE))

    # Access control of the hub and REST: auto, required or off. With auto, callers need a key or a
    # JWT if a host is not loopback, or TRUSTED_PROXIES is set. `manage.py key create` makes a key.
    auth: str = _var(Str(load_default=AUTO, validate=validate.OneOf(AUTH_VALUES)))
    # true permits AUTH=off on a host that is not loopback.
    auth_allow_open: bool = _var(Flag(load_default=False))
    # Scopes and instruments of callers without a credential, if they may connect: * stands for any
    # run of characters, !BTCUSDT denies an instrument.
    anonymous_scopes: tuple[str, ...] = _var(ScopeNames(load_default=SCOPES))
    anonymous_instruments: tuple[str, ...] = _var(InstrumentPatterns(load_default=(EVERY,)))
    # Seconds after which a session is closed that has joined no namespace.
    auth_join_seconds: float = _var(Float(load_default=10.0, validate=_POSITIVE))

    # JSON Web Tokens of an identity service. JWT_ALGORITHMS is HS256, or a comma list of RS256,
    # ES256 and EdDSA; empty means that no token is accepted. HS256 needs the secret or a file with
    # it (at least 32 bytes), the others a file or a URL of public keys (JWKS).
    jwt_algorithms: tuple[str, ...] = _var(JwtAlgorithms(load_default=()))
    jwt_secret: str | None = _var(Str(load_default=None), secret=True)
    jwt_secret_file: Path | None = _var(PathText(load_default=None))
    jwt_jwks_file: Path | None = _var(PathText(load_default=None))
    jwt_jwks_url: str | None = _var(Url("https", "http", load_default=None))
    # Both are needed with JWT_ALGORITHMS, and compared exactly.
    jwt_issuer: str | None = _var(Str(load_default=None))
    jwt_audience: str | None = _var(Str(load_default=None))
    # Seconds by which clocks may differ; the longest life of a token; the claim with the rights.
    jwt_leeway_seconds: int = _var(WholeNumber(load_default=30, validate=_NOT_NEGATIVE))
    jwt_max_ttl_seconds: int = _var(WholeNumber(load_default=86_400, validate=_AT_LEAST_ONE))
    jwt_claim: str = _var(Str(load_default="tickwire"))

    # Limits. Callers on this machine without a credential are exempt while TRUSTED_PROXIES is
    # empty, except from RATE_EVENTS.
    # Requests of one key to REST, or of one address without a key.
    rate_requests: Rate = _var(RateText(load_default=Rate(600, 60)))
    # Packets that a client may send to the hub, and all clients of a key together: the rate, and
    # four times its count at once.
    rate_events: Rate = _var(RateText(load_default=Rate(50, 1)))
    # Connections to the hub of one key, or of one address without a key.
    rate_connections: int = _var(WholeNumber(load_default=20, validate=_AT_LEAST_ONE))
    # Connections to the hub of one address, with or without keys.
    rate_connections_per_ip: int = _var(WholeNumber(load_default=100, validate=_AT_LEAST_ONE))
    # memory: each REST process counts its requests. redis: all REST processes count together.
    rate_storage: str = _var(Str(load_default="memory", validate=validate.OneOf(["memory", "redis"])))

    # PostgreSQL. With neither DATABASE_URL nor DB_HOST an embedded one is started; DATABASE_URL
    # wins over the parts. In user names and passwords of URLs write / # ? @ % as %2F %23 %3F %40
    # %25. docker-compose.yml needs DB_PASSWORD.
    database_url: str | None = _var(Url("postgresql", "postgres", load_default=None), secret=True)
    db_host: str | None = _var(Str(load_default=None), part=True)
    db_port: int = _var(WholeNumber(load_default=5432, validate=_PORT), part=True)
    db_name: str = _var(Str(load_default="tickwire"), part=True)
    db_user: str = _var(Str(load_default="tickwire"), part=True)
    db_password: str = _var(Str(load_default=""), part=True)
    # Address of PostgreSQL without a pooler, for every process and command except the hub and REST:
    # elections, migrations and backups need it. By default that of DATABASE_URL.
    database_direct_url: str | None = _var(Url("postgresql", "postgres", load_default=None), secret=True)
    # Pooler at the address of DATABASE_URL: none, session or transaction. Only the hub and REST may
    # use transaction, which needs DATABASE_DIRECT_URL.
    database_pooler: str = _var(Str(load_default="none", validate=validate.OneOf(["none", "session", "transaction"])))
    # Read replicas for the requests of REST that change nothing; several hosts as libpq takes them:
    # postgresql://USER@r1,r2/DB?target_session_attrs=prefer-standby&load_balance_hosts=random
    database_read_url: str | None = _var(Url("postgresql", "postgres", load_default=None), secret=True)
    # Seconds, at least 1, that a replica may be behind. Above them REST uses DATABASE_URL, until
    # the replica is less than 1 s behind.
    read_max_lag_seconds: float = _var(Float(load_default=2.0, validate=validate.Range(min=1, max=3600)))
    # Connections per process, and milliseconds for a statement or for the wait for a free
    # connection.
    db_pool_max: int = _var(WholeNumber(load_default=20, validate=_AT_LEAST_ONE))
    db_timeout_ms: int = _var(WholeNumber(load_default=5000, validate=_AT_LEAST_ONE), name="db_timeout")

    # Redis. With neither REDIS_URL nor REDIS_HOST an embedded one is started; REDIS_URL wins over
    # the parts. It is one URL, or a comma list of nodes of a cluster or of sentinels. rediss:// is
    # TLS. docker-compose.yml needs REDIS_PASSWORD.
    redis_url: str | None = _var(Seeds("redis", "rediss", "unix", load_default=None), secret=True)
    redis_host: str | None = _var(Str(load_default=None), part=True)
    redis_port: int = _var(WholeNumber(load_default=6379, validate=_PORT), part=True)
    redis_db: int = _var(WholeNumber(load_default=0, validate=_NOT_NEGATIVE), part=True)
    redis_password: str = _var(Str(load_default=""), part=True)
    # single, cluster (Redis Cluster) or sentinel
    redis_mode: str = _var(Str(load_default="single", validate=validate.OneOf(bus_checks.MODES)))
    # Name of the master at the sentinels
    redis_sentinel_master: str = _var(Str(load_default="tickwire", validate=validate.Length(min=1)))
    # 1 if the server of REDIS_MODE=single may change to a replica, as managed ones with replicas do
    redis_failover: int = _var(WholeNumber(load_default=0, validate=_ZERO_OR_ONE))
    # Files for rediss://: the authority that signed the certificates of the servers, by default
    # those of the system; the certificate of this client and its key, if the servers need one.
    redis_tls_ca: Path | None = _var(PathText(load_default=None))
    redis_tls_cert: Path | None = _var(PathText(load_default=None))
    redis_tls_key: Path | None = _var(PathText(load_default=None))
    # Shards of the bus: 1, 2, 4, 8, 16, 32 or 64, by default 1, and 16 in a cluster. It is the same
    # in all processes; manage.py bus reshard changes it.
    bus_shards: int = _var(WholeNumber(load_default=None, validate=validate.OneOf(bus_checks.SHARDS)))
    # Replicas that confirm each batch, by default 1 with failover, else 0; milliseconds for that; 1
    # to accept nothing while no replica is connected.
    bus_wait_replicas: int = _var(WholeNumber(load_default=None))
    bus_wait_ms: int = _var(WholeNumber(load_default=200, validate=validate.Range(min=1, max=4000)))
    bus_wait_strict: int = _var(WholeNumber(load_default=0, validate=_ZERO_OR_ONE))
    # Channels of prices and candles in a cluster: sharded, classic, or both, which publishes twice
    # for foreign subscribers.
    bus_channels: str = _var(Str(load_default=None, validate=validate.OneOf(bus_checks.CHANNELS)))
    # Prices that may wait in each shard of the bus for PostgreSQL; at that number sources wait.
    stream_max_length: int = _var(WholeNumber(load_default=500_000, validate=validate.Range(min=1000)))

    # Data of the embedded servers, their logs, run.json
    hub_data_dir: Path = _var(PathText(load_default=Path("var")))

    # Sources: a comma list of synthetic, oanda, binance and replay:FILE[@SPEED][@loop] for prices,
    # and scenario for simulated order books. SPEED is 1 (the recorded pace), 60 (sixty times
    # faster) or max (as fast as the bus accepts). FILE may have raw lines of Binance.
    sources: tuple[SourceSpec, ...] = _var(Sources(load_default=(SourceSpec("synthetic"),)))
    # Seconds between two prices of the synthetic source, and the seed that makes its series the
    # same every time.
    ingestion_interval_seconds: float = _var(Float(load_default=3.0, validate=_POSITIVE))
    synthetic_seed: int | None = _var(WholeNumber(load_default=None))
    # multiplies every volatility of the synthetic source, from 0 to 20; 1 is that of real markets
    synthetic_volatility: float = _var(Float(load_default=1.0, validate=validate.Range(min=0, max=20)))
    # Attempts before a source is reported down; retries continue, at the longest delay.
    max_reconnect_attempts: int = _var(WholeNumber(load_default=10, validate=_AT_LEAST_ONE))
    # how far the time of a live record may be ahead of this machine's clock, in seconds
    source_max_ahead_seconds: int = _var(WholeNumber(load_default=300, validate=validate.Range(min=1, max=3600)))

    # Jobs processes share the duties: sources, writers, gap fillers and others. Seconds between two
    # looks of a process at all duties, from 0.2 to 10; the duties that it may take, a comma list of
    # globs such as source:* (empty: all); and the number of parts of the source binance.
    jobs_poll_seconds: float = _var(Float(load_default=1.0, validate=validate.Range(min=0.2, max=10)))
    jobs_duties: tuple[str, ...] = _var(Items(load_default=()))
    binance_split: int = _var(WholeNumber(load_default=1, validate=validate.Range(min=1, max=16)))

    # For the sources oanda and binance; the jobs alone load OANDA_*.
    oanda_api_token: str | None = _var(Str(load_default=None), secret=True)
    oanda_account_id: str | None = _var(Str(load_default=None), secret=True)
    oanda_rest_url: str = _var(Url("https", "http", load_default="https://api-fxpractice.oanda.com"))
    oanda_stream_url: str = _var(Url("https", "http", load_default="https://stream-fxpractice.oanda.com"))
    binance_ws_url: str = _var(Url("wss", "ws", load_default="wss://stream.binance.com:9443"))
    binance_rest_url: str = _var(Url("https", "http", load_default="https://api.binance.com"))
    binance_symbols: tuple[str, ...] = _var(Items(load_default=("BTCUSDT", "ETHUSDT", "SOLUSDT", "BNBUSDT", "ADAUSDT", "XRPUSDT")))

    # Order books. Symbols of which live books are kept, some of BINANCE_SYMBOLS; not together with
    # the source scenario.
    book_symbols: tuple[str, ...] = _var(BookSymbols(load_default=()))
    # spot, or usdm for USD-M futures; their servers, by default those of the market (spot:
    # BINANCE_WS_URL and BINANCE_REST_URL)
    book_market: str = _var(Str(load_default="spot", validate=MARKET_NAMES))
    book_ws_url: str = _var(Url("wss", "ws", load_default=None))
    book_rest_url: str = _var(Url("https", "http", load_default=None))
    # Levels a side of a requested snapshot, by default 5000 (spot) or 1000 (usdm). With fewer than
    # BOOK_REFRESH_LEVELS left on a side, another one is requested while the book stays live.
    book_snapshot_limit: int = _var(WholeNumber(load_default=None))
    book_refresh_levels: int = _var(WholeNumber(load_default=150, validate=_NOT_NEGATIVE))
    # Seconds without a message after which a book is stale: raise it for symbols with little trade.
    book_stale_after: float = _var(Float(load_default=5.0, validate=_POSITIVE))
    # Messages that may wait for a snapshot, and for their processing
    book_buffer_max: int = _var(WholeNumber(load_default=5000, validate=_AT_LEAST_ONE))
    # Comparison with the exchange's best prices: on (a book that differs is built again) or count
    book_audit: str = _var(Str(load_default="on", validate=AUDITS))
    # Seconds between two stored best prices of a book, and between two stored books of 50 levels;
    # 0 stores none. Both are kept for RETENTION_BOOKS days; 0 is for ever.
    book_history_seconds: float = _var(Float(load_default=1.0, validate=_NOT_NEGATIVE))
    book_depth_seconds: float = _var(Float(load_default=0.0, validate=_NOT_NEGATIVE))
    retention_books: int = _var(WholeNumber(load_default=90, validate=_NOT_NEGATIVE))

    # Scenarios, with the source scenario: the one at the start, a file in data/scenarios; the
    # length of the queue if the file has none; milliseconds per message in place of the file's
    scenario: str = _var(Str(load_default="stable-mode"))
    scenario_queue_max: int = _var(WholeNumber(load_default=2000, validate=QUEUE_RANGE))
    scenario_processing_delay_ms: float | None = _var(Float(load_default=None, validate=DELAY_MS_RANGE))
    # Seconds between two heartbeats of the books, from 0.1 to 60. After three without one, clients
    # see their books as stale.
    heartbeat_interval: float = _var(Float(load_default=1.0, validate=HEARTBEAT_RANGE))

    # Bus to PostgreSQL: a batch is written once it has this many prices, or its first price has
    # waited this many milliseconds.
    batch_size: int = _var(WholeNumber(load_default=100, validate=_AT_LEAST_ONE))
    batch_timeout_ms: int = _var(WholeNumber(load_default=1000, validate=_AT_LEAST_ONE), name="batch_timeout")

    # Days that prices, trades and candles are kept, by their own time; 0 is for ever. Whole months
    # are dropped, once all of a month is older. Replayed prices of an old recording are dropped
    # too; volatility, correlation and the runs of jobs are kept as long as the candles.
    retention_prices: int = _var(WholeNumber(load_default=730, validate=_NOT_NEGATIVE))
    retention_trades: int = _var(WholeNumber(load_default=730, validate=_NOT_NEGATIVE))
    retention_candles: int = _var(WholeNumber(load_default=730, validate=_NOT_NEGATIVE))
    # Days that the log of access control is kept; 0 is for ever.
    retention_access_log: int = _var(WholeNumber(load_default=400, validate=_NOT_NEGATIVE))

    # Days that metrics are kept: those of each second, minute and hour; 0 is for ever.
    retention_metrics_1s: int = _var(WholeNumber(load_default=14, validate=_NOT_NEGATIVE))
    retention_metrics_1m: int = _var(WholeNumber(load_default=90, validate=_NOT_NEGATIVE))
    retention_metrics_1h: int = _var(WholeNumber(load_default=730, validate=_NOT_NEGATIVE))
    # Days that resolved alerts are kept; 0 is for ever.
    retention_alerts: int = _var(WholeNumber(load_default=730, validate=_NOT_NEGATIVE))
    # Days that reports of bots, round trips and daily checkpoints of positions are kept; 0 is for
    # ever. Fills, ids and checkpoints stay for 31 days at least: a report may be 30 days old.
    retention_reports: int = _var(WholeNumber(load_default=730, validate=_NOT_NEGATIVE))

    # Observability. Seconds between two snapshots of the metrics, from 0.1 to 10.
    metric_collection_interval: float = _var(Float(load_default=0.1, validate=validate.Range(min=0.1, max=10)))
    # Reports per second and bot, and seconds for which Redis keeps their ids. The store finds a
    # repeated report after that.
    reports_rate: int = _var(WholeNumber(load_default=2000, validate=_AT_LEAST_ONE))
    report_dedupe_seconds: int = _var(WholeNumber(load_default=86_400, validate=_AT_LEAST_ONE))
    # Currency of sums over strategies, and currencies that count as equal: USDT=USD,USDC=USD
    obs_base_currency: str = _var(Currency(load_default="USD"))
    obs_currency_parity: Mapping[str, str] = _var(CurrencyParity(load_default=dict))
    # Zone in which "today" begins at 00:00, and periods per year of Sharpe ratios of daily returns.
    obs_day_zone: ZoneInfo = _var(Zone(load_default=ZoneInfo("UTC")))
    obs_periods_per_year: int = _var(WholeNumber(load_default=365, validate=_AT_LEAST_ONE))
    # Price of an open position: touch (bid of a long one, ask of a short one) or mid
    obs_mark: str = _var(Str(load_default="touch", validate=validate.OneOf(["touch", "mid"])))

    # Thresholds of the alerts about the system, warning/critical: percent of the machine, ...
    alert_cpu: AlertLimits = _var(AlertLimitsText(load_default=limits_of("80/90")))
    alert_memory: AlertLimits = _var(AlertLimitsText(load_default=limits_of("80/90")))
    alert_disk: AlertLimits = _var(AlertLimitsText(load_default=limits_of("90/95")))
    # ... unstored prices and trades, unprocessed reports, ...
    alert_writer_lag: AlertLimits = _var(AlertLimitsText(load_default=limits_of("10000/100000")))
    alert_observer_lag: AlertLimits = _var(AlertLimitsText(load_default=limits_of("10000/100000")))
    # ... seconds without a report of a strategy with an open position or order, and the share of
    # rejected orders in 15 minutes.
    alert_strategy_silent: AlertLimits = _var(AlertLimitsText(load_default=limits_of("60/300")))
    alert_reject_rate: AlertLimits = _var(AlertLimitsText(load_default=limits_of("0.05/0.2")))

    # Above these thresholds the hourly job raises an alert for a volatility (per day, 0.02 is 2 %),
    # and the daily job for the change of a correlation.
    volatility_threshold: float = _var(Float(load_default=0.02, validate=_POSITIVE))
    volatility_critical: float = _var(Float(load_default=0.04, validate=_POSITIVE))
    # Instruments with thresholds of their own, warning/critical: EUR_USD=0.01/0.02,BTCUSDT=0.05/0.1
    volatility_thresholds: Mapping[str, tuple[float, float]] = _var(Thresholds(load_default=dict))
    correlation_change_threshold: float = _var(Float(load_default=0.2, validate=_POSITIVE))

    # Metrics for Prometheus. all: GET /metrics of REST answers for every process. process: for
    # itself alone, if a scraper reaches each process, as in Kubernetes.
    metrics_scope: str = _var(Str(load_default="all", validate=validate.OneOf(["all", "process"])))
    # Address and port at which jobs, observer and books answer GET /metrics and GET /live; without
    # METRICS_PORT they do not listen. Nobody needs a key there. Under `manage.py up` it is the port
    # of jobs; observer and books take the two ports after it.
    metrics_host: str = _var(Str(load_default="127.0.0.1"))
    metrics_port: int | None = _var(WholeNumber(load_default=None, validate=_PORT))

    # DEBUG, INFO, WARNING (or WARN), ERROR or CRITICAL, in any case; json or text; a file in place
    # of stderr, which is opened again after a rename
    log_level: str = _var(Str(load_default="INFO", validate=validate.OneOf(["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"])))
    log_format: str = _var(Str(load_default="json", validate=validate.OneOf(["json", "text"])))
    log_file: Path | None = _var(PathText(load_default=None))
    # Performance lines: a file of their own, by default the normal log; seconds between two
    # summaries, 0 writes none. With LOG_LEVEL=DEBUG each stored batch is one more line.
    performance_log_file: Path | None = _var(PathText(load_default=None))
    performance_log_seconds: float = _var(Float(load_default=60.0, validate=validate.Range(0, 86_400)))

    @property
    def hub_ports(self) -> range:
        """Ports of the hub processes that `up` starts."""
        return range(self.websocket_port, self.websocket_port + self.hub_workers)

    @property
    def hub_stop_seconds(self) -> float:
        """The longest time that a hub takes to stop in order."""
        return self.hub_drain_delay + self.hub_drain_seconds + _ENDING_SECONDS

    def connections_needed(self, processes: int = 0) -> int:
        """Return the connections that PostgreSQL must accept: those of all pools, and 10 more.

        Every process of `up` has a pool; `processes` is the number of all known ones, if it is
        larger.
        """
        of_up = len(SINGLE_PROCESSES) + self.hub_workers + self.api_workers
        return max(of_up, processes) * self.db_pool_max + _OTHER_CONNECTIONS

    @property
    def metrics_ports(self) -> dict[str, int]:
        """Process -> port of its metrics under `up`, where the three share one host."""
        return {} if self.metrics_port is None else {name: self.metrics_port + place for place, name in enumerate(SINGLE_PROCESSES)}

    @property
    def plays_scenarios(self) -> bool:
        """True if one of the sources is `scenario`: then all books are simulated."""
        return book_checks.plays_scenarios(self.sources)

    @property
    def auth_mode(self) -> AuthMode:
        """The mode of access control: the bind hosts decide, never a header."""
        return mode_of(self.auth, (self.websocket_host, self.api_host), self.trusted_proxies)

    @property
    def database_setting(self) -> str:
        """The variables that name the database, for messages to an operator."""
        return "DB_*" if self.database_url == database_url_of(_values(self)) else "DATABASE_URL"

    @property
    def direct_setting(self) -> str:
        """The variables that name the database without a pooler, for messages to an operator."""
        return self.database_setting if self.database_direct_url == self.database_url else "DATABASE_DIRECT_URL"

    def database_of(self, service: str) -> tuple[str | None, str]:
        """Return the URL of the database for a process or command, and the setting that names it.

        The hub and REST may use a pooler in transaction mode, the others need the server itself.
        """
        if service in _POOLED:
            return self.database_url, self.database_setting
        return self.database_direct_url, self.direct_setting

    def pooler_of(self, service: str) -> str:
        """Return the mode of the pooler that may be before the database of `service`."""
        return "none" if self.database_pooler == "transaction" and service not in _POOLED else self.database_pooler

    @property
    def redis_setting(self) -> str:
        """The variables that name Redis, for messages to an operator."""
        return "REDIS_*" if self.redis_url == redis_url_of(_values(self)) else "REDIS_URL"

    @property
    def secrets(self) -> tuple[str, ...]:
        """Values that no answer may contain."""
        return tuple(value for row in fields(self) if row.metadata["secret"] and (value := getattr(self, row.name)))


# attribute of `Settings` -> lower-case name of its variable
_VARIABLES = {row.name: row.metadata["name"] or row.name for row in fields(Settings)}
_Environment = Schema.from_dict({_VARIABLES[row.name]: row.metadata["kind"] for row in fields(Settings)}, name="Environment")


def load(environ: Mapping[str, str] | None = None, *, dotenv: Path | None = Path(".env"), service: str | None = None) -> Settings:
    """Parse `environ`, by default that of the process, over the file `dotenv` if it exists.

    Variables that belong to other services than `service` are ignored. An empty variable counts as
    unset, except `SOURCES`: empty means no source. Raises `SettingsError`, which names every
    invalid variable.
    """
    merged = variables_of(service, read_variables(environ, dotenv, service))
    given = {name.lower(): text.strip() for name, text in merged.items() if text and text.strip()}
    if merged.get("SOURCES") == "":
        given["sources"] = ""
    level = given.get("log_level", "INFO").upper()
    given["log_level"] = _LEVELS.get(level, level)
    problems: dict[str, str] = {}
    values: dict[str, Any] = {}
    schema = _Environment(unknown=EXCLUDE)
    try:
        values = schema.load(given)
    except ValidationError as error:
        problems = {name.upper(): " ".join(texts) for name, texts in error.messages_dict.items()}
        values = {**schema.load({}), **dict(error.valid_data or {})}
    problems = {**_contradictions(values, service), **problems}
    if problems:
        raise SettingsError(problems)
    values |= {"database_url": values["database_url"] or database_url_of(values), "redis_url": values["redis_url"] or redis_url_of(values)}
    values["database_direct_url"] = values["database_direct_url"] or values["database_url"]
    values |= defaults_of(values) | bus_checks.defaults_of(values)
    values |= {name: 0.0 if service == "up" else usual for name, usual in _DRAIN_DEFAULTS.items() if values[name] is None}
    values["jwt_secret"] = read_secret(values) if SYMMETRIC in values["jwt_algorithms"] else values["jwt_secret"]
    return Settings(**{attribute: values[name] for attribute, name in _VARIABLES.items()})


def _contradictions(values: dict[str, Any], service: str | None) -> dict[str, str]:
    """Return the problems of settings that are valid one by one."""
    problems = {
        **problems_of(values, service),
        **book_checks.problems_of(values),
        **bus_checks.problems_of(values),
        **_database_problems(values, service),
    }
    if values["volatility_critical"] < values["volatility_threshold"]:
        problems["VOLATILITY_CRITICAL"] = "Must not be below VOLATILITY_THRESHOLD."
    if values["websocket_port"] + values["hub_workers"] - 1 > _MAX_PORT:
        problems["HUB_WORKERS"] = f"Their ports, from WEBSOCKET_PORT on, must not go beyond {_MAX_PORT}."
    if service == "up" and (values["metrics_port"] or 0) + len(SINGLE_PROCESSES) - 1 > _MAX_PORT:
        problems["METRICS_PORT"] = f"The {len(SINGLE_PROCESSES)} ports from METRICS_PORT on must not go beyond {_MAX_PORT}."
    kinds = {spec.kind for spec in values["sources"]}
    for row in VENUES.values():
        if row.name in kinds and service in _RUN_SOURCES:
            problems |= {name.upper(): f"Needed for the source {row.name}." for name in row.required if not values[name]}
    for spec in values["sources"]:
        if spec.file is not None and not spec.file.is_file():
            problems["SOURCES"] = f"replay file {spec.file} does not exist."
    return problems


def _database_problems(values: dict[str, Any], service: str | None) -> dict[str, str]:
    """Return the problems of the addresses of PostgreSQL."""
    direct, pooler = values["database_direct_url"], values["database_pooler"]
    if not (values["database_url"] or values["db_host"]):
        given = {"DATABASE_DIRECT_URL": direct, "DATABASE_POOLER": pooler != "none", "DATABASE_READ_URL": values["database_read_url"]}
        return {name: "Needs DATABASE_URL or DB_HOST." for name, used in given.items() if used}
    if pooler == "transaction" and not direct and service not in _POOLED:
        return {"DATABASE_DIRECT_URL": "Needed with DATABASE_POOLER=transaction: the address of the PostgreSQL server itself."}
    return {}


def _values(chosen: Settings) -> dict[str, Any]:
    return {row.name: getattr(chosen, row.name) for row in fields(chosen)}
