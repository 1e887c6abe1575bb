"""Formats of recorded files: recognition, records and refusals.

`tests/data/formats` has one hand-made file per row of the table of formats, in the layout that its
vendor publishes. The right records stand here, computed by hand: most files have the same three
quotes or candles of 2026-03-02, 09:00 UTC.
"""

from __future__ import annotations

import gzip
import io
import zipfile
from pathlib import Path

import pytest

from db.messages import Trade
from jobs.feeds.base import SourceError
from jobs.feeds.files.formats import first_look
from jobs.feeds.files.formats.columns import parse_columns
from jobs.feeds.files.formats.detect import FORMATS, NAMES, detect, head_of
from jobs.feeds.files.formats.model import (
    AmbiguousDate,
    BadOptionValue,
    Candle,
    FileRefused,
    Item,
    Line,
    MissingColumns,
    MostlyBad,
    NoInterval,
    NoPriceYet,
    Options,
    PartOfMinute,
    Quote,
    Recognised,
    UnknownFormat,
    UnknownInstrument,
    ZoneMissing,
)
from jobs.feeds.files.text_files import text_lines

SAMPLES = Path(__file__).parents[1] / "data" / "formats"
INSTRUMENTS = ["EUR_USD", "GBP_USD", "BTCUSDT", "AAPL"]
BROKER = "America/New_York+07:00"

NONE = "-"

TICKS = [
    "EUR_USD 09:00:00.123000 1.08500/1.08514 - -",
    "EUR_USD 09:00:00.623000 1.08501/1.08515 - -",
    "EUR_USD 09:00:01.000000 1.08499/1.08512 - -",
]
TICKS_OF_SIX_DIGITS = [
    "EUR_USD 09:00:00.123000 1.085000/1.085140 - -",
    "EUR_USD 09:00:00.623000 1.085010/1.085150 - -",
    "EUR_USD 09:00:01.000000 1.084990/1.085120 - -",
]
BARS = [
    "EUR_USD 09:00 1.08500 1.08512 1.08496 1.08505 bid - ask - volume 312 trades -",
    "EUR_USD 09:01 1.08505 1.08510 1.08490 1.08491 bid - ask - volume 288 trades -",
    "EUR_USD 09:02 1.08491 1.08500 1.08491 1.08499 bid - ask - volume 150 trades -",
]
DUKASCOPY_BARS = [
    line.replace(f"volume {ticks} ", f"volume {volume} ")
    for line, ticks, volume in zip(BARS, ("312", "288", "150"), ("121.4", "98.25", "40.0"), strict=True)
]
HISTDATA_BARS = [
    "EUR_USD 09:00 1.085000 1.085120 1.084960 1.085050 bid - ask - volume 0 trades -",
    "EUR_USD 09:01 1.085050 1.085100 1.084900 1.084910 bid - ask - volume 0 trades -",
    "EUR_USD 09:02 1.084910 1.085000 1.084910 1.084990 bid - ask - volume 0 trades -",
]
BIDS = ["1.08500 1.08590 1.08450 1.08512", "1.08512 1.08600 1.08500 1.08550", "1.08550 1.08560 1.08410 1.08430"]
ASKS = ["1.08514 1.08604 1.08464 1.08526", "1.08526 1.08614 1.08514 1.08564", "1.08564 1.08574 1.08424 1.08444"]
MIDS = ["1.08507 1.08597 1.08457 1.08519", "1.08519 1.08607 1.08507 1.08557", "1.08557 1.08567 1.08417 1.08437"]
HOURS = ["EUR_USD 09:00", "EUR_USD 10:00", "EUR_USD 11:00"]
COUNTS = ["volume 2104 trades 2104", "volume 1987 trades 1987", "volume 2250 trades 2250"]
TRADES = [
    "BTCUSDT 501 09:00:00.123000 65000.10000000 0.00200000 sell",
    "BTCUSDT 502 09:00:00.623000 65000.20000000 0.01000000 buy",
    "BTCUSDT 503 09:00:01.000000 64999.90000000 0.00500000 sell",
]

