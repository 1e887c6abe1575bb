"""Messages of Binance: every valid trade is read to its last digit, invalid ones are counted."""

from __future__ import annotations

import gzip
import json
import logging
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from functools import cache
from itertools import islice
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config.pacing import Stopped
from config.settings import SourceSpec, load
from db.admission import Windows, open_windows
from db.admitted import SAMPLED_TIMES, UsualBatch, admit_trades
from db.messages import Tick, Trade, trade_lines
from db.timestamps import format_time
from jobs.feeds.base import SourceError
from jobs.feeds.binance.history import Weight
from jobs.feeds.binance.messages import (
    is_shutdown_notice,
    prices_of,
    read_any,
    read_book,
    read_usual,
    split,
    trade_in,
    trade_of,
    trade_time,
)
from jobs.feeds.binance.stream import BinanceSource, ReceivedBatch
from jobs.feeds.context import SourceContext
from jobs.feeds.source_admission import SourceAdmission
from jobs.feeds.status import Status
from jobs.venues import build
from tests.standins.binance_market import RECORDINGS, combined
from tests.standins.binance_streams import GARBAGE
from tests.support.fake_time import FakeTime
from tests.support.instruments import make_instrument

SYMBOLS = ("BTCUSDT", "ETHUSDT")
BOOKS = {"BTCUSDT": ("61837.63000000", "61837.64000000")}
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def source(**options: Any) -> BinanceSource:
    return BinanceSource("ws://127.0.0.1:1", SYMBOLS, SYMBOLS, **options)


def message(**changes: Any) -> bytes:
    """Return a trade as the exchange sends it, with changed fields; None leaves a field out."""
    fields = {"e": "trade", "E": 1723161255343, "s": "BTCUSDT", "t": 7, "p": "61837.63000000", "q": "0.02000000", "T": 1723161255342}
    fields |= {"m": True, "M": True, **changes}
    return combined("btcusdt@trade", {name: value for name, value in fields.items() if value is not None})


def trades_in(feed: BinanceSource, raw: ReceivedBatch) -> list[Trade]:
    """Return the trades of an arrival; those in the usual form are grouped by symbol."""
    return list(feed.parse(raw))


def ticks_in(feed: BinanceSource, raw: ReceivedBatch) -> list[Tick]:
    return feed.prices(raw, feed.parse(raw))


def admitted(said: Sequence[Trade]) -> list[Trade]:
    """Those that `db.admission` takes at the end of the last year of times in milliseconds."""
    windows = open_windows("live", dict.fromkeys(SYMBOLS, "crypto"), datetime(2286, 12, 31, tzinfo=UTC))
    early = {symbol: replace(window, earliest="2001-09-09T01:46:40.000000Z") for symbol, window in windows.items()}
    return list(admit_trades(said, Windows(early), lambda trade, error: None))


# the recording


@cache
def recording(symbol: str) -> Sequence[bytes]:
    with gzip.open(RECORDINGS[symbol], "rb") as lines:
        return [line.strip().partition(b" ")[2] for line in lines]


@pytest.mark.parametrize("symbol", SYMBOLS)
def test_recorded_trades_keep_every_digit(symbol: str) -> None:
    trades: list[Trade] = []
    feed, told = source(), [json.loads(text) for text in recording(symbol)]
    for text in recording(symbol):
        trades += trades_in(feed, ReceivedBatch((text,), {}))
    expected = [each["data"] for each in told if each.get("stream", "").endswith("@trade")]
    assert len(expected) > 6000
    assert trades == [
        Trade(symbol, each["t"], text_of(each["T"] * 1000), each["p"], each["q"], "sell" if each["m"] else "buy") for each in expected
    ]
    # The rest of the recording is order books, which this source does not request.
    assert sum(feed.garbage.values()) == sum(not each.get("stream", "").endswith("@trade") for each in told)


@pytest.mark.parametrize(
    ("fields", "ids"),
    [
        ({}, (None, None)),
        ({"b": 88, "a": 50}, (88, 50)),
        ({"b": 0, "a": 2**63 - 1}, (0, 2**63 - 1)),
        ({"b": 88}, (88, None)),
        ({"b": "88", "a": 50}, (None, 50)),
        ({"b": True, "a": 50.0}, (None, None)),
        ({"b": -1, "a": 2**63}, (None, None)),
    ],
)
def test_older_messages_have_the_ids_of_both_orders(fields: dict[str, object], ids: tuple[int | None, int | None]) -> None:
    message = {"s": "BTCUSDT", "t": 7, "p": "1.0", "q": "2.0", "T": 1723161255342, "m": True, **fields}
    trade = trade_in(message)
    assert (trade.buyer_order_id, trade.seller_order_id) == ids
    assert admitted([trade]) == [trade]


