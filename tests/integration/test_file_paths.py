"""Each bad record in each format of files, and in a replay: refused, its neighbours taken."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import orjson
import pytest
import redis as redis_client

from api.app import create_app
from config.settings import Settings, SourceSpec
from db import topics
from db.bus import Bus
from db.instruments import all_instruments, calendars_of
from db.postgres import Store
from db.timestamps import format_time, utc_now
from jobs.backfill.file_tasks import Selection, file_task
from jobs.backfill.fill import Filler
from jobs.backfill.recordings import open_recording
from jobs.backfill.report import Notes
from jobs.feeds.files.playback import play
from jobs.feeds.files.replay import ReplaySource
from tests.conftest import until
from tests.support.processes import jobs

NOW = utc_now()
HOUR = NOW.replace(minute=0, second=0, microsecond=0)
DIGITS_25 = "1" * 25


class Loading:
    """The loading of files into a store, with what it reports."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.notes = Notes()
        with store.transaction() as cursor:
            self.calendars = calendars_of(all_instruments(cursor))

    def load(self, file: Path, *, replace: bool = False, now: datetime = NOW) -> str:
        """The outcome of one file as the command prints it."""
        filler = Filler(
            self.store, utc_now, threading.Event(), limits={}, warn=pytest.fail, on_conflicts=self.notes.conflicting
        )  # fmt: skip
        on_bad = partial(self.notes.bad_record, file.name)
        recording = open_recording(file, self.calendars, now=now, strict=False)
        filler.fill(file_task(recording, self.calendars, on_bad, Selection(), now=now), replace=replace, again=True)
        return str(filler.outcome)

    def query(self, statement: str) -> list[Any]:
        with self.store.transaction() as cursor:
            cursor.execute(statement)
            return list(cursor.fetchall())


@pytest.fixture
def loading(store: Store) -> Loading:
    return Loading(store)


def written(folder: Path, name: str, lines: Sequence[str]) -> Path:
    file = folder / name
    file.write_text("\n".join(lines) + "\n")
    return file


# Quotes

QUOTES = ["2025-01-01T00:00:01Z,EUR_USD,1.1,1.2", "2025-01-01T00:00:03Z,EUR_USD,1.1,1.2"]
BAD_QUOTES = [
    ("unreadable", "yesterday,EUR_USD,1.1,1.2"),
    ("unreadable", "20250101T000002Z,EUR_USD,1.1,1.2"),
    ("unreadable", "2025-01-01T00:00:02Z,EUR_USD,1.1"),
    ("unknown_instrument", "2025-01-01T00:00:02Z,XXX_YYY,1.1,1.2"),
    ("not_a_decimal", "2025-01-01T00:00:02Z,EUR_USD,one,1.2"),
    ("not_a_decimal", f"2025-01-01T00:00:02Z,EUR_USD,1.1,{DIGITS_25}"),
    ("not_a_decimal", "2025-01-01T00:00:02Z,EUR_USD,-1.1,1.2"),
    ("time_too_old", "1970-12-31T23:59:59.999999Z,EUR_USD,1.1,1.2"),
    ("time_too_old", "2009-01-02T23:59:59.999999Z,BTCUSDT,1.1,1.2"),
    ("time_in_future", "2099-01-01T00:00:00Z,EUR_USD,1.1,1.2"),
    ("time_in_future", f"{format_time(NOW + timedelta(seconds=200))},EUR_USD,1.1,1.2"),
    ("bad_price", "2025-01-01T00:00:02Z,EUR_USD,0.0,1.2"),
    ("bad_price", "2025-01-01T00:00:02Z,EUR_USD,1.3,1.2"),
]
# The records contain the present time: the workers of a run must name the cases equally.
QUOTE_IDS = [f"{kind}-{number}" for number, (kind, _) in enumerate(BAD_QUOTES)]


