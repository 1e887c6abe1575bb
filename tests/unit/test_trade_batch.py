"""Batches of trades as text: minutes and rising ids, compared with the rows themselves."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from db.messages import Trade, TradeLines, mark_lines, trade_lines
from db.trade_batch import TradeBatch

SYMBOLS = ("BTCUSDT", "ETHUSDT", "XRPUSDT")


def trade(symbol: str, number: int, second: int, buyer: int | None = None) -> Trade:
    time = f"2024-08-08T{second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}.000000Z"
    return Trade(symbol, number, time, "61837.61000000", "2.59751000", "sell", buyer)


_trades = st.lists(
    st.builds(
        trade,
        st.sampled_from(SYMBOLS),
        st.integers(0, 2**63 - 1) | st.integers(0, 9),
        st.integers(0, 86_399) | st.integers(0, 90),
        st.none() | st.none() | st.integers(0, 9),
    ),
    min_size=1,
)


def check(trades: list[Trade]) -> TradeBatch:
    """Compare a batch with its trades; return it."""
    batch = TradeBatch(trade_lines(trades))
    assert len(batch) == len(trades)
    assert batch.minutes == {(each.symbol, each.time[:16]) for each in trades}
    assert [row[:3] for row in batch.rows()] == [each[:3] for each in sorted(trades, key=lambda each: each.symbol)]
    assert b"".join(line + b"\n" for *_, line in batch.rows()) == batch.lines
    ids = {symbol: [each.trade_id for each in trades if each.symbol == symbol] for symbol in {each.symbol for each in trades}}
    times = {each.symbol: each.time for each in trades}
    if all(numbers == sorted(set(numbers)) for numbers in ids.values()):
        assert batch.climbs is not None
        found = {symbol: (climb.first_id, climb.last_id, climb.last_time.decode()) for symbol, climb in batch.climbs.items()}
        assert found == {symbol: (numbers[0], numbers[-1], times[symbol]) for symbol, numbers in ids.items()}
    else:
        assert batch.climbs is None
    return batch


@given(_trades)
def test_batch_has_the_minutes_and_climbs_of_its_trades(trades: list[Trade]) -> None:
    check(trades)


@given(st.lists(_trades, max_size=5), st.data())
def test_parts_grouped_or_not_make_the_same_batch_as_one_text(parts: list[list[Trade]], data: st.DataObject) -> None:
    texts = [trade_lines(data.draw(st.sampled_from([part, sorted(part, key=lambda each: each.symbol)]))) for part in parts]
    whole, batch = TradeBatch(trade_lines(each for part in parts for each in part)), TradeBatch(*texts)
    assert (batch.lines, batch.columns, batch.minutes, batch.climbs) == (whole.lines, whole.columns, whole.minutes, whole.climbs)


@given(_trades)
def test_marks_of_the_publisher_are_the_minutes_of_the_lines(trades: list[Trade]) -> None:
    scanned = TradeBatch(trade_lines(trades))
    fields = {b"trades": b"%d" % len(trades), b"lines": trade_lines(trades), b"admitted": b"1"}
    assert TradeLines.of(b"1-0", fields).marks is None
    entry = TradeLines.of(b"1-0", {**fields, b"marks": mark_lines(scanned.minutes)})
    assert entry.marks == scanned.minutes
    assert TradeBatch(entry.lines, marks=entry.marks).minutes == scanned.minutes
    assert TradeLines.of(b"1-0", {**fields, b"marks": mark_lines(scanned.minutes)[:-2]}).marks is None
    with pytest.raises(ValueError, match="marks"):
        TradeBatch(entry.lines, marks={*scanned.minutes, ("DOGEUSDT", "2024-08-08T00:00")})


@pytest.mark.parametrize("symbols", [("A", "AB", "A"), ("AB", "A", "AB"), ("B", "A", "A\\tB")])
def test_symbols_that_begin_alike_are_kept_apart(symbols: tuple[str, ...]) -> None:
    batch = TradeBatch(*(trade_lines([trade(symbol, number, 0)]) for number, symbol in enumerate(symbols)))
    assert [row[:2] for row in batch.rows()] == sorted(((symbol, number) for number, symbol in enumerate(symbols)), key=lambda row: row[0])


@given(_trades)
def test_ids_that_rise_are_climbs(trades: list[Trade]) -> None:
    distinct = {(each.symbol, each.trade_id): each for each in trades}.values()
    assert check(sorted(distinct, key=lambda each: each.trade_id)).climbs is not None


@pytest.mark.parametrize("late", [0, 1, 4_500, 8_999])
def test_id_that_falls_in_any_piece_of_a_long_batch_is_found(late: int) -> None:
    trades = [trade(SYMBOLS[number % 2], 10 + number, number) for number in range(9_000)]
    assert check(trades).climbs is not None
    trades[late] = trades[late]._replace(trade_id=9 if late > 1 else 9_999)
    assert check(trades).climbs is None


@pytest.mark.parametrize("column", [True, False])
def test_lines_have_order_ids_if_one_trade_has_them(column: bool) -> None:
    batch = check([trade("BTCUSDT", 1, 0), trade("BTCUSDT", 2, 1, 7 if column else None)])
    assert batch.columns.endswith("buyer_order_id, seller_order_id") is column
    assert batch.lines.splitlines()[0].count(b"\t") == (7 if column else 5)


@pytest.mark.parametrize(
    "lines",
    [
        b"no line of a trade\n",
        b"BTCUSDT\tx\t2024-08-08T00:00:00.000000Z\t1\t1\tbuy\n",
        b"BTCUSDT\t1\t2024-08-08T00:00:00.000000Z\t1\t1\n",
        b"BTC\xff\t1\t2024-08-08T00:00:00.000000Z\t1\t1\tbuy\n",
        b"\n",
    ],
)
def test_text_that_is_no_line_of_a_trade_is_refused(lines: bytes) -> None:
    with pytest.raises(ValueError, match=r".*"):
        TradeBatch(lines)