# Name of the sample -> kind, interval, zone and records.
EXPECTED: dict[str, tuple[str, str | None, str, list[str]]] = {
    "EUR_USD.tickwire.csv": ("ticks", None, "UTC", TICKS),
    "EUR_USD_1h.tickwire.csv": (
        "candles", "1h", "UTC",
        [
            "EUR_USD 09:00 1.08500 1.08590 1.08450 1.08512 bid - ask - volume 2104 trades 2104",
            "EUR_USD 10:00 1.08512 1.08600 1.08500 1.08550 bid - ask - volume 1987 trades 1987",
            "EUR_USD 11:00 1.08550 1.08560 1.08410 1.08430 bid - ask - volume 2250 trades -",
            "EUR_USD 12:00 1.08430 1.08440 1.08420 1.08432 bid - ask - volume 14 trades 14 forming",
        ],
    ),
    "EUR_USD.tickwire.ndjson": (
        "ticks", None, "UTC",
        [
            "EUR_USD 09:00:00.123000 1.08500/1.08514 1.08507 12",
            "EUR_USD 09:00:00.623000 1.08501/1.08515 1.08508 -",
            "EUR_USD 09:00:01.000000 1.08499/1.08512 1.085055 3",
        ],
    ),
    "EUR_USD_H1.oanda.csv": (
        "candles", "1h", "UTC",
        [f"{hour} {mid} bid {bid} ask {ask} {count}" for hour, mid, bid, ask, count in zip(HOURS, MIDS, BIDS, ASKS, COUNTS, strict=True)],
    ),
    "EUR_USD.oanda.json": (
        "candles", None, "UTC",
        [
            *(f"{hour} - bid {bid} ask {ask} {count} 1h" for hour, bid, ask, count in zip(HOURS, BIDS, ASKS, COUNTS, strict=True)),
            "EUR_USD 12:00 - bid - ask - volume - trades - forming 1h",
        ],
    ),
    "BTCUSDT.binance-messages.txt": ("trades", None, "UTC", TRADES),
    "BTCUSDT-1m-2026-03-02.binance-klines.csv": (
        "candles", "1m", "UTC",
        [
            "BTCUSDT 09:00 65000.10000000 65020.00000000 64990.00000000 65010.00000000 bid - ask - volume 12.50000000 trades 310",
            "BTCUSDT 09:01 65010.00000000 65015.00000000 64980.00000000 64985.50000000 bid - ask - volume 8.25000000 trades 205",
            "BTCUSDT 09:02 64985.50000000 65001.00000000 64985.50000000 65000.00000000 bid - ask - volume 3.00000000 trades 88",
        ],
    ),
    "BTCUSDT-trades-2026-03-02.binance-trades.csv": (
        "trades", None, "UTC", [TRADES[0].replace(".123000", ".123456"), *TRADES[1:]],
    ),
    "BTCUSDT-aggTrades-2026-03-02.binance-aggtrades.csv": (
        "candles", "1m", "UTC",
        [
            "BTCUSDT 09:00 65000.1 65000.2 65000.1 65000.2 bid - ask - volume 0.012 trades 4",
            "BTCUSDT 09:01 64999.9 65002.0 64999.9 65002.0 bid - ask - volume 1.005 trades 6",
            "BTCUSDT 09:02 65001.0 65001.0 65001.0 65001.0 bid - ask - volume 0.250 trades 1",
        ],
    ),
    "EURUSD.metatrader5-ticks.csv": (
        "ticks", None, BROKER,
        [
            "NoPriceYet",
            "EUR_USD 09:00:00.123000 1.08500/1.08514 - -",
            "EUR_USD 09:00:00.623000 1.08501/1.08514 - -",
            "EUR_USD 09:00:01.000000 1.08501/1.08512 - -",
        ],
    ),
    "EURUSD_M1.metatrader5-bars.csv": ("candles", "1m", BROKER, BARS),
    "EURUSD_M1.metatrader4-bars.csv": ("candles", "1m", BROKER, BARS),
    "EURUSD.metatrader4-ticks.csv": ("ticks", None, BROKER, TICKS),
    "DAT_ASCII_EURUSD_T_202603.histdata-ticks.csv": ("ticks", None, "UTC-05:00", TICKS_OF_SIX_DIGITS),
    "DAT_ASCII_EURUSD_M1_202603.histdata-m1.csv": ("candles", "1m", "UTC-05:00", HISTDATA_BARS),
    "EURUSD_Ticks_02.03.2026.dukascopy-ticks.csv": ("ticks", None, "UTC", TICKS),
    "EURUSD_Candlestick_1_M_BID_02.03.2026.dukascopy-bars.csv": ("candles", None, "EET", DUKASCOPY_BARS),
    "EURUSD-2026-03.truefx.csv": ("ticks", None, "UTC", TICKS),
    "EUR_USD.ticks.csv": (
        "ticks", None, "UTC", [TICKS[0][:-1] + "12", TICKS[1], TICKS[2][:-1] + "3"],
    ),
    "AAPL.ohlc.csv": (
        "candles", None, "UTC",
        [
            "AAPL 00:00 264.30 266.10 263.05 265.20 bid - ask - volume 48211000 trades -",
            "AAPL 03T00:00 265.00 267.45 264.80 267.00 bid - ask - volume 39120500 trades -",
            "AAPL 04T00:00 266.90 268.00 262.40 263.10 bid - ask - volume 52340100 trades -",
        ],
    ),
}  # fmt: skip
samples = pytest.mark.parametrize("name", EXPECTED)


def format_of(name: str) -> str:
    return name.split(".")[-2]


def text_of(found: object) -> str:
    """A record in the notation of `EXPECTED`; the day is left out if it is 2026-03-02."""
    if isinstance(found, ValueError):
        return type(found).__name__
    if isinstance(found, Trade):
        return f"{found.symbol} {found.trade_id} {found.time[11:-1]} {found.price} {found.quantity} {found.side}"
    if isinstance(found, Quote):
        return f"{found.instrument} {day(found.time)} {found.bid}/{found.ask} {found.mid or NONE} {found.volume or NONE}"
    assert isinstance(found, Candle)
    mid, bid, ask = (" ".join(side) if side else NONE for side in (found.mid, found.bid, found.ask))
    assert found.start.endswith(":00.000000Z")
    text = f"{found.instrument} {day(found.start).removesuffix(':00.000000')} {mid} bid {bid} ask {ask}"
    text += f" volume {NONE if found.volume is None else found.volume} trades {NONE if found.trades is None else found.trades}"
    return text + ("" if found.complete else " forming") + (f" {found.interval}" if found.interval else "")


def day(time: str) -> str:
    return time.removeprefix("2026-03-02T").removeprefix("2026-03-").removesuffix("Z")


def numbered(text: str) -> list[Line]:
    return list(enumerate(io.StringIO(text, newline=None), start=1))


def options_for(name: str, **others: object) -> Options:
    return Options(timezone=BROKER if "metatrader" in name else None, **others)  # type: ignore[arg-type]


def recognise(text: str, name: str = "EUR_USD.csv", options: Options | None = None) -> Recognised:
    return detect(numbered(text), options or Options(), name=name, instruments=INSTRUMENTS)


def read(text: str, name: str = "EUR_USD.csv", options: Options | None = None) -> list[Item]:
    return list(recognise(text, name, options).read(numbered(text)))


def texts(text: str, name: str = "EUR_USD.csv", options: Options | None = None) -> list[str]:
    return [text_of(item) for _, item in read(text, name, options)]


def sample(name: str) -> str:
    return (SAMPLES / name).read_text()


def test_every_format_has_a_sample() -> None:
    assert {file.name for file in SAMPLES.iterdir()} == set(EXPECTED)
    assert {format_of(name) for name in EXPECTED} == set(NAMES) - {"auto"}


@samples
def test_sample_is_recognised_and_read(name: str) -> None:
    kind, interval, zone, records = EXPECTED[name]
    found = recognise(sample(name), name, options_for(name))
    assert (found.format, found.kind, found.interval, found.zone) == (format_of(name), kind, interval, zone)
    assert found.vendor == format_of(name).split("-")[0].rstrip("45")
    assert [text_of(item) for _, item in found.read(numbered(sample(name)))] == records
    assert [text_of(item) for _, item in found.read(numbered(sample(name)))] == records, "a second reading begins anew"