@pytest.mark.parametrize("size", [1, 37, 1000])
def test_batch_makes_one_price_with_the_newest_book(size: int) -> None:
    feed, lines = source(), iter([text for text in recording("ETHUSDT") if b"@depth" not in text[:40] and b'"stream"' in text[:10]])
    book: tuple[str, str] | None = None
    ticks = 0
    while received := list(islice(lines, size)):
        told = [json.loads(text)["data"] for text in received]
        trades = [each for each in told if "t" in each]
        for each in told:
            book = (each["b"], each["a"]) if "b" in each else book
        messages, newest, _ = split(received)
        said = ticks_in(feed, ReceivedBatch(messages, {} if book is None else {"ETHUSDT": book}))
        assert feed._read_books(newest) == ({"ETHUSDT": book} if newest else {})
        assert len(said) == (1 if trades and book else 0)
        for tick in said:
            last = trades[-1]
            assert (tick.instrument, tick.mid, tick.time, tick.source) == ("ETHUSDT", last["p"], text_of(last["T"] * 1000), "binance")
            assert (tick.bid, tick.ask) == book
            assert Decimal(tick.volume or "") == sum(Decimal(each["q"]) for each in trades)
        ticks += len(said)
    assert ticks > 20
    assert not feed.garbage


def text_of(microseconds: int) -> str:
    return format_time(EPOCH + timedelta(microseconds=microseconds))


# what is made of messages


def test_trade_without_a_book_makes_no_price() -> None:
    raw = ReceivedBatch((message(),), {})
    assert ticks_in(source(), raw) == []
    assert trades_in(source(), raw) == [Trade("BTCUSDT", 7, "2024-08-08T23:54:15.342000Z", "61837.63000000", "0.02000000", "sell")]


def test_book_without_a_trade_makes_no_price() -> None:
    assert trades_in(source(), ReceivedBatch((), BOOKS)) == []
    assert ticks_in(source(), ReceivedBatch((), BOOKS)) == []


def test_newest_trade_makes_the_price_in_any_order() -> None:
    burst = (
        message(t=8, p="2.0", q="0.1", T=1723161255343),
        message(t=9, p="3.0", q="0.2", T=1723161255344),
        message(t=7, p="1.0", q="0.3"),
    )
    assert ticks_in(source(), ReceivedBatch((*burst, burst[1]), BOOKS)) == [
        Tick("BTCUSDT", *BOOKS["BTCUSDT"], mid="3.0", time="2024-08-08T23:54:15.344000Z", source="binance", volume="0.6")
    ]


def test_exponents_of_trades_and_books_become_plain_digits() -> None:
    [trade] = trades_in(source(), ReceivedBatch((message(p="6.1837e4", q="2E-2"),), {}))
    assert (trade.price, trade.quantity) == ("61837", "0.02")
    item = {"id": 7, "price": "1.5E+3", "qty": "1e-23", "time": 1723161255342, "isBuyerMaker": True}
    past = trade_of("BTCUSDT", *(item[name] for name in ("id", "price", "qty", "time", "isBuyerMaker")))
    assert (past.price, past.quantity) == ("1500", "0.00000000000000000000001")
    book = b'{"stream":"btcusdt@bookTicker","data":{"s":"BTCUSDT","b":"6.18e4","a":"61801"}}'
    assert read_book(book, {"BTCUSDT"}) == ("BTCUSDT", "61800", "61801")


def test_parse_is_pure() -> None:
    feed, raw = source(), ReceivedBatch((message(), b"not json", message(t=8, m=False)), BOOKS)
    first = trades_in(feed, raw)
    feed.parse(ReceivedBatch((message(t=99, p="1.0"),), {"BTCUSDT": ("1.0", "2.0")}))
    assert trades_in(feed, raw) == first
    assert [trade.side for trade in first] == ["sell", "buy"]


@given(st.integers(10**12, 10**13 - 1))
def test_trade_time_reads_milliseconds(moment: int) -> None:
    assert trade_time(moment) == text_of(moment * 1000)


