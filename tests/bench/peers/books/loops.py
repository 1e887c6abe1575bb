"""The book loops of other libraries: `python loops.py NAME FILE` prints JSON.

The file has a snapshot and depth messages of Binance, one a line. Each loop decodes a message,
applies it and reads the best 20 levels a side. All decode with orjson. It is run by the Python of
the peers' own virtual environment, and imports nothing of the product.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson

DEPTH = 20
Step = Callable[[bytes], tuple[Any, Any]]  # a message -> the best bid and the best ask


def cryptofeed(snapshot: dict[str, Any]) -> Step:
    """The handler of depth messages of cryptofeed's Binance, without its connection."""
    from cryptofeed.exchanges.binance import Binance
    from cryptofeed.types import OrderBook

    sides = [{Decimal(price): Decimal(quantity) for price, quantity in snapshot[side]} for side in ("bids", "asks")]
    feed: Any = Binance.__new__(Binance)
    book = OrderBook("BINANCE", "BTCUSDT", bids=sides[0], asks=sides[1], max_depth=0)
    book.delta = {}
    feed._l2_book, feed.last_update_id = {"BTCUSDT": book}, {"BTCUSDT": snapshot["lastUpdateId"]}
    feed.exchange_symbol_to_std_symbol = str
    best: list[Any] = []

    async def callback(_: str, book: Any, *args: Any, **more: Any) -> None:
        bids, asks = book.book.bids, book.book.asks
        best[:] = [bids.index(place) for place in range(DEPTH)], [asks.index(place) for place in range(DEPTH)]

    feed.book_callback = callback

    def step(text: bytes) -> tuple[Any, Any]:
        message = orjson.loads(text)["data"]
        with contextlib.suppress(StopIteration):  # the coroutine ends without waiting
            feed._book(message, "BTCUSDT", 0.0).send(None)
        return best[0][0], best[1][0]

    return step


def ccxt(snapshot: dict[str, Any]) -> Step:
    """The book of ccxt.pro alone, without the other fields of its messages."""
    from ccxt.async_support.base.ws.order_book import OrderBook

    levels = {side: [[float(price), float(quantity)] for price, quantity in snapshot[side]] for side in ("bids", "asks")}
    book = OrderBook(levels)
    bids, asks = book["bids"], book["asks"]

    def step(text: bytes) -> tuple[Any, Any]:
        message = orjson.loads(text)["data"]
        for side, changed in ((bids, message["b"]), (asks, message["a"])):
            for price, quantity in changed:
                side.store(float(price), float(quantity))
        best = bids[:DEPTH], asks[:DEPTH]
        return best[0][0], best[1][0]

    return step


def ccxt_whole(snapshot: dict[str, Any]) -> Step:
    """The handler of depth messages of ccxt.pro's Binance."""
    import ccxt.pro
    from ccxt.async_support.base.ws.order_book import OrderBook

    exchange: Any = ccxt.pro.binance.__new__(ccxt.pro.binance)
    book = OrderBook({side: [[float(price), float(quantity)] for price, quantity in snapshot[side]] for side in ("bids", "asks")})

    def step(text: bytes) -> tuple[Any, Any]:
        exchange.handle_order_book_message(None, orjson.loads(text)["data"], book)
        best = book["bids"][:DEPTH], book["asks"][:DEPTH]
        return best[0][0], best[1][0]

    return step


def sorteddict(snapshot: dict[str, Any]) -> Step:
    """Two `SortedDict` with Decimal, as the documentation of exchanges suggests."""
    from sortedcontainers import SortedDict

    bids: Any = SortedDict({-Decimal(price): Decimal(quantity) for price, quantity in snapshot["bids"]})
    asks: Any = SortedDict({Decimal(price): Decimal(quantity) for price, quantity in snapshot["asks"]})

    def step(text: bytes) -> tuple[Any, Any]:
        message = orjson.loads(text)["data"]
        for side, sign, changed in ((bids, -1, message["b"]), (asks, 1, message["a"])):
            for price, quantity in changed:
                key, amount = sign * Decimal(price), Decimal(quantity)
                if amount:
                    side[key] = amount
                else:
                    side.pop(key, None)
        best = [(-key, bids[key]) for key in bids.islice(0, DEPTH)], [(key, asks[key]) for key in asks.islice(0, DEPTH)]
        return best[0][0], best[1][0]

    return step


LOOPS = {"cryptofeed": cryptofeed, "ccxt": ccxt, "ccxt_whole": ccxt_whole, "sorteddict": sorteddict}


def measure(step: Step, texts: Sequence[bytes]) -> dict[str, Any]:
    """Return the seconds of CPU time of the loop, and the best prices at its end."""
    begin = time.process_time()
    for text in texts:
        bid, ask = step(text)
    seconds = time.process_time() - begin
    return {"seconds": seconds, "best": [float(bid[0]), float(ask[0])]}


if __name__ == "__main__":
    lines = Path(sys.argv[2]).read_bytes().splitlines()
    print(json.dumps(measure(LOOPS[sys.argv[1]](orjson.loads(lines[0])), lines[1:])))