@samples
def test_sample_is_recognised_by_no_other_format(name: str) -> None:
    head = head_of(numbered(sample(name)), options_for(name), name, INSTRUMENTS)
    assert {row.name for row in FORMATS if row.fits(head)} == {format_of(name)}
    assert sum(row.fits(head) for row in FORMATS) == 1


@samples
def test_chosen_format_reads_as_the_recognised_one(name: str) -> None:
    assert texts(sample(name), name, options_for(name, format=format_of(name))) == EXPECTED[name][3]


@samples
def test_packed_sample_has_the_same_records(tmp_path: Path, name: str) -> None:
    content = sample(name).encode()
    packed = {
        "crlf": content.replace(b"\n", b"\r\n"),
        "bom": b"\xef\xbb\xbf" + content,
        "utf-16": content.decode().encode("utf-16"),
        "gzip": gzip.compress(content),
        "zip": zipped({name: content}),
    }
    file = tmp_path / name
    for form, data in packed.items():
        file.write_bytes(data)
        lines = list(enumerate(text_lines(file), start=1))
        found = detect(lines, options_for(name), name=name, instruments=INSTRUMENTS)
        assert [text_of(item) for _, item in found.read(lines)] == EXPECTED[name][3], form


FREE_DELIMITERS = [
    name for name in EXPECTED if format_of(name) in ("tickwire", "oanda", "dukascopy-ticks", "dukascopy-bars", "ticks", "ohlc")
]


@pytest.mark.parametrize("delimiter", ";\t,")
@pytest.mark.parametrize("name", [name for name in FREE_DELIMITERS if name.endswith(".csv")])
def test_delimiter_of_a_file_with_a_header_is_free(name: str, delimiter: str) -> None:
    text = sample(name).replace(";" if name == "EUR_USD.ticks.csv" else ",", delimiter)
    assert texts(text, name) == EXPECTED[name][3]