@pytest.mark.parametrize(("kind", "bad"), BAD_QUOTES, ids=QUOTE_IDS)
def test_bad_quote_of_a_file_is_left_out(loading: Loading, tmp_path: Path, kind: str, bad: str) -> None:
    file = written(tmp_path, "all.csv", ["time,instrument,bid,ask", QUOTES[0], bad, QUOTES[1]])
    assert loading.load(file) == "2 rows read, 2 new"
    [sentence] = loading.notes.sentences()
    assert sentence.startswith(f"all.csv: 1 bad: 1 of kind {kind}; first: line 3: ")
    assert not loading.notes.failed
    assert loading.query("SELECT seq FROM prices ORDER BY 1") == [(2,), (4,)]


@pytest.mark.parametrize(("kind", "bad"), BAD_QUOTES, ids=QUOTE_IDS)
def test_bad_quote_of_a_replay_is_not_published(
    loading: Loading, bus: Bus, raw_redis: redis_client.Redis, tmp_path: Path, kind: str, bad: str
) -> None:
    file = written(tmp_path, "all.csv", ["time,instrument,bid,ask", QUOTES[0], bad, QUOTES[1]])
    source = ReplaySource(SourceSpec("replay", file, 60.0), loading.calendars, clock=lambda: NOW)
    play(source, bus, loading.calendars, taken=lambda ticks: None, clock=utc_now, stop=threading.Event())
    assert source.refusals.counts == {kind: 1}
    entries: Any = raw_redis.xrange(topics.stream_key(topics.PRICES))
    bodies = [orjson.loads(fields[b"body"]) for _, fields in entries]
    assert [(body["seq"], body["price"]["time"][17:19]) for body in bodies] == [(1, "01"), (2, "03")]


def test_health_shows_what_a_replay_has_refused(settings: Settings, bus: Bus, store: Store, tmp_path: Path) -> None:
    """From the file over the jobs process and the bus to an answer of REST."""
    bad = [(kind, line) for kind, line in BAD_QUOTES if line[:4] != format_time(NOW)[:4]]
    file = written(tmp_path, "all.csv", ["time,instrument,bid,ask", QUOTES[0], *(line for _, line in bad), QUOTES[1]])
    client = create_app(settings, bus, store, utc_now, "1.2.3").test_client()

    def report() -> dict[str, Any]:
        sources: dict[str, dict[str, Any]] = client.get("/health").json["sources"]  # type: ignore[index]
        return next(iter(sources.values()), {})

    with jobs(settings, tmp_path / "jobs.log", SOURCES=f"replay:{file}@max") as process:
        until(lambda: report().get("state") == "ended", 60, process.output)
        assert report()["refused"] == Counter(kind for kind, _ in bad)
        assert report()["ticks"] == 2
        assert process.ask_to_stop() == 0


# Candles


def candle(start: str, *, volume: object = 7, **sides: str) -> dict[str, Any]:
    prices = {"mid": "1.2 1.4 1.1 1.3", "bid": "1.1 1.3 1.0 1.2", "ask": "1.3 1.5 1.2 1.4", **sides}
    return {
        "time": start, "volume": volume, "complete": True,
        **{side: dict(zip("ohlc", text.split(), strict=True)) for side, text in prices.items()},
    }  # fmt: skip


def csv_candles(folder: Path, symbol: str, items: Sequence[dict[str, Any]]) -> Path:
    columns = [f"{side}_{letter}" for side in ("mid", "bid", "ask") for letter in "ohlc"]
    lines = [
        ",".join([item["time"], symbol_of_item, str(item["volume"]), *(item[column[:3]][column[4]] for column in columns)])
        for item, symbol_of_item in zip(items, ("EUR_USD", symbol, "EUR_USD"), strict=True)
    ]
    return written(folder, "candles_H1.csv", [",".join(["time,instrument,volume", *columns]), *lines])


def json_candles(folder: Path, symbol: str, items: Sequence[dict[str, Any]]) -> Path:
    answers = [
        {"instrument": name, "granularity": "H1", "candles": [item]}
        for item, name in zip(items, ("EUR_USD", symbol, "EUR_USD"), strict=True)
    ]
    return written(folder, "candles.json", [json.dumps({"latestCandles": answers})])


