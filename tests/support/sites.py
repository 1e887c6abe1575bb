"""The product as the dashboard meets it, without jobs: the test publishes what sources would."""

from __future__ import annotations

import json
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import redis as redis_client

from config.settings import Settings
from db.bus import Bus, BusError
from db.candles import CandleRow, Ohlc
from db.instruments import all_instruments, calendars_of
from db.messages import Tick
from db.postgres import Store
from db.timestamps import format_time, utc_now
from ops import embedded
from tests.conftest import Servers, new_database, settings_for
from tests.support.access import Keys
from tests.support.background import in_background
from tests.support.polling import until
from tests.support.processes import Breakable, Running, Web, books, observer
from tests.support.registry import report_sources
from tests.support.servers import add_operator, equal_passwords
from tests.support.store import put_candles

# symbol -> bid and ask of its first price
PRICES = {
    "EUR_USD": ("1.09438", "1.09452"),
    "GBP_USD": ("1.26994", "1.27008"),
    "USD_JPY": ("154.613", "154.627"),
    "AUD_USD": ("0.65012", "0.65024"),
    "BTCUSDT": ("61631.50", "61631.60"),
    "ETHUSDT": ("2650.10", "2650.20"),
    "AAPL": ("231.10", "231.12"),
    "MSFT": ("415.30", "415.36"),
}
# Instruments with candles. Their day begins at 00:00 UTC, and they trade at every time, so that
# tests do the same on each day of the week; AAPL and the others have the hours of their exchange.
OPEN = ("EUR_USD", "GBP_USD", "USD_JPY", "BTCUSDT", "ETHUSDT")
_LENGTHS = {"1m": (timedelta(minutes=1), 150), "1h": (timedelta(hours=1), 30), "1d": (timedelta(days=1), 4)}


@dataclass
class Site:
    """A hub and REST on servers of their own. `bus` publishes, `store` has the tables.

    A test publishes instruments that no other test of its module publishes, or starts another site.
    """

    settings: Settings
    bus: Bus
    store: Store
    operator: redis_client.Redis  # with every right
    redis: Breakable
    hub: Web
    rest: Web
    postgres: Breakable | None = None  # if it is the site's own
    others: dict[str, Running] = field(default_factory=dict)  # observer, books

    @property
    def url(self) -> str:
        """The address of the page's directory, without a slash at its end."""
        return self.rest.url

    @property
    def hub_url(self) -> str:
        return self.hub.url

    @property
    def keys(self) -> Keys:
        """Keys of this site; `keys.add(("read",))` returns a new one."""
        return Keys(self.store, self.bus)

    def view(self, address: str = "#/") -> str:
        """Return the URL of a view: `#/i/EUR_USD?interval=5m`."""
        return f"{self.url}/{address}"

    def publish(self, symbol: str, bid: str, ask: str, time: datetime | None = None, source: str = "test") -> None:
        """Publish one price; its mid is halfway, with all digits."""
        mid = format((Decimal(bid) + Decimal(ask)) / 2, "f")
        self.bus.publish_prices([Tick(symbol, bid, ask, mid, format_time(time or utc_now()), source)])

    def get(self, path: str, key: str = "") -> Any:
        """Return the JSON of REST; `path` begins with a slash. Raises `HTTPError`."""
        return self._send(urllib.request.Request(self.url + path), key)  # noqa: S310

    def post(self, path: str, body: Any = None, key: str = "") -> Any:
        """Post JSON to REST and return its JSON. Raises `HTTPError`."""
        data = json.dumps({} if body is None else body).encode()
        return self._send(urllib.request.Request(self.url + path, data, {"Content-Type": "application/json"}), key)  # noqa: S310

    def _send(self, request: urllib.request.Request, key: str) -> Any:
        request.add_header("Accept", "application/json")
        if key:
            request.add_header("Authorization", f"Bearer {key}")
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
            return json.load(answer)