def zipped(files: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return packed.getvalue()


HEADERS = {
    "BTCUSDT-1m-2026-03-02.binance-klines.csv": (
        "open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,taker_buy_quote_volume,ignore\n"
    ),
    "BTCUSDT-trades-2026-03-02.binance-trades.csv": "id,price,qty,quote_qty,time,is_buyer_maker,is_best_match\n",
}


@pytest.mark.parametrize("name", HEADERS)
def test_archive_of_binance_with_a_header_has_the_same_records(name: str) -> None:
    assert texts(HEADERS[name] + sample(name), name) == EXPECTED[name][3]


def test_aggregate_trades_of_spot_have_no_header_and_eight_fields() -> None:
    name = "BTCUSDT-aggTrades-2026-03-02.binance-aggtrades.csv"
    lines = sample(name).splitlines()[1:]
    text = "".join(line.replace(",true", "000,True,True").replace(",false", "000,False,True") + "\n" for line in lines)
    assert recognise(text, name).format == "binance-aggtrades"
    assert texts(text, name) == EXPECTED[name][3]


def test_document_of_json_without_candles_is_refused() -> None:
    for text in ('{"prices": []}', "[1, 2]"):
        with pytest.raises(FileRefused, match="JSON, but no answer of OANDA's with candles"):
            read(text)
    with pytest.raises(FileRefused, match="damaged"):
        read('{"instrument": "EUR_USD", "candles": [\n')
    with pytest.raises(UnknownFormat, match="no known format"):
        read('{"ts": 1, "px": "1.1"}\n{"ts": 2, "px": "1.1"}\n')


BARS_5 = "<DATE>\t<TIME>\t<OPEN>\t<HIGH>\t<LOW>\t<CLOSE>\t<TICKVOL>\t<VOL>\t<SPREAD>\n"
TICKS_5 = "<DATE>\t<TIME>\t<BID>\t<ASK>\t<LAST>\t<VOLUME>\t<FLAGS>\n"


def broker(text: str) -> list[str]:
    return texts(text, "EURUSD.csv", Options(timezone=BROKER))


def test_traded_volume_of_metatrader_is_taken_if_there_is_one() -> None:
    lines = "2026.03.02\t11:00:00\t1.1\t1.2\t1.0\t1.1\t312\t5000\t14\n2026.03.02\t11:01:00\t1.1\t1.2\t1.0\t1.1\t312\t0\t14\n"
    assert [text.split(" volume ")[1] for text in broker(BARS_5 + lines)] == ["5000 trades -", "312 trades -"]


def test_daily_bars_of_metatrader_have_no_column_of_times() -> None:
    text = BARS_5.replace("<TIME>\t", "") + "2026.03.03\t1.1\t1.2\t1.0\t1.1\t312\t0\t14\n"
    # Midnight of New York + 7 h is 17:00 New York, 22:00 UTC in winter.
    assert broker(text) == ["EUR_USD 22:00 1.1 1.2 1.0 1.1 bid - ask - volume 312 trades -"]


def test_sides_of_metatrader_are_those_of_the_line_before() -> None:
    lines = [
        "2026.03.02\t11:00:00\t\t1.2\t\t\t4",
        "2026.03.02\t11:00:01\t1.1",
        "2026.03.02\t11:00:02\t\t\t1.15\t3\t8",
        "2026.03.02\t11:00:03\tbroken\t1.3\t\t\t6",
        "2026.03.08\t09:30:00\t1.12\t\t\t\t2",
        "2026.03.02\t11:00:04\t\t1.4\t\t\t4",
    ]
    assert broker(TICKS_5 + "\n".join(lines)) == [
        "NoPriceYet",
        "EUR_USD 09:00:01.000000 1.1/1.2 - -",
        "EUR_USD 09:00:02.000000 1.1/1.2 - 3",
        "EUR_USD 09:00:03.000000 broken/1.3 - -",
        "ValueError",
        "EUR_USD 09:00:04.000000 1.12/1.4 - -",
    ]


@pytest.mark.parametrize("name", [name for name in EXPECTED if "metatrader" in name])
def test_times_of_a_broker_need_a_zone(name: str) -> None:
    with pytest.raises(ZoneMissing) as caught:
        recognise(sample(name), name)
    message = str(caught.value)
    assert message.startswith(f"{format_of(name)} has the broker's time: add --timezone America/New_York+07:00 ")
    assert message.endswith("--timezone Europe/Athens")


@pytest.mark.parametrize(
    ("header", "time", "zone", "read_time"),
    [
        ("Gmt time", "02.07.2026 09:00:00.123", None, "02T09:00:00.123000"),
        ("Time (EET)", "2026.07.02 09:00:00.123", None, "02T06:00:00.123000"),
        ("Time (Europe/Zurich)", "2026.07.02 09:00:00.123", None, "02T07:00:00.123000"),
        ("Time (CXT)", "2026.07.02 09:00:00.123", "UTC+02:00", "02T07:00:00.123000"),
        ("Local time", "02.07.2026 09:00:00.123", "Europe/Zurich", "02T07:00:00.123000"),
        ("Local time", "02.07.2026 09:00:00.123 GMT+0200", None, "02T07:00:00.123000"),
        ("Local time", "02.07.2026 09:00:00.123 GMT-0500", "Europe/Zurich", "02T14:00:00.123000"),
        ('"Gmt time"', "02.07.2026 09:00:00.123", None, "02T09:00:00.123000"),
    ],
)
def test_times_of_dukascopy_follow_the_header(header: str, time: str, zone: str | None, read_time: str) -> None:
    found = texts(f"{header},Ask,Bid,AskVolume,BidVolume\n{time},1.2,1.1,1,1\n", "EURUSD.csv", Options(timezone=zone))
    assert found == [f"EUR_USD 2026-07-{read_time}Z 1.1/1.2 - -".replace("Z", "")]


@pytest.mark.parametrize("header", ["Local time", "Time (CXT)"])
def test_local_times_of_dukascopy_need_a_zone(header: str) -> None:
    with pytest.raises(ZoneMissing, match="dukascopy-bars has local time: add --timezone ZONE"):
        recognise(f"{header},Open,High,Low,Close,Volume\n02.07.2026 09:00:00.000,1,1,1,1,1\n", "EURUSD.csv")


@pytest.mark.parametrize("time", ["1772442000123", "2026.03.02 09:00:00.123", "2026-03-02T09:00:00.123Z"])
def test_files_of_dukascopy_node_are_recognised(time: str) -> None:
    ticks, candles = (
        f"timestamp,askPrice,bidPrice,askVolume,bidVolume\n{time},1.08514,1.08500,1,2\n",
        f"timestamp,open,high,low,close\n{time},1,2,1,1\n",
    )
    assert recognise(ticks, "eurusd-tick.csv").format == "dukascopy-ticks"
    assert texts(ticks, "eurusd-tick.csv") == TICKS[:1]
    assert recognise(candles, "eurusd-m1.csv").format == "dukascopy-bars"


def test_header_of_another_vendor_with_a_timestamp_is_a_plain_table() -> None:
    assert recognise("timestamp,open,high,low,close,volume,vwap\n1772442000,1,2,1,1,5,1\n").format == "ohlc"


@pytest.mark.parametrize(
    ("header", "line", "expected"),
    [
        ("Timestamp,Bid,Ask", "1772442000123,1.08500,1.08514", TICKS[0]),
        ("datetime;symbol;bid;ask", "2026-03-02 09:00:00.123;EUR/USD;1.08500;1.08514", TICKS[0]),
        ("Date\tTime\tBid\tAsk", "20260302\t09:00:00.123\t1.08500\t1.08514", TICKS[0]),
        ("Time,Price", "2026-03-02 09:00:00.123,1.08500", "EUR_USD 09:00:00.123000 1.08500/1.08500 1.08500 -"),
        ("Time,Last,Vol", "2026-03-02 09:00:00.123,1.08500,7", "EUR_USD 09:00:00.123000 1.08500/1.08500 1.08500 7"),
        ("Timestamp,Bid,Ask,Mid", "1772442000123,1.08500,1.08514,1.08503", "EUR_USD 09:00:00.123000 1.08500/1.08514 1.08503 -"),
        ("Time,Open,High,Low,Close", "2026.03.02 09:00,1,2,1,1", "EUR_USD 09:00 1 2 1 1 bid - ask - volume - trades -"),
        ("Date;Time;Open;High;Low;Close;Volume", "2026.03.02;09:00;1;2;1;1;5", "EUR_USD 09:00 1 2 1 1 bid - ask - volume 5 trades -"),
        ("Date,Open,High,Low,Close", "20260302,1,2,1,1", "EUR_USD 00:00 1 2 1 1 bid - ask - volume - trades -"),
        (
            '"Date" , "Open" , "High" , "Low" , "Close"',
            '"2026-03-02", "1","2","1","1"',
            "EUR_USD 00:00 1 2 1 1 bid - ask - volume - trades -",
        ),
    ],
)
def test_plain_tables_are_read_by_their_headers(header: str, line: str, expected: str) -> None:
    assert texts(f"{header}\n{line}\n") == [expected]


def test_time_without_an_offset_is_of_the_zone() -> None:
    text = "timestamp,bid,ask\n2026-07-02 09:00:00,1.1,1.2\n2026-07-02 09:00:00Z,1.1,1.2\n"
    assert [line[8:40] for line in texts(text, options=Options(timezone="Europe/Athens"))] == [
        "2026-07-02T06:00:00.000000 1.1/1", "2026-07-02T09:00:00.000000 1.1/1",
    ]  # fmt: skip


def test_kind_decides_if_the_columns_fit_both() -> None:
    text = "timestamp,bid,ask,open,high,low,close\n2026-03-02T09:00:00Z,1.1,1.2,1,2,1,1\n"
    assert [recognise(text, options=Options(kind=kind)).format for kind in (None, "ticks", "candles")] == ["ticks", "ticks", "ohlc"]
    with pytest.raises(UnknownFormat):
        recognise(sample("EUR_USD.tickwire.csv"), options=Options(kind="candles"))


@pytest.mark.parametrize(
    ("columns", "text", "expected"),
    [
        ('time=Day,bid="Bid px",ask="Ask px"', "Day;Bid px;Ask px\n2026-03-02 09:00:00.123;1.08500;1.08514\n", TICKS[0]),
        ("time=Day,bid=Bid px,ask=Ask px", "Day;Bid px;Ask px\n2026-03-02 09:00:00.123;1.08500;1.08514\n", TICKS[0]),
        ("time=D+T,bid=B,ask=A", "A,B,T,D\n1.08514,1.08500,09:00:00.123,2026-03-02\n", TICKS[0]),
        ("time=#2,ask=#4,bid=#3", "x;2026-03-02 09:00:00.123;1.08500;1.08514\n", TICKS[0]),
        ("time=#1+#2,mid=#3", "20260302;090000123;1.08500\n", "EUR_USD 09:00:00.123000 1.08500/1.08500 1.08500 -"),
        ("TIME=T,instrument=S,bid=B,ask=A", "T|;S;B;A\n2026-03-02 09:00:00.123;eurusd;1.08500;1.08514\n".replace("|", ""), TICKS[0]),
        (
            "time=t,bid_open=bo,bid_high=bh,bid_low=bl,bid_close=bc,ask_open=ao,ask_high=ah,ask_low=al,ask_close=ac,trades=n",
            "t,bo,bh,bl,bc,ao,ah,al,ac,n\n2026-03-02 09:00,1,2,1,1,2,3,2,2,17\n",
            "EUR_USD 09:00 - bid 1 2 1 1 ask 2 3 2 2 volume - trades 17",
        ),
        (
            "close=Price,volume=Vol.",
            "Date,Price,Open,High,Low,Vol.\n2026-03-02,5,1,9,1,30\n",
            "EUR_USD 00:00 1 9 1 5 bid - ask - volume 30 trades -",
        ),
    ],
)
def test_columns_are_named_by_the_option(columns: str, text: str, expected: str) -> None:
    assert texts(text, options=Options(columns=parse_columns(columns))) == [expected]


def test_columns_replace_those_of_a_known_format() -> None:
    lines = "2026.03.02\t11:00:00\t1.1\t1.2\t1.0\t1.1\t312\t5000\t14\n"
    options = Options(timezone=BROKER, columns=parse_columns("volume=<TICKVOL>"))
    assert recognise(BARS_5 + lines, "EURUSD.csv", options).format == "metatrader5-bars"
    assert texts(BARS_5 + lines, "EURUSD.csv", options)[0].endswith("volume 312 trades -")


@pytest.mark.parametrize(
    ("columns", "cause"),
    [
        ("price=#1", "'price=#1' is not FIELD=COLUMN; the fields are time instrument bid"),
        ("time", "'time' is not FIELD=COLUMN"),
        ("", "'' is not FIELD=COLUMN"),
        ("time=a,time=b", "time is there twice"),
        ("time=", "time has no column"),
        ("time=a+", "time has no column"),
        ("bid=a+b", "bid has 2 columns"),
    ],
)
def test_columns_that_cannot_be_read_are_refused(columns: str, cause: str) -> None:
    with pytest.raises(BadOptionValue, match="^" + cause) as caught:
        parse_columns(columns)
    assert caught.value.option == "--columns"


@pytest.mark.parametrize(
    ("columns", "missing"),
    [("time=Day,bid=Bid,ask=Ask px", "Bid"), ("bid=Bid px,ask=Ask px", "time"), ("time=Day,bid=Bid px,ask=#9", "#9")],
)
def test_missing_columns_are_named(columns: str, missing: str) -> None:
    with pytest.raises(MissingColumns) as caught:
        recognise("Day;Bid px;Ask px\n2026-03-02;1;2\n", options=Options(columns=parse_columns(columns)))
    assert caught.value.missing == (missing,)
    assert str(caught.value).startswith(
        f"no column {missing}, which ticks needs. Line 1: 'Day;Bid px;Ask px'. Name the columns: --columns "
    )


def test_columns_of_a_file_without_columns_are_refused() -> None:
    with pytest.raises(BadOptionValue, match="the columns of binance-messages are fixed"):
        recognise(sample("BTCUSDT.binance-messages.txt"), options=Options(columns={"time": ("#1",)}))


def test_chosen_format_without_its_columns_is_refused() -> None:
    for name in ("ticks", "ohlc", "tickwire", "dukascopy-bars", "oanda"):
        with pytest.raises(MissingColumns):
            recognise("Day;Bid px;Ask px\n2026-03-02;1;2\n", options=Options(format=name))


def test_file_of_no_known_format_is_refused_with_the_nearest() -> None:
    with pytest.raises(UnknownFormat) as caught:
        recognise("\nDay;Bid px;Ask px\n2026-03-02;1;2\n")
    assert caught.value.nearest[:2] == ("ticks", "truefx")
    assert len(caught.value.nearest) <= 3
    message = str(caught.value)
    assert message.startswith("no known format. Line 2: 'Day;Bid px;Ask px'. Nearest: ticks (time,bid,ask), truefx")
    assert message.endswith('. Name the columns: --columns time=Day,bid="Bid px",…; formats: docs/import.md')


@pytest.mark.parametrize(
    ("text", "end"),
    [
        ("day;o;h;l;c\n", "Nearest: ohlc (time,open,high,low,close)"),
        ("", "Line 1: ''. Name the columns: --columns time=COLUMN,bid=COLUMN,…; formats: docs/import.md"),
        ("5,6\n", "Line 1: '5,6'. Name the columns: --columns time=#1,bid=#2,…; formats: docs/import.md"),
        ("x" * 200, f"Line 1: '{'x' * 120}'."),
    ],
)
def test_refusal_shows_the_first_line(text: str, end: str) -> None:
    with pytest.raises(UnknownFormat) as caught:
        recognise(text)
    assert end in str(caught.value)


def test_ambiguous_date_refuses_the_file_with_its_line() -> None:
    with pytest.raises(AmbiguousDate) as caught:
        read("Date,Open,High,Low,Close\n03/04/2026,1,1,1,1\n")
    assert str(caught.value) == "line 2: '03/04/2026' may be March or April: --date-format dmy or mdy"
    assert texts("Date,Open,High,Low,Close\n03/02/2026,1,1,1,1\n", options=Options(date_format="mdy"))[0].startswith("EUR_USD 00:00")


@pytest.mark.parametrize(
    ("name", "instrument", "message"),
    [
        (
            "XAUUSD_M1.csv",
            None,
            "no instrument XAU_USD (from the file's name). --instrument NAME, or manage.py instrument add XAU_USD --kind metal …",
        ),
        (
            "eur-chf.csv",
            None,
            "no instrument EUR_CHF (from the file's name). --instrument NAME, or manage.py instrument add EUR_CHF --kind fx …",
        ),
        (
            "DOGEUSDT-1m.csv",
            None,
            "no instrument DOGEUSDT (from the file's name). --instrument NAME, or manage.py instrument add DOGEUSDT --kind crypto …",
        ),
        ("nvda.csv", None, "no instrument NVDA (from the file's name). --instrument NAME, or manage.py instrument add NVDA --kind KIND …"),
        (
            "EUR_USD.csv",
            "XAG_USD",
            "no instrument XAG_USD (from --instrument). --instrument NAME, or manage.py instrument add XAG_USD --kind metal …",
        ),
        ("…", None, "neither a column nor the file's name has an instrument. --instrument NAME"),
    ],
)
def test_unknown_instrument_is_refused(name: str, instrument: str | None, message: str) -> None:
    with pytest.raises(UnknownInstrument) as caught:
        recognise("Date,Open,High,Low,Close\n", name, Options(instrument=instrument))
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("name", "instrument"),
    [
        ("EURUSD.csv", "EUR_USD"), ("eurusd60.csv", "EUR_USD"), ("DAT_MT_EURUSD_M1_2026.zip", "EUR_USD"),
        ("HISTDATA_COM_ASCII_EURUSD_M1202603.zip", "EUR_USD"),
        ("EURUSD_Candlestick_1_M_BID.csv", "EUR_USD"), ("BTCUSDT-1m-2026-03.zip", "BTCUSDT"), ("prices of AAPL.csv", "AAPL"),
        ("EUR-USD.csv.gz", "EUR_USD"), ("EURUSDX.csv", None), ("EURUSDGBP.csv", None), ("XEURUSD.csv", None),
    ],
)  # fmt: skip
def test_instrument_of_another_vendor_stands_in_the_file_name(name: str, instrument: str | None) -> None:
    text = "Date,Open,High,Low,Close\n2026-03-02,1,1,1,1\n"
    if instrument is None:
        with pytest.raises(UnknownInstrument):
            recognise(text, name)
    else:
        found = recognise(text, name)
        assert (found.instrument, found.origin) == (instrument, "the file's name")


