"""The product with a frozen clock and the data of the screenshots."""

from __future__ import annotations

import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson

from config import settings as settings_module
from config.settings import Settings
from db import migrate
from db.bus import Bus
from db.postgres import Store
from db.rights import READER, WRITER
from db.timestamps import format_time
from jobs.runtime.context import JobContext
from jobs.runtime.runs import due_before, run_once
from jobs.scheduler import TIMED
from ops import embedded
from tests.support.access import Keys
from tests.support.background import in_background
from tests.support.polling import until
from tests.support.processes import Breakable, Running, Web
from tests.support.servers import as_role, equal_passwords
from tests.support.store import select
from tests.web.screens import content
from tests.web.screens.recording import FILE, MINUTE, MOMENT, ROOT

SATURDAY = datetime(2025, 11, 22, 12, tzinfo=UTC)  # of the state "closed"
SATURDAY_PRICES = {
    "BTCUSDT": ("62104.10", "62104.57"), "ETHUSDT": ("2701.31", "2701.34"), "SOLUSDT": ("159.02", "159.03"),
    "BNBUSDT": ("518.94", "518.95"), "ADAUSDT": ("0.3471", "0.3472"), "XRPUSDT": ("0.6082", "0.6083"),
}  # fmt: skip
SOURCE = f"replay:{FILE.relative_to(ROOT)}@max"
STALE = timedelta(seconds=42)  # age of one price
_PATIENCE = 120.0
_UNSET = dict.fromkeys(("DATABASE_URL", "DB_HOST", "REDIS_URL", "REDIS_HOST", "LOG_FILE"), "")


@dataclass(frozen=True, slots=True)
class Stage:
    """The running product. `bus` publishes at `moment`; `bus_at` returns one of another time."""

    settings: Settings
    moment: datetime
    bus: Bus
    store: Store
    hub: Web
    rest: Web
    environ: dict[str, str]
    folder: Path
    beating: threading.Lock = field(default_factory=threading.Lock)  # held: no heartbeat is published

    def view(self, address: str = "#/") -> str:
        """Return the URL of a view."""
        return f"{self.rest.url}/{address}"

    @property
    def keys(self) -> Keys:
        """Keys of callers, for a stage with AUTH=required."""
        return Keys(self.store, self.bus)

    def new_key(self, *scopes: str) -> str:
        """Return a new key that REST accepts."""
        key = self.keys.add(scopes)
        until(lambda: self._accepts(key), what="the new key")
        return key

    def _accepts(self, key: str) -> bool:
        try:
            return bool(self.get("/symbols", key))
        except urllib.error.HTTPError:
            return False

    def get(self, path: str, key: str = "") -> Any:
        """Return the JSON of REST."""
        headers = {"Accept": "application/json", **({"Authorization": f"Bearer {key}"} if key else {})}
        request = urllib.request.Request(self.rest.url + path, headers=headers)  # noqa: S310
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
            return orjson.loads(answer.read())

    def bus_at(self, moment: datetime) -> Bus:
        """Return a bus whose clock stands at `moment`; the caller closes it."""
        return Bus(str(self.settings.redis_url), lambda: moment)

    @contextmanager
    def at(self, moment: datetime, name: str, **variables: str) -> Iterator[Stage]:
        """Start another hub and REST on the same servers, with another time or other settings."""
        with _webs(self.environ | variables, moment, self.folder, name) as (hub, rest), closing(self.bus_at(moment)) as bus:
            yield Stage(self.settings, moment, bus, self.store, hub, rest, self.environ, self.folder)


class FrozenWeb(Web):
    """A web process of `tests.web.screens.frozen`."""

    def __init__(self, name: str, environ: dict[str, str], log: Path, settings: Settings) -> None:
        super().__init__(name, settings, log, **environ)
        self.argv[-1] = f"tests.web.screens.frozen:{name}()"


