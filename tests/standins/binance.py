"""A local Binance in a separate process: WebSocket streams, a REST API and faults on command.

    with BinanceStandIn(tmp_path, trades=100_000, speed=None) as binance:
        urls = {"binance_ws_url": binance.ws_url, "binance_rest_url": binance.rest_url}
        settings = replace(settings, **urls, binance_symbols=binance.symbols)
        # or, for a process: jobs(settings, log, SOURCES="binance", **binance.variables)
        binance.control("drop")
        until(lambda: binance.state()["ended"])
        assert stored == binance.expected()

The market has its own time, which passes with or without clients. It starts at the first WebSocket
connection, or at `control("go")` if `waits=True`. A stream misses all messages while it is skipped,
stalled or disconnected. REST (`/api/v3/historicalTrades`, `/api/v3/aggTrades`) returns all trades
up to the current position.

Recordings have diffs (`@depth@100ms`) and book tickers too. `/api/v3/depth`, or `/fapi/v1/depth` if
`market="usdm"`, returns a snapshot of the complete book at the current position. The book begins
with the recorded snapshot and follows all diffs, those that the streams leave out included.

If `trades` is None, the market plays the recordings of 2024-08-08 (`RECORDINGS`): BTCUSDT and
ETHUSDT, 15,863 trades and 59,002 other messages in six minutes. Otherwise it generates `trades`
trades over `symbols`, `per_second` of them per market second. Their ids start at 1,000,000 for each
symbol, and they are the same at every start.

- `speed`: market seconds per second. None: as fast as the slowest client reads, and `missed_rate`
  messages per second without a client.
- `start`: the time of the first trade. None: the recording's own time, or 2025-11-18 for generated
  trades.
- `market`: `spot` or `usdm`, which has the recorded BTCUSDT and the streams at `/public/stream`.
- `ticker_delay`: seconds by which book tickers come later than recorded.
- `microseconds`: send all times in microseconds. If it is false, only clients that request
  microseconds receive them, as at the real service.

`control(do, **how)`:

| do | how | |
| --- | --- | --- |
| `go`, `pause` | | start or stop the time |
| `jump` | `position` (default: the end) | go to the position; streams miss the messages before it |
| `speed` | `speed` | set the speed |
| `drop` | | reset every WebSocket connection |
| `close` | `code=1001`, `reason` | close every connection normally, as after 24 hours |
| `shutdown` | `seconds=0.5`, `wrapped=True` | `serverShutdown`; close after `seconds` |
| `stall` | `seconds` (default: until `resume`) | open connections get pongs only; new ones work |
| `freeze` | the same | open connections do not even get pongs |
| `resume` | | end a stall; streams miss the messages of the stall |
| `vanish` | `seconds=1` | reset and refuse all connections and REST requests for `seconds` |
| `garbage` | `text` (default: a dozen kinds) | send it now, one frame each |
| `half` | `count=1`, `symbol` | send half the text of the next trades, of `symbol` or of each |
| `skip` | the same | ... leave them out of the stream; REST has them |
| `lose` | the same | ... remove them everywhere, also from `expected()`: the gap cannot be filled |
| `repeat` | the same | ... send them twice |
| `reorder` | the same | ... send them in reverse order |
| `alter` | the same, `kind="ticker"` | ... send twice the quantity of the best bid |
| `snapshot` | `count=1`, `symbol`, `age`, `inside`, `delay`, `hang`, `body` | spoil `/depth` |
| `weight` | `used` | report this used weight; null: the real one |
| `refuse` | `what`, `status=503`, `count=1`, `retry_after` | refuse `rest`, `depth`, `handshake` |
| `repeat_pages` | `count=1` | `historicalTrades` repeats its last page for every request |
| `short_pages` | `count=1`, `size=600` | the next pages have at most `size` trades |
| `bad_item` | `symbol`, `id`, `changes` | history changes these fields of the trade; null: none |
| `series` | `symbol`, `first_id=0` | later trades have ids from `first_id`; REST has only these |
| `microseconds` | `on=True` | the unit of times from now on, in streams and REST |

`half`, `skip`, `repeat` and `reorder` take `kind="diff"` and `kind="ticker"`, too; the default is
`kind="trade"`. An answer of `/depth` can be `age` market seconds old, have an id `inside` the next
diff, be sent after `delay` seconds or never (`hang`), or be the text `body`.

REST counts request weight like the real service (25, 4 or 1, snapshots by their levels;
`X-MBX-USED-WEIGHT-1M`; 429 above 6,000). Its window is `weight_window` seconds instead of a minute,
because a minute exceeds the length of a test.

`state()`: `position`, `length`, `ended`, `playing`, `connections`, `delivered` (every message so
far was sent to every client), `streams`, `answered_pings` (links with a pong; the server pings
every `ping_interval` seconds), `handshakes`, `sent`, `requests` by path, past `trades` by symbol,
`lost` as [symbol, id], `snapshots` as {"symbol", "limit", "id", "place"}.
"""