CANDLES = [candle("2025-01-02T00:00:00Z"), candle("2025-01-02T02:00:00Z")]
BAD_CANDLES = [
    ("unreadable", "EUR_USD", candle("yesterday")),
    ("unknown_instrument", "XXX_YYY", candle("2025-01-02T01:00:00Z")),
    ("not_a_decimal", "EUR_USD", candle("2025-01-02T01:00:00Z", mid="1.2 1.4 one 1.3")),
    ("not_a_decimal", "EUR_USD", candle("2025-01-02T01:00:00Z", ask=f"1.3 {DIGITS_25} 1.2 1.4")),
    ("time_too_old", "EUR_USD", candle("1970-12-31T23:00:00Z")),
    ("time_in_future", "EUR_USD", candle("2099-01-01T00:00:00Z")),
    ("bad_candle", "EUR_USD", candle("2025-01-02T01:30:00Z")),
    ("bad_candle", "EUR_USD", candle("2025-01-02T01:00:00Z", bid="1.1 1.15 1.0 1.2")),
    ("bad_candle", "EUR_USD", candle("2025-01-02T01:00:00Z", mid="1.2 1.4 0.0 1.3")),
]


@pytest.mark.parametrize("made", [csv_candles, json_candles])
@pytest.mark.parametrize(("kind", "symbol", "bad"), BAD_CANDLES)
def test_bad_candle_of_a_file_is_left_out(
    loading: Loading, tmp_path: Path, made: Callable[..., Path], kind: str, symbol: str, bad: dict[str, Any]
) -> None:
    file = made(tmp_path, symbol, [CANDLES[0], bad, CANDLES[1]])
    assert loading.load(file) == "2 rows read, 2 new"
    [sentence] = loading.notes.sentences()
    place = "line 3" if made is csv_candles else "candle 2"
    assert sentence.startswith(f"{file.name}: 1 bad: 1 of kind {kind}; first: {place}: ")
    assert loading.query("SELECT extract(hour FROM start_time AT TIME ZONE 'UTC')::int FROM candles ORDER BY 1") == [(0,), (2,)]


@pytest.mark.parametrize("made", [csv_candles, json_candles])
def test_candle_that_has_not_ended_is_left_out_and_named(loading: Loading, tmp_path: Path, made: Callable[..., Path]) -> None:
    ended, forming = (f"{HOUR - timedelta(hours=hours):%Y-%m-%dT%H:%M:%S}Z" for hours in (1, 0))
    file = made(tmp_path, "EUR_USD", [CANDLES[0], candle(forming), candle(ended)])
    assert loading.load(file) == "2 rows read, 2 new"
    [sentence] = loading.notes.sentences()
    place = "line 3" if made is csv_candles else "candle 2"
    assert sentence == f"{file.name}: 1 candle has not ended yet; first: {place}: 1h of EUR_USD, {forming.replace('Z', '.000000Z')}"
    assert not loading.notes.failed
    assert loading.query("SELECT count(*), max(end_time) <= now(), bool_and(complete) FROM candles") == [(2, True, True)]


def test_candle_is_ended_at_its_end_and_not_before(loading: Loading, tmp_path: Path) -> None:
    start = datetime(2025, 1, 2, 1, tzinfo=UTC)
    file = csv_candles(tmp_path, "EUR_USD", [CANDLES[0], candle("2025-01-02T01:00:00Z"), CANDLES[0]])
    for late, stored in ((timedelta(microseconds=-1), 1), (timedelta(0), 2)):
        loading.load(file, now=start + timedelta(hours=1) + late)
        assert loading.query("SELECT count(*) FROM candles") == [(stored,)]


# Trades