def test_our_own_files_are_named_with_the_whole_instrument() -> None:
    with pytest.raises(UnknownInstrument):
        recognise(sample("EUR_USD.tickwire.csv"), "EURUSD.csv")


def test_option_names_the_instrument_or_keeps_one_of_a_column() -> None:
    found = recognise(sample("EUR_USD.tickwire.csv"), "prices.csv", Options(instrument="GBP_USD"))
    assert (found.instrument, found.origin) == ("GBP_USD", "--instrument")
    text = "time,instrument,bid,ask\n2026-03-02T09:00:00Z,GBP/USD,1,2\n2026-03-02T09:00:00Z,EUR/USD,3,4\n"
    assert recognise(text, "prices.csv").instrument is None
    assert texts(text, "prices.csv", Options(instrument="EUR_USD")) == ["EUR_USD 09:00:00.000000 3/4 - -"]
    assert texts(text, "prices.csv")[0] == "GBP_USD 09:00:00.000000 1/2 - -"
    with pytest.raises(UnknownInstrument):
        recognise(text, "prices.csv", Options(instrument="EUR_CHF"))


@pytest.mark.parametrize(
    ("name", "interval"),
    [
        ("EURUSD_M1.csv", "1m"), ("EURUSD_M15_2026.csv", "15m"), ("EUR_USD_H4.csv.gz", "4h"), ("EUR_USD-1d.csv", "1d"),
        ("BTCUSDT-5m-2026.zip", "5m"),
        ("EURUSD_M30.csv", None), ("BTCUSDT-1M-2026.zip", None), ("EURUSD.csv", None), ("EUR_USD_D.csv", "1d"), ("EURUSDM1.csv", None),
        ("EUR_USD_1h.csv", "1h"), ("D.csv", None), ("EURUSD (H1).csv", "1h"), ("eurusd-m5.csv", "5m"), ("EURUSD_2H1.csv", None),
    ],
)  # fmt: skip
def test_interval_stands_in_the_file_name(name: str, interval: str | None) -> None:
    text = "Date,Open,High,Low,Close\n2026-03-02,1,1,1,1\n"
    options = Options(instrument="EUR_USD")
    assert recognise(text, name, options).interval == interval
    assert recognise(text, name, Options(instrument="EUR_USD", interval="4h")).interval == "4h"


