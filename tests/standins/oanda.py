"""A local OANDA: pricing stream and candles as the v20 API gives them, of recorded prices, in a process of its own.

    with OandaStandIn(quotes={"EUR_USD": RECORDINGS / "EUR_USD_20140505.csv.gz"}, speed=60) as oanda:
        jobs(settings, log, SOURCES="oanda", **oanda.environ)
        oanda.control(do="drop", after=1000)
        until(lambda: oanda.state()["over"])

**The market.** The quotes of all recordings happen in the order of their times, `speed` times as fast as they did (None: as fast as they
are read). With `wait` (the default) the market stands still while nobody listens, so that a dropped link misses nothing; without it time
goes on, and what happens meanwhile is to be had as candles alone. Its clock is the time of the last quote that happened, and today's
once all have; `now` sets it.

**The stream** begins with the current price of each instrument asked for, and has a heartbeat every `heartbeat` seconds.

**Candles** are those of `candles`, {("EUR_USD", "H1"): file}, else made of the quotes that have happened, else of finer candles. The last
one is not complete where the clock is inside it. Granularities: M1 M5 M15 H1 H4 D.

**Control**, `control(do=…)`, each at once or, with `after=N`, when N more quotes have happened:

    drop            close every stream in the middle of its answer, after what was sent
    reset           the same with a TCP reset: what is on its way may be lost
    end             end every stream's answer properly
    stall           say nothing more on the streams that are open now, heartbeats included
    half            send half of the next price, then drop
    say             put `text` (with its line feed) on every stream
    refuse          answer the next `times` (1) requests `status`, with `retry_after` where given; `path` "stream" or "candles" alone
    repeat_page     answer the next `times` (1) candle requests with the last answer again
    buckets         from now on, unless `on` is false, prices have their offers in no order: the best one is neither first nor last
    bad_candle      send the candle of `granularity` (H1) and `time` with the fields `changes`; a field that is null is left out
    pause, resume   the market
    now             set the clock to `time`, or, where None, let it go again

**State**, `state()`: `streams` accepted, `open` now, `stream_requests`, `candles_requests`, `refused`, `sent` prices besides `snapshots`,
`position` of so many `quotes`, `over` where all of them have happened, and the instruments that the newest stream `asked` for.

Errors have the bodies of the real service where those are known (400, 401, 403); 429 and 5xx come as the page of a proxy would.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

_ROOT = Path(__file__).parents[2]


class OandaStandIn:
    """The server, from `with` to its end; see the module."""

    token = "c9f1e0a7d2b84356a1b2c3d4e5f60718-9a8b7c6d5e4f30211203f4e5d6c7b8a9"
    account = "101-004-1234567-001"

    def __init__(
        self,
        *,
        quotes: Mapping[str, Path] | None = None,
        candles: Mapping[tuple[str, str], Path] | None = None,
        speed: float | None = None,
        heartbeat: float = 5.0,
        wait: bool = True,
        now: str | None = None,
    ) -> None:
        self._config: dict[str, Any] = {
            "token": self.token,
            "account": self.account,
            "quotes": [(name, str(file)) for name, file in (quotes or {}).items()],
            "candles": [(name, granularity, str(file)) for (name, granularity), file in (candles or {}).items()],
            "speed": speed,
            "heartbeat": heartbeat,
            "wait": wait,
            "now": now,
            "port": 0,
        }
        self._process: subprocess.Popen[str] | None = None
        self._client = httpx.Client(trust_env=False, timeout=20)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._config['port']}"

    @property
    def environ(self) -> dict[str, str]:
        """The variables that point our processes at it."""
        return {
            "OANDA_API_TOKEN": self.token,
            "OANDA_ACCOUNT_ID": self.account,
            "OANDA_REST_URL": self.url,
            "OANDA_STREAM_URL": self.url,
        }

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.kill()
        self._client.close()

    def start(self) -> None:
        """Start it; after `kill`, on the same port and with the market at its beginning."""
        argv = [sys.executable, "-m", "tests.standins.oanda_server", json.dumps(self._config)]
        self._process = subprocess.Popen(argv, cwd=_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        limit = threading.Timer(60, self._process.kill)
        limit.start()
        port = self._process.stdout.readline()
        limit.cancel()
        if not port:
            self.kill()
            raise RuntimeError("the OANDA stand-in did not start")
        self._config["port"] = int(port)

    def kill(self) -> None:
        """End it without a word to anybody."""
        if self._process is not None:
            self._process.kill()
            with self._process:  # waits, and closes the pipes
                self._process = None

    def control(self, **command: Any) -> None:
        """Tell it what to do; see the module."""
        self._client.post(f"{self.url}/_control", json=command).raise_for_status()

    def state(self) -> dict[str, Any]:
        """What it has done so far."""
        return dict(self._client.get(f"{self.url}/_state").raise_for_status().json())
