"""A paper trader: bets that a price far from its recent mean returns to it. It sends no orders.

    python mean_reversion_bot.py EUR_USD GBP_USD --state bot.json --bot demo

The history fills the window, then live prices follow, also after an outage of the hub. A volatility
alert is the risk switch: the bot opens nothing for a while, and a critical alert closes the open
position. --state keeps positions and profit over restarts. With --bot, the hub receives a report of
each trade, once, also after a kill. TICKWIRE_API_KEY has the key, if needed.
"""

import argparse
import json
import os
import statistics
from collections import deque
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from bot_reports import BotReports
from tickwire_client import Client, Gap, Position, Tick, TickwireError, VolatilityAlert


class Book:
    """One pair: last mids, position (units, negative if short) and profit in the quote currency."""

    def __init__(self, pair: str, options: argparse.Namespace, saved: dict[str, Any]) -> None:
        self.pair, self.options = pair, options
        self.mids: deque[float] = deque(maxlen=options.window)
        self.units, self.entry, self.earned = int(saved.get("units", 0)), Decimal(saved.get("entry", 0)), Decimal(saved.get("earned", 0))
        self.seen, self.paused, self.flee = 0, 0, False
        self.last: Tick | None = None

    def load_history(self, client: Client) -> Position | None:
        """Fill the window from the store; return the position after which live prices continue."""
        rows = sorted(client.ticks(self.pair, order="desc", limit=self.options.window), key=lambda row: (row["received"], row["seq"]))
        self.mids.extend(float(row["mid"]) for row in rows)
        return Position(rows[-1]["epoch"], rows[-1]["seq"]) if rows else None

    def warn(self, alert: VolatilityAlert) -> None:
        self.paused, self.flee = self.options.pause, self.flee or alert.severity == "critical"
        print(f"{self.pair} {alert.severity}: volatility {alert.volatility:.2%}, opens nothing for {self.paused} prices", flush=True)

    def step(self, tick: Tick) -> int:
        """Process a price; return the traded units. The bot never trades at late prices."""
        score, units, options = self.score(float(tick.mid)), self.units, self.options
        if tick.timestamp and (datetime.now(UTC) - tick.timestamp).total_seconds() <= options.max_age:
            outward = None if score is None else score if self.units < 0 else -score
            if self.units and (self.flee or (outward is not None and not options.exit < outward < options.stop)):
                self.trade(-self.units, tick)
            elif not self.units and not self.paused and score is not None and options.entry <= abs(score) < options.stop:
                self.trade(options.units if score < 0 else -options.units, tick)
            self.paused, self.flee = max(0, self.paused - 1), False
        self.mids.append(float(tick.mid))
        self.last, self.seen = tick, self.seen + 1
        return self.units - units

    def score(self, mid: float) -> float | None:
        """Distance from the mean in standard deviations; None if the window is not full."""
        spread = statistics.stdev(self.mids) if len(self.mids) == self.options.window else 0.0
        return (mid - statistics.fmean(self.mids)) / spread if spread else None

    def trade(self, units: int, tick: Tick) -> None:
        """Buy at the ask, sell at the bid."""
        price, action = tick.ask if units > 0 else tick.bid, "close" if self.units else "open"
        self.earned += (price - self.entry) * self.units
        self.units, self.entry = self.units + units, price
        print(f"{tick.time:%H:%M:%S} {self.pair} {action} {units:+} at {price}, earned {self.earned}", flush=True)

    def summary(self) -> str:
        worth = self.last.bid if self.last and self.units > 0 else self.last.ask if self.last else self.entry
        return f"{self.pair}: {self.seen} prices, position {self.units:+}, earned {self.earned}, open {(worth - self.entry) * self.units}"


def run(client: Client, books: dict[str, Book], options: argparse.Namespace) -> None:
    alerts, since = client.alert_updates(), {pair: at for pair, book in books.items() if (at := book.load_history(client))}
    reports = BotReports(client, options.bot, read(options.state).get("reports", {}), lambda: write(options.state, books, reports))
    for item in reports.beside(client.prices(*books, since=since, gaps=True)):
        while alert := alerts.take():
            if isinstance(alert, VolatilityAlert) and alert.instrument in books:
                books[alert.instrument].warn(alert)
        if isinstance(item, Gap):
            print(f"{item.instrument}: {item.missed or 'some'} prices are missing ({item.reason}), the window begins anew", flush=True)
            books[item.instrument].mids.clear()
        elif units := books[item.instrument].step(item):
            reports.trade(item, units)
        if options.count and sum(book.seen for book in books.values()) >= options.count:
            return


def read(state: Path | None) -> dict[str, Any]:
    return dict(json.loads(state.read_text())) if state and state.exists() else {}


def write(state: Path | None, books: dict[str, Book], reports: BotReports) -> None:
    if state is None:
        return
    kept = read(state) | {pair: {"units": book.units, "entry": str(book.entry), "earned": str(book.earned)} for pair, book in books.items()}
    kept |= {"reports": reports.saved()} if reports.bot else {}
    state.with_suffix(".new").write_text(json.dumps(kept))
    state.with_suffix(".new").replace(state)  # atomic, so that a crash leaves a complete file


parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("pairs", nargs="+", help="instruments, such as EUR_USD")
parser.add_argument("--rest", help="address of REST (default: port 5000 beside a hub on 5001)")
parser.add_argument("--state", type=Path, help="file that keeps positions over restarts (default with --bot: NAME.json)")
parser.add_argument("--bot", metavar="NAME", help="report orders, fills and a heartbeat every 15 s under this name")
for name, value, text in (("hub", "http://127.0.0.1:5001", "address of the hub"), ("window", 100, "number of prices in the mean"),
                          ("entry", 2.0, "standard deviations at which to open"), ("exit", 0.5, "standard deviations at which to close"),
                          ("stop", 6.0, "deviations at which to close at a loss and not to open"), ("units", 10_000, "size of a trade"),
                          ("pause", 100, "prices without opening after an alert"), ("count", 0, "exit after so many prices; 0 means never"),
                          ("max-age", 10.0, "maximum age in seconds of a price to trade at")):  # fmt: skip
    parser.add_argument(f"--{name}", type=type(value), default=value, help=f"{text} (%(default)s)")

if __name__ == "__main__":
    options = parser.parse_args()
    options.state = options.state or (Path(f"{options.bot}.json") if options.bot else None)
    books = {pair: Book(pair, options, read(options.state).get(pair, {})) for pair in options.pairs}
    try:
        with Client(options.hub, options.rest, auth=os.environ.get("TICKWIRE_API_KEY") or None, bot=options.bot) as client:
            run(client, books, options)
    except (KeyboardInterrupt, TickwireError, ValueError) as end:
        raise SystemExit(str(end) or None) from None
    finally:
        print(*(book.summary() for book in books.values()), sep="\n", flush=True)