@contextmanager
def started(servers: Servers, folder: Path, *parts: str, own_postgres: bool = False, **variables: str) -> Iterator[Site]:
    """Start a site, and wait until hub and REST answer.

    `parts` are further processes: `observer`, `books`. `variables` are those of every process, for
    example `AUTH="required"`. Redis is the site's own; PostgreSQL is so with `own_postgres`.
    """
    with ExitStack() as stack:
        if own_postgres:
            equal_passwords(folder)
        redis = embedded.redis(folder)
        operator = stack.enter_context(closing(redis_client.Redis.from_url(add_operator(redis, folder), protocol=2)))
        redis_process = stack.enter_context(Breakable(redis, folder))
        postgres = stack.enter_context(Breakable(embedded.postgres(folder), folder)) if own_postgres else None
        url = postgres.url if postgres else stack.enter_context(new_database(servers))
        if postgres:
            _migrate(url)
        settings = settings_for(url, redis.url, folder / "var")
        bus = stack.enter_context(closing(Bus(redis.url, utc_now)))
        store = stack.enter_context(closing(Store(url)))
        _fill(store, bus)
        hub = Web("hub", settings, folder / "hub.log", **variables)
        rest = Web("rest", settings, folder / "rest.log", **{"WEBSOCKET_PORT": str(hub.port), **variables})
        stack.enter_context(_jobs_reported(Bus(redis.url, utc_now, timeout=1)))
        others = {name: stack.enter_context(_OTHERS[name](settings, folder / f"{name}.log", **variables)) for name in parts}
        stack.enter_context(hub.popen_only())
        stack.enter_context(rest.popen_only())
        hub.await_ready()
        rest.await_ready()
        yield Site(settings, bus, store, operator, redis_process, hub, rest, postgres, others)


@contextmanager
def _jobs_reported(bus: Bus) -> Iterator[None]:
    """Report a jobs process every second, as `/health` expects one. Its source is `test`, live."""
    began = format_time(utc_now())

    def run(stop: threading.Event) -> None:
        while not stop.wait(1):
            now = utc_now()
            source = {"state": "live", "since": began, "failing_since": None, "last_tick": format_time(now), "ticks": 8, "trades": 0}
            with suppress(BusError):
                report_sources(bus, {"test": {**source, "refused": {}, "detail": None}}, now)

    with closing(bus), in_background(run):
        yield


_OTHERS = {"observer": observer, "books": books}


def _migrate(url: str) -> None:
    from db import migrate

    migrate.apply(url)


def _fill(store: Store, bus: Bus) -> None:
    """Store the candles, and publish the first prices."""
    with store.transaction() as cursor:
        cursor.execute("UPDATE instruments SET calendar = 'crypto' WHERE symbol = ANY(%s)", (list(OPEN),))
        bus.set_instruments(calendars_of(all_instruments(cursor)))
    now = utc_now()
    put_candles(store, [candle for symbol in OPEN for candle in _candles(symbol, now)])
    time = format_time(now)
    ticks = [Tick(symbol, bid, ask, _halfway(bid, ask), time, "test") for symbol, (bid, ask) in PRICES.items()]
    bus.publish_prices(ticks)
    until(lambda: len(bus.latest_prices(list(PRICES))) == len(PRICES), what="the first prices")


def _candles(symbol: str, now: datetime) -> Iterator[CandleRow]:
    """The last complete candles and the running one, which move up and down by 10 steps."""
    for interval, (length, count) in _LENGTHS.items():
        running = datetime.fromtimestamp(now.timestamp() // length.total_seconds() * length.total_seconds(), UTC)
        for number in range(count + 1):
            start = running - length * (count - number)
            yield _candle(symbol, interval, start, length, number, complete=start < running)


def _candle(symbol: str, interval: str, start: datetime, length: timedelta, number: int, *, complete: bool) -> CandleRow:
    bid, ask = (Decimal(text) for text in PRICES[symbol])
    step = ask - bid
    wave = [abs((number + place) % 20 - 10) - 5 for place in (0, 1)]
    opened, closed = (bid + step * height for height in wave)
    ohlc = (opened, max(opened, closed) + step, min(opened, closed) - step, closed)
    mid: Ohlc = (str(ohlc[0]), str(ohlc[1]), str(ohlc[2]), str(ohlc[3]))
    return CandleRow(
        symbol, interval, format_time(start), format_time(start + length), mid, None, None, str(40 + number % 7), 40 + number % 7,
        complete, "ticks",
    )  # fmt: skip


def _halfway(bid: str, ask: str) -> str:
    return format((Decimal(bid) + Decimal(ask)) / 2, "f")


def symbols_of(prices: Mapping[str, tuple[str, str]] = PRICES) -> list[str]:
    """Return the symbols that have a price from the start."""
    return list(prices)
