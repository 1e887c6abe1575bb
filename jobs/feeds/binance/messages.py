"""Messages of Binance: from the bytes of trades and book tickers to trades and ticks. Pure.

Trades are read, not checked: that is the work of `db.admission`.

One regular expression reads a batch of trades in the usual form, several times as fast as a JSON
parser with checks, and proves all but symbols and window of the trades. They become the lines that
COPY reads, without an object for each trade. Messages of another form go through that parser, with
the same result.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal, localcontext
from functools import lru_cache
from itertools import islice
from operator import lt
from typing import Any

import orjson

from db.admission import NotAdmitted
from db.admitted import SAMPLED_TIMES, UsualBatch
from db.decimals import is_decimal, plain_decimal
from db.messages import Tick, Trade

NAME = "binance"
MARKET = "MARKET"  # `X` of a trade of two orders; others are the exchange's own, of the insurance fund for example
Books = Mapping[str, tuple[str, str]]  # symbol -> best bid, best ask
# Start of a stream's name in a message, and a position after its end.
_NAME_FROM, _NAME_TO = len('{"stream":"'), 64

_POSITIVE = rb"((?=[0.]*+[1-9])[0-9]{1,24}+(?:\.[0-9]{1,24}+)?+)"
_USUAL = re.compile(
    rb'^\{"stream":"[a-z0-9]++@trade","data":\{"e":"trade","E":[1-9][0-9]{0,17}+,"s":"([A-Z0-9]++)","t":(0|[1-9][0-9]{0,17}+),'
    rb'"p":"%b","q":"%b","T":([1-9][0-9]{9})([0-9]{3}(?:[0-9]{3})?+),"m":(true|false),"M":(?:true|false)\}\}\n' % (_POSITIVE, _POSITIVE),
    re.MULTILINE,
)
# The end of a line, by whether the buyer is the maker; that of its time, by the number of digits.
_SIDES = {b"true": b"sell", b"false": b"buy"}
_ZEROS = {3: b"000Z", 6: b"Z"}
_MINUTE = len("2025-11-18T12:34")
# symbol, id, price, quantity, second and fraction of the time, maker: the groups of `_USUAL`
_Found = tuple[bytes, bytes, bytes, bytes, bytes, bytes, bytes]


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


def read_trades(messages: Sequence[bytes], symbols: Collection[str], on_garbage: Callable[[ValueError], None]) -> UsualBatch | list[Trade]:
    """The trades of `symbols` among the messages, in order.

    `on_garbage` is called with the fault of every other message.
    """
    return read_usual(messages, symbols) or read_any(messages, symbols, on_garbage)


def read_usual(messages: Sequence[bytes], symbols: Collection[str]) -> UsualBatch | None:
    """The same as lines if every message is a trade in the usual form; else None."""
    text = b"\n".join((*messages, b""))
    found: list[_Found] = _USUAL.findall(text)
    if not found or not len(found) == len(messages) == text.count(b"\n"):
        return None
    groups: dict[bytes, list[_Found]] = {}
    for each in found:
        if each[0] in groups:
            groups[each[0]].append(each)
        else:
            groups[each[0]] = [each]
    names = {name: name.decode() for name in sorted(groups)}
    if not set(names.values()).issubset(symbols):
        return None
    seconds = {each[4] for each in found}
    batch = UsualBatch((_second(min(seconds).decode()), _second(max(seconds).decode())), _sampled(found))
    for name, symbol in names.items():
        _add_group(batch, symbol, groups[name])
    return batch


def _sampled(found: Sequence[_Found]) -> list[str]:
    """The times of some trades, evenly spread."""
    number = min(len(found), SAMPLED_TIMES)
    chosen = [found[place * len(found) // number] for place in range(number)]
    return [_in_contract_form((each[4] + each[5]).decode()) for each in chosen]


def _add_group(batch: UsualBatch, symbol: str, found: list[_Found]) -> None:
    """Add the trades of one symbol."""
    batch.counts[symbol] = len(found)
    batch.lines[symbol] = b"".join(
        [
            b"%b\t%b\t%b%b%b\t%b\t%b\t%b\n" % (name, number, _second_bytes(second), rest, _ZEROS[len(rest)], price, quantity, _SIDES[maker])
            for name, number, price, quantity, second, rest, maker in found
        ]
    )
    batch.marks.update((symbol, _second(second.decode())[:_MINUTE]) for second in {each[4] for each in found})
    ids = [int(each[1]) for each in found]
    newest = found[-1]
    if not all(map(lt, ids, islice(ids, 1, None))):  # one that is repeated counts once, as it was last
        by_id = dict(zip(ids, found, strict=True))
        newest, found = by_id[max(by_id)], list(by_id.values())
    _, number, price, quantity, second, rest, maker = newest
    time = _in_contract_form((second + rest).decode())
    batch.newest[symbol] = Trade(symbol, int(number), time, price.decode(), quantity.decode(), _SIDES[maker].decode())
    batch.volumes[symbol] = _volume([each[3].decode() for each in found])


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


def prices_of(trades: Sequence[Trade] | UsualBatch, books: Books) -> list[Tick]:
    """One price for each instrument with admitted trades and a known book: the newest trade's.

    Its volume is that of all these trades.
    """
    if isinstance(trades, UsualBatch):
        newest, volumes = trades.newest, trades.volumes
    else:
        newest, volumes = _newest(trades)
    ticks = []
    for symbol, trade in newest.items():
        if symbol in books:
            bid, ask = books[symbol]
            ticks.append(Tick(symbol, bid=bid, ask=ask, mid=trade.price, time=trade.time, source=NAME, volume=volumes[symbol]))
    return ticks


def _newest(trades: Sequence[Trade]) -> tuple[dict[str, Trade], dict[str, str]]:
    """The newest trade of each symbol, and the volume of all its trades."""
    by_symbol: dict[str, dict[int, Trade]] = {}
    for trade in trades:
        by_symbol.setdefault(trade[0], {})[trade[1]] = trade
    newest = {symbol: by_id[max(by_id)] for symbol, by_id in by_symbol.items()}
    return newest, {symbol: _volume([trade[4] for trade in by_id.values()]) for symbol, by_id in by_symbol.items()}


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


@lru_cache(maxsize=128)
def _second_bytes(digits: bytes) -> bytes:
    return _second(digits.decode()).encode()


def _volume(quantities: Iterable[str]) -> str:
    with localcontext(prec=100):
        return format(sum(map(Decimal, quantities), Decimal(0)), "f")