@given(st.integers(10**15, 10**16 - 1))
def test_trade_time_reads_microseconds(moment: int) -> None:
    assert trade_time(moment) == text_of(moment)


@given(st.one_of(st.integers(max_value=10**12 - 1), st.integers(10**13, 10**15 - 1), st.integers(min_value=10**16), st.floats(), st.text()))
def test_trade_time_refuses_other_values(moment: Any) -> None:
    with pytest.raises(ValueError, match="no time"):
        trade_time(moment)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b'{"e":"serverShutdown","E":1770123456789}', True),
        (b'{"stream":"!serverShutdown","data":{"e":"serverShutdown","E":1770123456789}}', True),
        (b'{"stream":"!serverShutdown","data":{"e":"somethingElse"}}', False),
        (b'{"stream":"!serverShutdown","data":[]}', False),
        (b'{"stream":"!serverShutdown","da', False),
        (b'["serverShutdown"]', False),
        (message(), False),
    ],
)
def test_shutdown_notice_is_recognised_and_not_counted_as_garbage(text: bytes, expected: bool) -> None:
    feed = source()
    assert is_shutdown_notice(text) is expected
    feed.parse(ReceivedBatch((text,), {}))
    assert bool(feed.garbage) is (not expected and text != message())


# garbage

_BAD_DECIMAL: st.SearchStrategy[Any] = st.sampled_from(
    ["-1.0", "0", "0.000", "1e24", "0e5", "", ".5", "1.", "NaN", "١.0", "1,0", "1.0\n", 1, 1.5, True, [], {}, None]
)
_BAD: dict[str, st.SearchStrategy[Any]] = {
    "e": st.sampled_from(["aggTrade", None, 1, []]),
    "s": st.sampled_from(["DOGEUSDT", "btcusdt", "", None, 1, [], {}, "BTCUSDT\t"]),
    "t": st.sampled_from(["7", -1, 2**63, 1.0, True, None, [], {}]),
    "p": _BAD_DECIMAL,
    "q": _BAD_DECIMAL,
    "T": st.sampled_from(["1723161255342", 0, -1, 1723161255, 1.5, True, None, [], {}]),
    "m": st.sampled_from([1, 0, "true", None, [], {}]),
}
_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)
_garbage = st.one_of(
    st.binary(max_size=80),
    st.sampled_from(GARBAGE),
    _json.map(lambda value: json.dumps(value).encode()),
    _json.map(lambda value: json.dumps({"stream": "btcusdt@trade", "data": value}).encode()),
    st.integers(0, len(message()) - 1).map(lambda size: message()[:size]),
    st.sampled_from(sorted(_BAD)).flatmap(lambda name: _BAD[name].map(lambda value: message(**{name: value}))),
)
_price = st.from_regex(r"(0|[1-9][0-9]{0,9})\.[0-9]{0,7}[1-9]", fullmatch=True)
_trade = st.builds(
    Trade,
    st.sampled_from(SYMBOLS),
    st.integers(0, 2**63 - 1),
    st.integers(10**15, 10**16 - 1).map(text_of),
    _price,
    _price,
    st.sampled_from(["buy", "sell"]),
    st.none(),  # the usual messages have no ids of orders
    st.none(),
)


def sent(trade: Trade) -> bytes:
    moment = (datetime.fromisoformat(trade.time) - EPOCH) // timedelta(microseconds=1)
    return message(s=trade.symbol, t=trade.trade_id, p=trade.price, q=trade.quantity, T=moment, m=trade.side == "sell")


@given(st.lists(_trade | _garbage))
def test_garbage_between_trades_loses_no_trade(arrived: list[Trade | bytes]) -> None:
    received = [sent(each) if isinstance(each, Trade) else each for each in arrived]
    good = [each for each in arrived if isinstance(each, Trade)]
    feed = source()
    messages, books, _ = split(received)
    assert feed._read_books(books) == {}
    said = trades_in(feed, ReceivedBatch(messages, BOOKS))
    if len(good) == len(received) and all(trade.trade_id < 10**18 for trade in good):
        good = sorted(good, key=lambda trade: trade.symbol)
    assert admitted(said) == good
    assert sum(feed.garbage.values()) == len(messages) + len(books) - len(said)
    assert {tick.instrument for tick in feed.prices(ReceivedBatch(messages, BOOKS), admitted(said))} == {
        trade.symbol for trade in good
    } & BOOKS.keys()