def trade(number: object = 2, **fields: Any) -> str:
    data = {"e": "trade", "E": 1, "s": "ETHUSDT", "t": number, "p": "2683.8", "q": "0.1", "T": 1735689600020, "m": True, **fields}
    return f"1735689600100000000 {json.dumps({'stream': 'ethusdt@trade', 'data': data})}"


BAD_TRADES = [
    ("unreadable", trade(T="2025")),
    ("unreadable", trade("2")),
    ("unreadable", trade(True)),
    ("unreadable", trade(m=1)),
    ("unreadable", trade(p=2683.8)),
    ("unreadable", trade()[:-3] + ' "trade"'),
    ("unknown_instrument", trade(s="XXXUSDT")),
    ("not_a_decimal", trade(p="one")),
    ("not_a_decimal", trade(q=DIGITS_25)),
    ("time_too_old", trade(T=1000000000000)),
    ("time_in_future", trade(T=4070908800000)),
    ("bad_trade", trade(p="0.00")),
    ("bad_trade", trade(q="0")),
    ("bad_trade", trade(-1)),
    ("bad_trade", trade(2**63)),
]


@pytest.mark.parametrize(("kind", "bad"), BAD_TRADES)
def test_bad_trade_of_a_file_is_left_out(loading: Loading, tmp_path: Path, kind: str, bad: str) -> None:
    assert loading.load(written(tmp_path, "raw.txt", [trade(1), bad, trade(3)])) == "2 rows read, 2 new"
    [sentence] = loading.notes.sentences()
    assert sentence.startswith(f"raw.txt: 1 bad: 1 of kind {kind}; first: line 2: ")
    assert loading.query("SELECT trade_id FROM raw_trades ORDER BY 1") == [(1,), (3,)]


@pytest.mark.parametrize("kind", ["INSURANCE_FUND", "NA", "", None])
def test_futures_trade_of_another_kind_is_left_out(loading: Loading, tmp_path: Path, kind: str | None) -> None:
    lines = [trade(1, X="MARKET"), trade(2, X=kind), trade(3)]
    assert loading.load(written(tmp_path, "raw.txt", lines)) == "2 rows read, 2 new"
    assert loading.notes.sentences()[0].startswith("raw.txt: 1 trade of another kind than MARKET left out; first: line 2: ")
    assert loading.query("SELECT trade_id FROM raw_trades ORDER BY 1") == [(1,), (3,)]


# Identity, conflicts and replacement


def quotes(folder: Path, name: str, *lines: str) -> Path:
    (folder / name).mkdir(exist_ok=True)
    return written(folder / name, "GBP_USD.csv", ["time,bid,ask", *(f"2021-{line}" for line in lines)])


def stored(loading: Loading) -> list[Any]:
    return loading.query(
        "SELECT to_char(time AT TIME ZONE 'UTC', 'MM-DD SS'), bid::text, occurrence"
        " FROM prices WHERE instrument = 'GBP_USD' ORDER BY 1, 2, 3"
    )


def test_equal_quotes_of_a_file_are_stored_as_often_as_they_occur(loading: Loading, tmp_path: Path) -> None:
    line = "06-01T10:00:01Z,1.2,1.3"
    one = quotes(tmp_path, "one", line)
    three = quotes(tmp_path, "three", line, "06-01T10:00:02Z,1.2,1.3", "06-01T12:00:01+02:00,1.20,1.30", line)
    assert loading.load(one) == "1 rows read, 1 new"
    assert loading.load(three) == "4 rows read, 3 new"
    assert loading.load(one) == "1 rows read, 0 new"
    assert stored(loading) == [("06-01 01", "1.2", 1), ("06-01 01", "1.2", 3), ("06-01 01", "1.20", 2), ("06-01 02", "1.2", 1)]
    assert not loading.notes.failed