def test_interval_of_klines_is_the_time_from_open_to_close() -> None:
    line = "1772442000000,1,1,1,1,5,{close},5,1,1,1,0\n"
    for close, interval in (("1772442059999", "1m"), ("1772445599999", "1h"), ("1772442179999", None)):
        assert recognise(line.format(close=close), "BTCUSDT.csv").interval == interval
    micro = line.replace("1772442000000", "1772442000000000")
    assert recognise(micro.format(close="1772445599999999"), "BTCUSDT.csv").interval == "1h"


def test_interval_is_the_smallest_step_of_the_first_candles() -> None:
    def interval(*starts: str) -> str:
        text = "".join(f"2026-03-{start}:00,1,1,1,1\n" for start in starts)
        return first_look.interval_of(read(f"Time,Open,High,Low,Close\n{text}"))

    assert interval("02 09:00", "02 11:00", "02 12:00", "05 09:00") == "1h"
    assert interval("02 09:15", "02 09:10", "02 09:00") == "5m"
    assert interval("02 00:00", "03 00:00") == "1d"
    with pytest.raises(NoInterval, match="smallest step between its first candles is 30 minutes, which is none of 1m, 5m, 15m, 1h, 4h, 1d"):
        interval("02 09:00", "02 09:30")
    with pytest.raises(NoInterval, match="the interval of its candles is not known: add --interval"):
        interval("02 09:00")