from __future__ import annotations

import os
import sys
import urllib.error
import urllib.request
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson

from db.messages import Trade
from db.timestamps import format_time
from tests.conftest import until
from tests.standins.binance_market import milliseconds
from tests.support.ports import free_port
from tests.support.processes import Running

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_GENERATED_START = datetime(2025, 11, 18, tzinfo=UTC)


class BinanceStandIn(Running):
    """The process, for a `with` block. It writes its files to `folder`."""

    def __init__(
        self,
        folder: Path,
        *,
        symbols: Sequence[str] = ("BTCUSDT", "ETHUSDT"),
        trades: int | None = None,
        speed: float | None = 1.0,
        per_second: float = 1000.0,
        start: datetime | None = None,
        waits: bool = False,
        missed_rate: float = 5000.0,
        microseconds: bool = False,
        ping_interval: float | None = 20.0,
        weight_window: float = 0.1,
        market: str = "spot",
        ticker_delay: float = 0.0,
    ) -> None:
        self.symbols = tuple(symbols)
        self.market = market
        self._micro = microseconds
        self._file = folder / "binance.ports"
        options: dict[str, Any] = {
            "file": str(self._file),
            "parent": os.getpid(),
            "stream_port": free_port(),  # stays free while `vanish` closes it
            "weight_window": weight_window,
            "streams": {"speed": speed, "missed_rate": missed_rate, "waits": waits, "micro": microseconds, "ping_interval": ping_interval},
        }
        if trades is None:
            start_ms = None if start is None else milliseconds(start)
            options["recorded"] = {"symbols": self.symbols, "start_ms": start_ms, "kind": market, "ticker_delay": ticker_delay}
        else:
            begin = milliseconds(start or _GENERATED_START)
            options["generated"] = {"symbols": self.symbols, "trades": trades, "per_second": per_second, "start_ms": begin}
        argv = [sys.executable, "-m", "tests.standins.binance_server", orjson.dumps(options).decode()]
        super().__init__(argv, {}, folder / "binance.log")

    def start(self) -> None:
        """Start the process and wait until it serves."""
        self._file.unlink(missing_ok=True)
        super().start()
        until(self._serves, 60, "the local Binance")
        streams, rest = orjson.loads(self._file.read_bytes())
        self.ws_url, self.rest_url = f"ws://127.0.0.1:{streams}", f"http://127.0.0.1:{rest}"

    def _serves(self) -> bool:
        assert self.popen is not None
        assert self.popen.poll() is None, self.output()[-3000:]
        return self._file.exists()

    @property
    def variables(self) -> dict[str, str]:
        """The environment variables that point a process at this server."""
        return {"BINANCE_WS_URL": self.ws_url, "BINANCE_REST_URL": self.rest_url, "BINANCE_SYMBOLS": ",".join(self.symbols)}

    def control(self, do: str, **how: Any) -> None:
        """Run a command of the table in the module's docstring."""
        self._request("/_control", orjson.dumps({"do": do, **how}))

    def state(self) -> dict[str, Any]:
        """Return the state; the module's docstring lists its fields."""
        return dict(orjson.loads(self._request("/_state")))

    @property
    def book_variables(self) -> dict[str, str]:
        """The environment variables that point the process `books` at this server."""
        urls = {"BOOK_WS_URL": self.ws_url, "BOOK_REST_URL": self.rest_url}
        return {**self.variables, **urls, "BOOK_MARKET": self.market, "BOOK_SYMBOLS": ",".join(self.symbols)}

    def book(self, symbol: str, levels: int = 20) -> dict[str, Any]:
        """Return {"id", "bids", "asks"} of the complete book at the present position."""
        return dict(orjson.loads(self._request(f"/_depth?symbol={symbol}&levels={levels}")))

    def expected(self, *, microseconds: bool | None = None) -> list[Trade]:
        """Return every available trade by symbol and id, in the form of the store."""
        micro = self._micro if microseconds is None else microseconds
        rows = orjson.loads(self._request("/_trades?micro=1" if micro else "/_trades"))
        factor = 1 if micro else 1000
        return [
            Trade(symbol, number, _contract_time(moment * factor), price, quantity, "sell" if maker else "buy")
            for symbol, number, moment, price, quantity, maker in sorted(rows)
        ]

    def _request(self, path: str, body: bytes | None = None) -> bytes:
        try:
            with urllib.request.urlopen(self.rest_url + path, body, timeout=60) as response:  # noqa: S310
                return bytes(response.read())
        except urllib.error.HTTPError as error:
            raise ValueError(error.read().decode()) from None


def _contract_time(microseconds: int) -> str:
    return format_time(_EPOCH + timedelta(microseconds=microseconds))