def test_corrected_quotes_are_a_conflict_until_they_replace(loading: Loading, tmp_path: Path) -> None:
    first = quotes(
        tmp_path, "first", "05-31T23:00:09Z,1.1,1.3", "06-01T10:00:01Z,1.2,1.3", "06-30T10:00:02Z,1.2,1.3", "07-02T10:00:03Z,1.2,1.3"
    )
    second = quotes(tmp_path, "second", "06-01T10:00:01Z,1.25,1.3", "07-02T10:00:03Z,1.2,1.3")
    assert loading.load(first) == "4 rows read, 4 new"
    assert loading.load(second) == "2 rows read, 0 new"
    assert "1 conflict with rows that are stored already (first: " in loading.notes.sentences()[0]
    assert loading.notes.failed
    before = stored(loading)
    loading.notes = Notes()
    assert loading.load(second, replace=True) == "2 rows read, 2 new"
    assert loading.notes.sentences() == []
    assert stored(loading) == [before[0], ("06-01 01", "1.25", 1), ("07-02 03", "1.2", 1)]
    minutes = "SELECT DISTINCT to_char(minute AT TIME ZONE 'UTC', 'MM-DD HH24:MI') FROM candle_marks ORDER BY 1"
    assert [minute for (minute,) in loading.query(minutes)] == ["05-31 23:00", "06-01 10:00", "06-30 10:00", "07-02 10:00"]


def test_replacement_leaves_quotes_of_live_sources_and_other_instruments(loading: Loading, tmp_path: Path) -> None:
    loading.load(quotes(tmp_path, "first", "06-01T10:00:01Z,1.2,1.3", "06-01T10:00:02Z,1.2,1.3", "06-01T10:00:03Z,1.2,1.3"))
    loading.query("UPDATE prices SET source = 'oanda' WHERE seq = 3 RETURNING 1")
    loading.query("UPDATE prices SET instrument = 'EUR_USD' WHERE seq = 4 RETURNING 1")
    file = quotes(tmp_path, "second", "06-01T10:00:00Z,1.2,1.3", "06-01T10:00:04Z,1.2,1.3")
    assert loading.load(file, replace=True) == "2 rows read, 2 new"
    assert [time for time, _, _ in stored(loading)] == ["06-01 00", "06-01 02", "06-01 04"]
    assert loading.query("SELECT count(*) FROM prices WHERE instrument = 'EUR_USD'") == [(1,)]


def test_corrected_trade_is_a_conflict_until_it_replaces(loading: Loading, tmp_path: Path) -> None:
    loading.load(written(tmp_path, "a.txt", [trade(1), trade(2)]))
    corrected = written(tmp_path, "b.txt", [trade(1, T=1735689600020999), trade(2, q="0.2")])
    assert loading.load(corrected) == "2 rows read, 0 new"
    assert loading.notes.sentences()[0].startswith("b.txt: 1 conflict with rows that are stored already (first: ETHUSDT trade 2")
    loading.notes = Notes()
    loading.load(corrected, replace=True)
    assert not loading.notes.failed
    assert loading.query("SELECT trade_id, quantity::text FROM raw_trades ORDER BY 1") == [(1, "0.1"), (2, "0.2")]


def test_candle_of_fewer_quotes_is_a_conflict_until_it_replaces(loading: Loading, tmp_path: Path) -> None:
    loading.load(json_candles(tmp_path, "EUR_USD", [CANDLES[0], CANDLES[1], CANDLES[1]]))
    fewer = candle("2025-01-02T00:00:00Z", volume=3, mid="1.2 1.6 1.1 1.3")
    file = json_candles(tmp_path, "EUR_USD", [fewer, CANDLES[1], CANDLES[1]])
    loading.load(file)
    assert "1 conflict with rows that are stored already (first: EUR_USD 1h candle of 2025-01-02T00:00:00" in loading.notes.sentences()[0]
    assert loading.query("SELECT high::text FROM candles ORDER BY start_time LIMIT 1") == [("1.4",)]
    loading.notes = Notes()
    loading.load(file, replace=True)
    assert not loading.notes.failed
    assert loading.query("SELECT high::text FROM candles ORDER BY start_time LIMIT 1") == [("1.6",)]