def test_file_is_refused_if_most_of_the_first_records_are_bad() -> None:
    good: list[Item] = [(number, Quote("EUR_USD", "2026-03-02T09:00:00.000000Z", "1", "2", None, None)) for number in range(1, 6)]
    bad: list[Item] = [(number, ValueError(f"fault {number}")) for number in range(6, 12)]
    left_out: list[Item] = [(number, NoPriceYet()) for number in range(20, 40)]
    first_look.refuse_mostly_bad(good + bad[:5] + left_out, {})
    with pytest.raises(MostlyBad) as caught:
        first_look.refuse_mostly_bad(good + bad + left_out, {6: "the line\n"})
    lines = str(caught.value).splitlines()
    assert lines[0] == "6 of its first 11 records are bad; nothing is stored. The first:"
    assert lines[1:] == ["  line 6: 'the line': fault 6", *(f"  line {number}: fault {number}" for number in range(7, 11))]


AGGREGATES = "agg_trade_id,price,quantity,first_trade_id,last_trade_id,transact_time,is_buyer_maker\n"


def aggregates(*rows: tuple[str, str, str, int, int]) -> str:
    """Rows of (time of 2026-03-02, price, quantity, first and last trade id)."""
    lines = ""
    for number, (clock, price, quantity, first, last) in enumerate(rows):
        hours, minutes, seconds = map(int, clock.split(":"))
        milliseconds = (1_772_409_600 + hours * 3600 + minutes * 60 + seconds) * 1000
        lines += f"{number},{price},{quantity},{first},{last},{milliseconds},true\n"
    return AGGREGATES + lines


ROWS = [
    ("23:57:10", "3", "1", 1, 1), ("23:58:00", "5", "0.5", 2, 4), ("23:58:30", "4", "1e-1", 5, 5), ("23:58:59", "6", "1", 6, 7),
    ("23:59:59", "7", "2", 8, 8),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "whole"),
    [
        ("BTCUSDT.csv", [False, True, False]),
        ("BTCUSDT-aggTrades-2026-03-02.csv", [True, True, True]),
        ("BTCUSDT-aggTrades-2026-03.zip", [True, True, True]),
        ("BTCUSDT-aggTrades-2026-03-01.csv", [False, True, False]),
        ("BTCUSDT-aggTrades-2026-03-021.csv", [False, True, False]),
    ],
)
def test_minutes_of_aggregate_trades_are_whole_or_left_out(name: str, whole: list[bool]) -> None:
    items = read(aggregates(*ROWS), name)
    assert [isinstance(item, Candle) for _, item in items] == whole
    assert all(isinstance(item, Candle | PartOfMinute) for _, item in items)
    assert text_of(items[1][1]) == "BTCUSDT 23:58 5 6 4 6 bid - ask - volume 1.6 trades 6"
    assert [place for place, _ in items] == [2, 5, 6], "the place is the last line of the minute"


@pytest.mark.parametrize(
    ("line", "cause"),
    [
        ("9,0,1,1,1,1772495880000,true", "price 0 is not above 0"),
        ("9,1,0.0,1,1,1772495880000,true", "price 0.0 is not above 0"),
        ("9,1,-1,1,1,1772495880000,true", "is not a decimal"),
        ("9,1,1,2,1,1772495880000,true", "trade ids from '2' to '1'"),
        ("9,1,1,x,1,1772495880000,true", "trade ids from 'x' to '1'"),
        ("9,1,1,1,1,1772495820000,true", "sort the file by time"),
        ("9,1,1,1,1,1772495880000000,true", "not a Unix time of 13 digits"),
        ("9,1,1,1", "4 fields instead of 7"),
    ],
)
def test_bad_aggregate_is_left_out_of_its_minute(line: str, cause: str) -> None:
    text = aggregates(*ROWS)
    good = text.splitlines()
    items = read("\n".join([*good[:3], line, *good[3:]]), "BTCUSDT-aggTrades-2026-03-02.csv")
    assert [text_of(item) for _, item in items if isinstance(item, Candle)] == texts(text, "BTCUSDT-aggTrades-2026-03-02.csv")
    [(place, fault)] = [(place, item) for place, item in items if isinstance(item, ValueError)]
    assert place == 4
    assert cause in str(fault)


@pytest.mark.parametrize(
    ("line", "cause"),
    [
        ("x,65000.1,0.002,130,1772442000123000,True,True", "id is not an integer"),
        ("501,65000.1,0.002,130,1772442000123000,maybe,True", "side is not a boolean"),
        ("501,65000.1,0.002,130,1772442000,True,True", "not a Unix time of 16 digits"),
        ("501,65000.1,0.002,130,1772442000123,True,True", "not a Unix time of 16 digits"),
        ("501,65000.1,0.002,130,True,True", "6 fields instead of 7"),
    ],
)
def test_bad_trade_of_the_archive_is_a_fault_of_its_line(line: str, cause: str) -> None:
    name = "BTCUSDT-trades-2026-03-02.binance-trades.csv"
    items = read(sample(name) + line + "\n", name)
    assert [text_of(item) for _, item in items[:3]] == EXPECTED[name][3]
    assert (items[3][0], cause in str(items[3][1])) == (4, True)


@pytest.mark.parametrize(
    ("line", "cause"),
    [
        ("2026-03-02T09:00:02Z,1.1", "2 fields instead of 3"),
        ("yesterday,1.1,1.2", "'yesterday' is not a time"),
        ('"2026-03-02T09:00:02Z,1.1,1.2', "1 fields instead of 3"),
    ],
)
def test_bad_line_is_a_fault_and_the_next_is_read(line: str, cause: str) -> None:
    text = sample("EUR_USD.tickwire.csv")
    items = read(text + line + "\n\n" + text.splitlines()[1] + "\n")
    assert [text_of(item) for _, item in items if isinstance(item, Quote)] == [*TICKS, TICKS[0]]
    assert [place for place, _ in items] == [2, 3, 4, 5, 7]
    assert cause in str(items[3][1])


