"""Messages of Binance: from the bytes of trades and book tickers to trades and ticks. Pure.

Trades are read, not checked: that is the work of `db.admission`.

One regular expression reads a batch of trades in the usual form, twice as fast as a JSON parser
with checks, and proves all but symbols and window of the trades. Messages of another form go
through that parser, with the same result.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal, localcontext
from functools import lru_cache, partial
from typing import Any

import orjson

from db.admission import NotAdmitted
from db.admitted import WellFormedTrades
from db.decimals import is_decimal, plain_decimal
from db.messages import Tick, Trade

NAME = "binance"
MARKET = "MARKET"  # `X` of a trade of two orders; others are the exchange's own, of the insurance fund for example
Books = Mapping[str, tuple[str, str]]  # symbol -> best bid, best ask
# Start of a stream's name in a message, and a position after its end.
_NAME_FROM, _NAME_TO = len('{"stream":"'), 64

_POSITIVE = r"((?=[0.]*+[1-9])[0-9]{1,24}+(?:\.[0-9]{1,24}+)?+)"
_USUAL = re.compile(
    r'^\{"stream":"[a-z0-9]++@trade","data":\{"e":"trade","E":[1-9][0-9]{0,17}+,"s":"([A-Z0-9]++)","t":(0|[1-9][0-9]{0,17}+),'
    rf'"p":"{_POSITIVE}","q":"{_POSITIVE}","T":([1-9][0-9]{{9}})([0-9]{{3}}(?:[0-9]{{3}})?+),"m":(true|false),"M":(?:true|false)\}}\}}\n',
    re.MULTILINE,
)
_SIDES = {"true": "sell", "false": "buy"}  # by whether the buyer is the maker
_DIGITS_OF_MS = 3
# The constructor of the class would be a call of Python code for each trade.
_trade_from = partial(tuple.__new__, Trade)


def split(received: Iterable[bytes]) -> tuple[tuple[bytes, ...], list[bytes], list[bytes]]:
    """Sort messages: those that are no book tickers; the last book ticker of each stream; other
    messages.

    The third list holds the messages of the first that are no trades either.
    """
    messages, others = [], []
    newest: dict[bytes, bytes] = {}
    for message in received:
        if message.find(b'@trade"', _NAME_FROM, _NAME_TO) > 0:
            messages.append(message)
        elif (end := message.find(b'@bookTicker"', _NAME_FROM, _NAME_TO)) > 0:
            newest[message[_NAME_FROM:end]] = message
        else:
            messages.append(message)
            others.append(message)
    return tuple(messages), list(newest.values()), others


def is_shutdown_notice(message: bytes) -> bool:
    """True for the event `serverShutdown`, wrapped as in combined streams or not."""
    if message.find(b"serverShutdown", 0, 2 * _NAME_TO) < 0:
        return False
    try:
        event = orjson.loads(message)
        return bool(event.get("data", event)["e"] == "serverShutdown")
    except (ValueError, AttributeError, KeyError, TypeError):
        return False


def read_trades(messages: Sequence[bytes], symbols: Collection[str], on_garbage: Callable[[ValueError], None]) -> list[Trade]:
    """The trades of `symbols` among the messages, in order.

    `on_garbage` is called with the fault of every other message.
    """
    trades = read_usual(messages, symbols)
    return read_any(messages, symbols, on_garbage) if trades is None else trades


def read_usual(messages: Sequence[bytes], symbols: Collection[str]) -> WellFormedTrades | None:
    """The same if every message is a trade in the usual form; else None."""
    lines = b"\n".join((*messages, b"")).decode("latin-1")
    found = _USUAL.findall(lines)
    if not found or not len(found) == len(messages) == lines.count("\n") or not {each[0] for each in found}.issubset(symbols):
        return None
    return WellFormedTrades(
        [
            _trade_from(
                (
                    symbol, int(number), f"{_second(second)}{rest}{'000Z' if len(rest) == _DIGITS_OF_MS else 'Z'}", price, quantity,
                    _SIDES[maker], None, None,
                )
            )
            for symbol, number, price, quantity, second, rest, maker in found
        ]
    )  # fmt: skip


def read_any(messages: Iterable[bytes], symbols: Collection[str], on_garbage: Callable[[ValueError], None]) -> list[Trade]:
    """The same for messages in any form, at half the speed."""
    trades: list[Trade] = []
    for message in messages:
        try:
            data = orjson.loads(message)["data"]
            if data["e"] != "trade":
                raise TypeError
            if data["s"] not in symbols:
                raise NotAdmitted("trade of a symbol that was not requested", "unknown_instrument")
            trades.append(trade_in(data))
        except orjson.JSONDecodeError:
            on_garbage(ValueError("not JSON"))
        except (KeyError, TypeError):
            if not is_shutdown_notice(message):
                on_garbage(ValueError("not a trade"))
        except ValueError as error:
            on_garbage(error)
    return trades


class OtherTrade(ValueError):
    """A message of the futures exchange about a trade that is none of two orders."""


def trade_in(data: Mapping[str, Any]) -> Trade:
    """The trade of the data of a `trade` message, live or recorded.

    Futures messages have the origin of the trade in `X`. Raises `OtherTrade` unless it is `MARKET`,
    `ValueError` as in `trade_of`, `KeyError` or `TypeError` if it is no trade.
    """
    if data.get("X", MARKET) != MARKET:
        raise OtherTrade(f"trade of the kind {str(data['X'])[:40]!r}, not {MARKET}")
    trade = trade_of(data["s"], data["t"], data["p"], data["q"], data["T"], data["m"])
    buyer, seller = _order_id(data.get("b")), _order_id(data.get("a"))
    return trade if buyer is None is seller else trade._replace(buyer_order_id=buyer, seller_order_id=seller)


def _order_id(value: object) -> int | None:
    """The id of an order in older messages; None if it is no integer that the store can hold."""
    return value if type(value) is int and 0 <= value < 2**63 else None


def trade_of(symbol: str, number: object, price: object, quantity: object, moment: object, maker: object) -> Trade:
    """The trade of a message, of a recorded message, or of an item of the history.

    Exactly the types of the format are taken: price and quantity are strings, possibly with an
    exponent, the id is an integer, `maker` is a boolean. `moment` is milliseconds (13 digits) or
    microseconds (16) since 1970. Raises `ValueError` that names the first field of another type.
    """
    if not isinstance(price, str):
        raise ValueError("trade whose price is not a string")
    if not isinstance(quantity, str):
        raise ValueError("trade whose quantity is not a string")
    if type(number) is not int:
        raise ValueError("trade whose id is not an integer")
    if type(maker) is not bool:
        raise ValueError("trade whose side is not a boolean")
    return Trade(symbol, number, trade_time(moment), plain_decimal(price), plain_decimal(quantity), "sell" if maker else "buy")


def prices_of(trades: Sequence[Trade], books: Books) -> list[Tick]:
    """One price for each instrument with admitted trades and a known book: the newest trade's.

    Its volume is that of all these trades.
    """
    ticks = []
    for symbol in dict.fromkeys([trade[0] for trade in trades]):
        if symbol in books:
            by_id = {trade[1]: trade for trade in trades if trade[0] == symbol}
            newest = by_id[max(by_id)]
            bid, ask = books[symbol]
            ticks.append(Tick(symbol, bid=bid, ask=ask, mid=newest.price, time=newest.time, source=NAME, volume=_volume(by_id.values())))
    return ticks


def read_book(message: bytes, symbols: Collection[str]) -> tuple[str, str, str]:
    """Symbol, best bid and best ask of a book ticker. Raises `ValueError` for anything else."""
    try:
        data = orjson.loads(message)["data"]
        symbol, bid, ask = data["s"], plain_decimal(data["b"]), plain_decimal(data["a"])
        good = symbol in symbols and is_decimal(bid) and is_decimal(ask) and 0 < Decimal(bid) <= Decimal(ask)
    except (ValueError, KeyError, TypeError):
        good = False
    if not good:
        raise ValueError("useless book ticker")
    return symbol, bid, ask


def trade_time(moment: object) -> str:
    """Milliseconds (13 digits) or microseconds (16) since 1970 in contract form.

    Raises `ValueError` for anything else.
    """
    if type(moment) is int and (10**12 <= moment < 10**13 or 10**15 <= moment < 10**16):
        return _in_contract_form(str(moment))
    raise ValueError("no time in milliseconds or microseconds")


def _in_contract_form(digits: str) -> str:
    return f"{_second(digits[:10])}{digits[10:]}{'000Z' if len(digits) == 13 else 'Z'}"


@lru_cache(maxsize=128)
def _second(digits: str) -> str:
    return datetime.fromtimestamp(int(digits), UTC).strftime("%Y-%m-%dT%H:%M:%S.")


def _volume(trades: Iterable[Trade]) -> str:
    with localcontext(prec=100):
        return format(sum(map(Decimal, [trade[4] for trade in trades]), Decimal(0)), "f")
