"""CPU time of the jobs process for one trade, without sockets, Redis and PostgreSQL.

    .venv/bin/python -m tests.bench.trade_costs

Prints the smallest of several rounds: the time of this process alone, so that other processes of
the machine disturb it little.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from datetime import UTC, datetime

from db.admission import open_windows
from db.admitted import AdmittedTrades, UsualBatch, admit_batch
from db.messages import TradeLines, mark_lines
from db.trade_batch import TradeBatch
from jobs.feeds.binance.messages import prices_of, read_usual
from jobs.measures.sources import SourceCounts

_SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT", "BNBUSDT", "ADAUSDT", "XRPUSDT")
_NOW = datetime(2025, 11, 18, 13, tzinfo=UTC)
_BEGIN_MS = 1_763_469_296_789
_BATCHES, _TRADES = 20, 1_000
_ROUNDS = 15


def main() -> None:
    """Measure and print."""
    batches = list(_messages())
    made = [_read(batch) for batch in batches]
    print(f"message to lines, prices and counts: {_cpu_us(lambda: [_read(batch) for batch in batches]):.2f} us a trade")
    entries = [_entry(batch) for batch in made]
    marks = frozenset(mark for entry in entries for mark in entry.marks or ())
    lines = [entry.lines for entry in entries]
    print(f"lines to one COPY, with marks: {_cpu_us(lambda: TradeBatch(*lines, marks=marks)):.2f} us a trade")
    print(f"lines to one COPY, without marks: {_cpu_us(lambda: TradeBatch(*lines)):.2f} us a trade")


def _messages() -> list[list[bytes]]:
    rnd, ids = random.Random(1), dict.fromkeys(_SYMBOLS, 4_000_000_000)
    found = []
    for number in range(_BATCHES):
        batch = []
        for place in range(_TRADES):
            symbol, moment = rnd.choice(_SYMBOLS), _BEGIN_MS + number * 50 + place // 20
            ids[symbol] += 1
            batch.append(
                b'{"stream":"%b@trade","data":{"e":"trade","E":%d,"s":"%b","t":%d,"p":"%.8f","q":"%.8f","T":%d,"m":%b,"M":true}}'
                % (
                    symbol.lower().encode(), moment, symbol.encode(), ids[symbol], rnd.uniform(1, 70_000), rnd.uniform(0.001, 5), moment,
                    rnd.choice([b"true", b"false"]),
                )
            )  # fmt: skip
        found.append(batch)
    return found


_WINDOWS = open_windows("live", dict.fromkeys(_SYMBOLS, "crypto"), _NOW, source="binance")
_BOOKS = dict.fromkeys(_SYMBOLS, ("1.0", "2.0"))
_COUNTS = SourceCounts()


def _read(messages: list[bytes]) -> UsualBatch | AdmittedTrades:
    batch = read_usual(messages, _SYMBOLS)
    assert batch is not None, "the messages are not in the usual form"
    admitted = admit_batch(batch, _WINDOWS, lambda trade, error: None)
    _COUNTS.accepted("binance", prices_of(admitted, _BOOKS), admitted, _NOW, is_live=True)
    return admitted


def _entry(batch: UsualBatch | AdmittedTrades) -> TradeLines:
    assert isinstance(batch, UsualBatch), "a trade was refused"
    fields = {b"trades": b"%d" % len(batch), b"lines": b"".join(batch.lines.values()), b"admitted": b"1", b"marks": mark_lines(batch.marks)}
    return TradeLines.of(b"1-0", fields)


def _cpu_us(work: Callable[[], object]) -> float:
    best = float("inf")
    for _ in range(_ROUNDS):
        began = time.process_time()
        work()
        best = min(best, time.process_time() - began)
    return best / _BATCHES / _TRADES * 1e6


if __name__ == "__main__":
    main()