@pytest.mark.parametrize(
    ("line", "cause"),
    [
        ('{"time":"2026-03-02T09:00:02Z","symbol":"EUR_USD","bid":1.1,"ask":"1.2"}', "price 1.1 that is not a string"),
        ('{"time":"2026-03-02T09:00:02Z","symbol":"EUR_USD","bid":"1.1"}', "no tick: KeyError 'ask'"),
        ('{"time":"2026-03-02T09:00:02Z","symbol":7,"bid":"1.1","ask":"1.2"}', "no tick: AttributeError"),
        ("[1]", "no tick: TypeError"),
        ("{", "unexpected end"),
    ],
)
def test_bad_line_of_ndjson_is_a_fault(line: str, cause: str) -> None:
    items = read(sample("EUR_USD.tickwire.ndjson") + line + "\n")
    assert [text_of(item) for _, item in items[:3]] == EXPECTED["EUR_USD.tickwire.ndjson"][3]
    assert cause in str(items[3][1])


def test_candles_of_ndjson_are_read() -> None:
    line = '{"start_time":"2026-03-02T09:00:00Z","open":"1","high":"2","low":"1","close":"1","volume":"5","complete":false,"trades":4}\n'
    assert texts(line, "EUR_USD_1h.ndjson") == ["EUR_USD 09:00 1 2 1 1 bid - ask - volume 5 trades 4 forming"]


def refusal(file: Path, content: bytes) -> str:
    file.write_bytes(content)
    with pytest.raises(SourceError) as caught:
        list(text_lines(file))
    assert caught.value.fatal
    return str(caught.value).removeprefix(f"recording {file} is ")


def test_files_that_are_no_text_are_refused_with_the_way_to_convert_them(tmp_path: Path) -> None:
    parquet = refusal(tmp_path / "x.parquet", b"PAR1\x15\x04\x15")
    assert parquet == "Parquet, which is not read; convert it: duckdb -c \"COPY (FROM 'x.parquet') TO 'x.csv'\""
    arrow = refusal(tmp_path / "it's.arrow", b"ARROW1\0\0")
    assert arrow.endswith("LOAD nanoarrow; COPY (FROM 'it''s.arrow') TO 'it''s.csv'\"")
    two = refusal(tmp_path / "two.zip", zipped({"a.csv": b"", "b.csv": b""}))
    assert two == "a zip with 2 files (a.csv, b.csv): unpack it and name the one that is wanted"
    assert refusal(tmp_path / "none.zip", zipped({})).startswith("a zip with 0 files")
    assert (
        refusal(tmp_path / "x.xlsx", zipped({"[Content_Types].xml": b"", "xl/workbook.xml": b""}))
        == "an Excel file, which is not read: save it as CSV"
    )


def test_zip_of_one_file_may_have_folders_and_notes_of_macos(tmp_path: Path) -> None:
    file = tmp_path / "x.zip"
    file.write_bytes(zipped({"folder/": b"", "folder/x.csv": b"a\nb\n", "__MACOSX/folder/._x.csv": b"x"}))
    assert list(text_lines(file)) == ["a\n", "b\n"]


def test_damaged_zip_gives_its_whole_lines(tmp_path: Path) -> None:
    text = "".join(f"line {number} {number * 7919 % 1000}\n" for number in range(20_000))
    packed = bytearray(zipped({"x.csv": text.encode()}))
    packed[len(packed) // 2] ^= 0xFF
    file = tmp_path / "x.zip"
    file.write_bytes(packed)
    lines: list[str] = []
    with pytest.raises(SourceError, match="is damaged after line"):
        lines.extend(text_lines(file))
    file.write_bytes(packed[:-30])
    with pytest.raises(SourceError, match="is damaged after line 0: File is not a zip file"):
        list(text_lines(file))


@pytest.mark.parametrize("pack", [bytes, gzip.compress, lambda content: zipped({"x.csv": content})])
def test_bytes_read_reach_the_size_of_the_file(tmp_path: Path, pack: object) -> None:
    assert callable(pack)
    content = "".join(f"{number * 7919 % 10_007}\n" for number in range(100_000)).encode()
    file = tmp_path / "x.csv"
    file.write_bytes(pack(content))
    positions: list[int] = []
    assert sum(1 for _ in text_lines(file, positions.append)) == 100_000
    assert positions == sorted(positions)
    assert 0.9 * file.stat().st_size < positions[-1] <= file.stat().st_size


def test_candles_of_aggregate_trades_are_those_of_a_minute() -> None:
    name = "BTCUSDT-aggTrades-2026-03-02.binance-aggtrades.csv"
    assert recognise(sample(name), name.replace("BTCUSDT", "BTCUSDT_1h"), Options(interval="4h")).interval == "1m"


@pytest.mark.parametrize("time", ["2026.03.02 09:00:00.123", "20260302 090000123", "2026-03-02 09:00:00,123"])
def test_table_with_our_header_may_have_times_of_plain_tables(time: str) -> None:
    assert texts(f"time;bid;ask\n{time};1.08500;1.08514\n") == TICKS[:1]


def test_table_with_our_header_and_ambiguous_dates_is_refused() -> None:
    with pytest.raises(AmbiguousDate, match=r"^line 2: '03/04/2026' may be March or April: --date-format dmy or mdy$"):
        read("time,bid,ask\n03/04/2026 09:00:00,1.1,1.2\n")
    with pytest.raises(AmbiguousDate):
        read("start_time,open,high,low,close\n03/04/2026,1,1,1,1\n")


def test_bracketed_columns_in_another_order_are_a_plain_table() -> None:
    text = "<TICKER>,<PER>,<DATE>,<TIME>,<OPEN>,<HIGH>,<LOW>,<CLOSE>,<VOL>,<OPENINT>\nEURUSD,5,20260302,090000,1,2,1,1,7,0\n"
    assert recognise(text).format == "ohlc"
    assert texts(text) == ["EUR_USD 09:00 1 2 1 1 bid - ask - volume 7 trades -"]