def touched(trade: Trade, at: int, removed: int, put: bytes) -> bytes:
    """Return a message with a small fault, or without one."""
    text = sent(trade)
    return text[:at] + put + text[at + removed :]


_PUT = [b"", b"0", b"7", b"-", b".", b"e", b" ", b"\n", b'"', b",", b"}", b"\xc3\xa4", b"\xff", b"true", b"a", b"BTCUSDT"]
_touched = st.builds(touched, _trade, st.integers(0, 230), st.integers(0, 3), st.sampled_from(_PUT))


def check_batch(batch: UsualBatch, trades: list[Trade]) -> None:
    """Compare a batch with its trades, which were read one by one."""
    assert list(batch) == sorted(trades, key=lambda trade: trade.symbol)
    assert b"".join(batch.lines.values()) == trade_lines(list(batch))
    assert list(batch.lines) == sorted(batch.lines)
    assert len(batch) == len(trades)
    assert batch.counts == Counter(trade.symbol for trade in trades)
    assert batch.marks == {(trade.symbol, trade.time[:16]) for trade in trades}
    assert batch.earliest[:19] == min(trade.time for trade in trades)[:19]
    assert batch.latest[:19] == max(trade.time for trade in trades)[:19]
    number = min(len(trades), SAMPLED_TIMES)
    assert batch.times == [trades[place * len(trades) // number].time for place in range(number)]
    for symbol in batch.lines:
        by_id = {trade.trade_id: trade for trade in trades if trade.symbol == symbol}
        assert batch.newest[symbol] == by_id[max(by_id)]
        assert Fraction(batch.volumes[symbol]) == sum(Fraction(trade.quantity) for trade in by_id.values())
    books = dict.fromkeys(batch.lines, ("1", "2"))
    assert sorted(prices_of(batch, books), key=lambda tick: tick.instrument) == sorted(
        prices_of(trades, books), key=lambda tick: tick.instrument
    )


@given(st.lists(_trade.filter(lambda trade: trade.trade_id < 10**18), min_size=1))
def test_trades_in_the_usual_form_take_the_fast_path(trades: list[Trade]) -> None:
    quick = read_usual([sent(trade) for trade in trades], SYMBOLS)
    assert quick is not None
    check_batch(quick, trades)


_FIELDS = {
    "t": st.sampled_from([0, 7, -1, 10**17, 10**18 - 1, 10**18, 2**63 - 1, 2**63, True, 7.0, "7", None]),
    "p": st.sampled_from(["0.01", "1", "1.0", "007.5", "0", "0.000", "1" * 24, "1" * 25, f"0.{'0' * 23}1", f"0.{'0' * 24}1", 1.5])
    | _BAD_DECIMAL,
    "q": st.sampled_from(["0.01", "1", f"{'9' * 24}.{'9' * 24}", "00", "0.", ".1"]) | _BAD_DECIMAL,
    "T": st.sampled_from([10**12 - 1, 10**12, 10**13 - 1, 10**13, 10**15 - 1, 10**15, 10**16 - 1, 10**16, True, "1723161255342", None]),
    "m": st.sampled_from([True, False, 1, 0, "true", None]),
}


@settings(max_examples=150)
@given(st.fixed_dictionaries({}, optional=_FIELDS))
def test_fast_path_accepts_only_trades_that_trade_of_accepts(changes: dict[str, Any]) -> None:
    given = {"t": 7, "p": "61837.63", "q": "0.02", "T": 1723161255342, "m": True, **changes}
    try:
        expected = trade_of("BTCUSDT", given["t"], given["p"], given["q"], given["T"], given["m"])
    except ValueError:
        expected = None
    quick = read_usual([message(**given)], SYMBOLS)
    assert quick is None or list(quick) == [expected]
    if expected is not None and expected.trade_id < 10**18 and admitted([expected]):
        assert quick is not None


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"price": None}, "price"),
        ({"price": 1.5, "quantity": "x"}, "price"),
        ({"quantity": 2}, "quantity"),
        ({"number": True}, "id"),
        ({"number": 7.0, "maker": 1}, "id"),
        ({"maker": "true"}, "side"),
        ({"moment": 172316125534}, "time"),
        ({"moment": True}, "time"),
    ],
)
def test_trade_of_names_the_first_invalid_field(changes: dict[str, Any], field: str) -> None:
    valid = {"number": 7, "price": "1.5", "quantity": "2", "moment": 1723161255342, "maker": True}
    assert trade_of("BTCUSDT", **valid) == Trade("BTCUSDT", 7, "2024-08-08T23:54:15.342000Z", "1.5", "2", "sell")
    with pytest.raises(ValueError, match=field):
        trade_of("BTCUSDT", **{**valid, **changes})