@contextmanager
def started(folder: Path) -> Iterator[Stage]:
    """Start servers and processes, play the recording, and run each timed job once."""
    equal_passwords(folder)
    with ExitStack() as stack:
        redis = stack.enter_context(Breakable(embedded.redis(folder), folder))
        postgres = stack.enter_context(Breakable(embedded.postgres(folder), folder))
        migrate.apply(postgres.url)
        environ = {
            **_UNSET,
            **{f"RETENTION_{table}": "0" for table in ("PRICES", "TRADES", "CANDLES")},
            "DATABASE_URL": postgres.url,
            "REDIS_URL": redis.url,
            "HUB_DATA_DIR": str(folder),
            "SOURCES": SOURCE,
            "OBS_CURRENCY_PARITY": "USDT=USD",
            "FROZEN_AT": format_time(MOMENT),
            "EVENTLET_NO_GREENDNS": "yes",
        }
        settings = settings_module.load(environ, dotenv=None)
        bus = stack.enter_context(closing(Bus(redis.url, lambda: MOMENT)))
        store = stack.enter_context(closing(Store(postgres.url)))
        stack.enter_context(_process("jobs", environ, folder, WRITER))
        _play(bus, store)
        content.raise_alerts(store, MOMENT)
        _compute(JobContext(settings, bus, store, lambda: MOMENT))
        environ |= {"SOURCES": f"{SOURCE},scenario"}
        stage = Stage(settings, MOMENT, bus, store, *stack.enter_context(_webs(environ, MOMENT, folder, "main")), environ, folder)
        _fill(stage)
        stack.enter_context(_process("observer", environ, folder, WRITER))
        until(lambda: not bus.unprocessed_reports(), _PATIENCE, "every report of a bot")
        stack.enter_context(_beating(stage))
        yield stage


def _process(name: str, environ: dict[str, str], folder: Path, role: str) -> Running:
    argv = [sys.executable, "-m", "tests.web.screens.frozen", name]
    return Running(argv, {**environ, "DATABASE_URL": as_role(environ["DATABASE_URL"], role)}, folder / f"{name}.log")


@contextmanager
def _webs(environ: dict[str, str], moment: datetime, folder: Path, name: str) -> Iterator[tuple[Web, Web]]:
    settings = settings_module.load(environ, dotenv=None)
    own = {**environ, "DATABASE_URL": as_role(environ["DATABASE_URL"], READER), "FROZEN_AT": format_time(moment)}
    hub = FrozenWeb("hub", own, folder / f"hub-{name}.log", settings)
    hub.environ["WEBSOCKET_PORT"] = str(hub.port)
    rest = FrozenWeb("rest", {**own, "WEBSOCKET_PORT": str(hub.port)}, folder / f"rest-{name}.log", settings)
    with hub.popen_only(), rest.popen_only():
        hub.await_ready()
        rest.await_ready()
        yield hub, rest


def _play(bus: Bus, store: Store) -> None:
    """Wait until the recording has ended and every candle of it is built."""

    def ended() -> bool:
        reports = [orjson.loads(each.report) for each in bus.processes(int(MOMENT.timestamp() * 1000)) if each.report]
        states = [source["state"] for report in reports for source in report.get("sources", {}).values()]
        return states == ["ended"]

    until(ended, _PATIENCE, "the end of the recording")
    until(lambda: not bus.unstored("price_updates"), _PATIENCE, "every price in the store")
    until(lambda: select(store, "SELECT count(*) FROM candle_marks") == [(0,)], _PATIENCE, "every candle")


def _compute(context: JobContext) -> None:
    """Run the job of the hour and the job of the day once, as at the frozen time."""
    for name in ("daily_correlation_job", "hourly_job"):
        due = due_before(TIMED[name].trigger, context.clock())
        assert due is not None
        run_once(TIMED[name], context, due)


def _fill(stage: Stage) -> None:
    """Add books and bots."""
    content.publish_books(stage.bus, stage.moment)
    content.store_pnl(stage.store, stage.moment)
    with closing(stage.bus_at(stage.moment - 10 * MINUTE)) as early:
        content.report_trades(stage.bus, early, stage.moment)
    with closing(stage.bus_at(stage.moment - STALE)) as late:
        late.cache_price("GBP_JPY", bid="172.307", ask="172.326", time=stage.moment - STALE)


@contextmanager
def _beating(stage: Stage) -> Iterator[None]:
    """Repeat the heartbeat of the books every second: without it the hub counts them as stale."""

    def run(stop: threading.Event) -> None:
        with closing(stage.bus_at(stage.moment)) as bus:
            while not stop.wait(1):
                with stage.beating:
                    content.publish_heartbeat(bus, stage.moment, content.LAST_HEARTBEAT)

    with in_background(run):
        yield