@settings(max_examples=150)
@given(st.lists(_touched, min_size=1, max_size=3) | st.lists(_trade.map(sent) | _touched | _garbage, max_size=5))
def test_fast_path_equals_the_slow_path(messages: list[bytes]) -> None:
    garbage: list[ValueError] = []
    slow = read_any(messages, SYMBOLS, garbage.append)
    quick = read_usual(messages, SYMBOLS)
    if quick is not None:
        assert garbage == []
        check_batch(quick, slow)


@pytest.mark.parametrize(
    "messages",
    [
        [message().replace(b'"t":7', b'"t":07')],
        [message().replace(b'"E":', b'"E":0')],
        [message(p="1e3")],
        [message(q="-1")],
        [message(), b"not json", message() + b"\n" + message()],
        [b"", message() + b"\n" + message()],
        [b" " + message()],
        [message() + b"]"],
        [message(t=2**63 - 1)],
        [message(s="DOGEUSDT")],
        [],
    ],
)
def test_messages_similar_to_the_usual_form_take_the_slow_path(messages: list[bytes]) -> None:
    assert read_usual(messages, SYMBOLS) is None


@pytest.mark.parametrize("symbol", SYMBOLS)
def test_recorded_messages_are_in_the_usual_form(symbol: str) -> None:
    sent_ones = [text for text in recording(symbol) if b'@trade"' in text[:40]]
    assert len(read_usual(sent_ones, SYMBOLS) or ()) == len(sent_ones) > 6000


def test_garbage_of_one_kind_is_logged_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    clock, feed = FakeTime(), source()
    status = Status("binance", clock.utc, threading.Event())
    admission = SourceAdmission(status, dict.fromkeys(SYMBOLS, "crypto"), clock.utc, monotonic=clock.monotonic)
    feed.note_bad = admission.note_bad
    with caplog.at_level(logging.WARNING):
        for _ in range(100):
            feed.parse(ReceivedBatch((b"not json", b"[]", b"{"), {}))
        assert [(vars(record)["kind"], vars(record)["reason"]) for record in caplog.records] == [("unreadable", "not JSON")]
        clock.wait(61)
        feed.parse(ReceivedBatch((b"not json",), {}))
    assert [vars(record)["count"] for record in caplog.records] == [1, 300]
    assert status.report()["refused"] == {"unreadable": 301}


# settings


def test_unknown_symbol_is_a_fatal_error_that_names_it() -> None:
    settings = load({"SOURCES": "binance", "BINANCE_SYMBOLS": "btcusdt,DOGEUSDT,EUR_USD"}, dotenv=None)
    instruments = [make_instrument("BTCUSDT", "Bitcoin", "crypto", 2, "binance"), make_instrument("EUR_USD", "Euro", "fx", 5, "oanda")]
    feed = build(SourceSpec("binance"), SourceContext(settings, instruments, {}, FakeTime().utc))
    with pytest.raises(SourceError, match="DOGEUSDT, EUR_USD") as caught:
        next(feed.fetch(threading.Event()))
    assert caught.value.fatal
    assert "BTCUSDT" not in str(caught.value)


def test_unreachable_exchange_is_a_transient_error() -> None:
    with pytest.raises(SourceError) as caught:
        next(source().fetch(threading.Event()))
    assert not caught.value.fatal


# the exchange's allowance


def test_request_waits_a_minute_if_the_allowance_is_nearly_used_up() -> None:
    clock = FakeTime()
    weight = Weight(most=5000, monotonic=clock.monotonic)
    for used in ("", "nonsense", "5000"):
        weight.note_headers({"X-MBX-USED-WEIGHT-1M": used})
        weight.wait(clock)
    assert clock.waits == []
    weight.note_headers({"X-MBX-USED-WEIGHT-1M": "5001"})
    weight.wait(clock)
    weight.wait(clock)
    assert clock.waits == [60]


def test_stop_ends_the_wait_for_the_allowance() -> None:
    clock = FakeTime(until=10)
    weight = Weight(monotonic=clock.monotonic)
    weight.note_headers({"X-MBX-USED-WEIGHT-1M": "5999"})
    with pytest.raises(Stopped):
        weight.wait(clock)
