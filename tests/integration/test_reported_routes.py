"""Reports by `POST /reports`, through a real observer, as all routes of REST return them."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import permutations
from typing import Any
from urllib.parse import urlencode

import orjson
import pytest
import redis as redis_client

from db.bus import Bus
from db.instruments import enable_instrument, lock_instruments
from db.postgres import Store
from db.timestamps import format_time, utc_now
from ops import running
from tests.conftest import Servers, new_database, settings_for, until
from tests.support.processes import Web, observer

SYMBOL, STRATEGY = "EUR_USD", "mean_reversion"
# side, quantity, price, fee -> position, average, gross, realized_pnl, pnl of the trade: the table
# of docs/observability/figures.md, and gross and average if lots are closed first in, first out.
EXAMPLE = (
    (("buy", "1000", "1.09450", "0.020"), ("1000", "1.09450", "0", "-0.020", None), ("0", "1.09450")),
    (("buy", "500", "1.09510", "0.010"), ("1500", "1.09470", "0", "-0.030", None), ("0", "1.09470")),
    (("sell", "600", "1.09530", "0.012"), ("900", "1.09470", "0.36", "0.318", "0.348"), ("0.48", "1.0948333333333333")),
    (("sell", "1400", "1.09400", "0.028"), ("-500", "1.09400", "-0.27", "-0.340", "-0.648"), ("-0.27", "1.09400")),
    (("buy", "500", "1.09390", "0.010"), ("0", None, "-0.22", "-0.300", "0.040"), ("-0.22", None)),
)
ARRIVALS = list(permutations(range(5)))
DISABLED, WITHOUT_WINDOW = "USD_CHF", "NZD_USD"


@dataclass(frozen=True)
class System:
    """A REST process and an observer of the module."""

    rest: Web
    bus: Bus
    began: datetime

    def get(self, path: str, **query: Any) -> str:
        """Return the text of an answer."""
        status, body = running.get(self.rest.url, f"{path}?{urlencode(query)}", seconds=20)
        assert status == 200, body
        return body.decode()

    def rows(self, path: str, **query: Any) -> list[dict[str, Any]]:
        """Return the rows of all pages; numbers are exact."""
        found, token = [], None
        while True:
            text = self.get(path, **query, **({"page_token": token} if token else {}))
            body = json.loads(text, parse_float=Decimal)
            found += body[path.rsplit("/", 1)[-1]]
            if (token := body["next_page_token"]) is None:
                return found

    def post(self, *reports: dict[str, Any]) -> dict[str, Any]:
        """Post a batch, and return its answer."""
        body = orjson.dumps({"reports": reports}).decode()
        status, answer = running.send("POST", self.rest.url, "/reports", body, {"Content-Type": "application/json"}, seconds=20)
        assert status == 200, answer
        return dict(orjson.loads(answer))

    def accept(self, *reports: dict[str, Any]) -> None:
        """Post new reports, all of which are accepted, and wait until the observer has them."""
        answer = self.post(*reports)
        assert (answer["accepted"], answer["rejected"]) == (len(reports), [])
        until(lambda: self.bus.unprocessed_reports() == 0, 30, "the observer")

    def moment(self, seconds: float) -> str:
        """A time of a bot."""
        return format_time(self.began + timedelta(seconds=seconds))

    def fill(self, bot: str, number: int, values: Sequence[str], **changes: Any) -> dict[str, Any]:
        """A fill of a bot, with side, quantity, price and fee."""
        amounts = dict(zip(("side", "quantity", "price", "fee"), values, strict=True))
        return {
            "kind": "fill", "bot": bot, "strategy": STRATEGY, "id": f"f-{number}", "fill_id": f"f-{number}", "order_id": f"o-{number}",
            "symbol": SYMBOL, "time": self.moment(number), **amounts, **changes,
        }  # fmt: skip

    def order(self, bot: str, number: int, status: str, seconds: float, **changes: Any) -> dict[str, Any]:
        """A report about the order `o-NUMBER`."""
        return {
            "kind": "order", "bot": bot, "strategy": STRATEGY, "id": f"o-{number}:{status}", "order_id": f"o-{number}", "symbol": SYMBOL,
            "side": "buy", "quantity": "10", "order_type": "limit", "status": status, "time": self.moment(seconds), **changes,
        }  # fmt: skip


@pytest.fixture(scope="module")
def system(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    folder = tmp_path_factory.mktemp("reported")
    with ExitStack() as stack:
        raw = stack.enter_context(redis_client.Redis.from_url(servers.operator_url, protocol=2))
        raw.flushall()
        url = stack.enter_context(new_database(servers))
        bus = stack.enter_context(closing(Bus(servers.redis_url, utc_now)))
        bus.set_instruments({name: kind for name, kind in servers.calendars.items() if name not in (DISABLED, WITHOUT_WINDOW)})
        with closing(Store(url)) as store, store.transaction() as cursor:
            lock_instruments(cursor)
            enable_instrument(cursor, DISABLED, enabled=False)
        settings = settings_for(url, servers.redis_url, folder)
        process = stack.enter_context(observer(settings, folder / "observer.log"))
        rest = stack.enter_context(Web("rest", settings, folder / "rest.log", RATE_REQUESTS="100000/s"))
        until(lambda: bus.latest_snapshot() is not None, 30, lambda: f"a snapshot: {process.output()[-3000:]}")
        yield System(rest, bus, utc_now() - timedelta(minutes=10))


def decimals(*texts: Any) -> list[Decimal | None]:
    """Return decimals; each text is a string or None."""
    assert all(text is None or isinstance(text, str) for text in texts)
    return [None if text is None else Decimal(text) for text in texts]


def test_worked_example_in_any_order_and_twice_is_the_same_on_every_route(system: System) -> None:
    """A bot for each order of arrival: each fill is folded before the next one is sent."""
    bots = {f"any-{number:03}": arrival for number, arrival in enumerate(ARRIVALS)}

    def sent(place: int) -> list[dict[str, Any]]:
        return [system.fill(bot, arrival[place] + 1, EXAMPLE[arrival[place]][0]) for bot, arrival in bots.items()]

    for place in range(5):
        system.accept(*sent(place))
    for place in range(5):
        again = system.post(*sent(place))
        assert (again["accepted"], again["duplicates"], again["rejected"]) == (0, len(bots), [])
    positions = [row for row in system.rows("/positions") if row["bot"] in bots]
    assert len(positions) == len(bots)
    for row in positions:
        found = [row[name] for name in ("quantity", "average_price", "mark", "unrealized_pnl", "realized_pnl")]
        assert decimals(*found) == decimals("0", None, None, "0", "-0.300"), row["bot"]
        assert decimals(row["fees_by_currency"]["USD"]) == [Decimal("0.080")]
    trades = [row for row in system.rows("/api/trades", order="asc", limit=1000) if row["bot"] in bots]
    fills = [row for row in system.rows("/fills", limit=1000) if row["bot"] in bots]
    assert len(trades) == len(fills) == 5 * len(bots)
    for trade, stored in zip(sorted(trades, key=by_bot), sorted(fills, key=by_bot), strict=True):
        (side, *amounts), (*_, pnl), _ = EXAMPLE[int(trade["trade_id"][-1]) - 1]
        assert not any(isinstance(trade[name], str) for name in ("quantity", "price", "fee", "pnl"))
        assert [trade["side"], trade["quantity"], trade["price"], trade["fee"]] == [side, *map(Decimal, amounts)]
        assert [trade["pnl"]] == decimals(stored["realized_pnl"]) == decimals(pnl)
        assert [stored["quantity"], stored["price"], stored["fee"]] == amounts
    for bot in bots:
        of_bot = {"bot": bot, "strategy": STRATEGY, "symbol": SYMBOL}
        for method in ("average", "fifo") if bot.endswith("7") else ("average",):
            rows = system.rows("/positions/statement", **of_bot, method=method)
            figures = [decimals(*(row[name] for name in ("position", "average_price", "realized_gross", "realized_pnl"))) for row in rows]
            assert figures == [statement_row(number, method) for number in range(5)], (bot, method)
    assert '"price":1.09450,' in system.get("/api/trades", bot="any-000", order="asc")
    assert '"price":"1.09450",' in system.get("/fills", bot="any-000")


def by_bot(row: dict[str, Any]) -> tuple[str, str]:
    return row["bot"], row.get("timestamp") or row["time"]


def statement_row(number: int, method: str) -> list[Decimal | None]:
    """Position, average, gross and net after a fill of the example."""
    _, (quantity, average, gross, net, _), (lots_gross, lots_average) = EXAMPLE[number]
    if method == "fifo":
        net = str(Decimal(net) - Decimal(gross) + Decimal(lots_gross))
        gross, average = lots_gross, lots_average
    return decimals(quantity, average, gross, net)


def test_ten_thousand_decimals_of_reports_are_literals_with_the_same_text(system: System) -> None:
    draw = random.Random(15)

    def text() -> str:
        """A positive decimal in the form of reports, without leading zeros."""
        while True:
            whole = str(draw.randrange(10 ** draw.randrange(1, 25)))
            digits = draw.randrange(25)
            found = whole + ("." + "".join(draw.choices("0123456789", k=digits)) if digits else "")
            if Decimal(found) > 0:
                return found

    amounts = [(text(), text(), draw.choice(("", "-")) + text()) for _ in range(5000)]
    fills = [
        system.fill(f"digits-{number % 50:02}", number, (draw.choice(("buy", "sell")), *each), time=system.moment(number / 100))
        for number, each in enumerate(amounts)
    ]
    for start in range(0, len(fills), 500):
        answer = system.post(*fills[start : start + 500])
        assert (answer["accepted"], answer["rejected"]) == (500, [])
    until(lambda: system.bus.unprocessed_reports() == 0, 60, "the observer")
    pattern = r'"trade_id":"digits-\d\d:f-(\d+)".*?"quantity":([^,]+),"price":([^,]+),.*?"fee":([^,]+),'
    assert texts_of(system, "/api/trades", pattern) == dict(enumerate(amounts))
    pattern = r'"bot":"digits-\d\d".*?"fill_id":"f-(\d+)".*?"quantity":"([^"]+)","price":"([^"]+)","fee":"([^"]+)"'
    assert texts_of(system, "/fills", pattern) == dict(enumerate(amounts))
    # Quantity, price and fee of a statement are those of the fill, however many digits they have.
    rows = system.rows("/positions/statement", bot="digits-07", strategy=STRATEGY, symbol=SYMBOL)
    assert [(row["quantity"], row["price"], row["fee"]) for row in rows] == amounts[7::50]


def texts_of(system: System, path: str, pattern: str) -> dict[int, tuple[str, ...]]:
    """Return number of the fill -> its texts in the answer."""
    found = re.findall(pattern, system.get(path, format="ndjson"))
    return {int(number): tuple(texts) for number, *texts in found}


def test_negative_zero_is_zero(system: System) -> None:
    system.accept(system.fill("zero", 1, ("buy", "1", "2", "-0.00")), system.fill("zero", 2, ("sell", "1", "2", "-0")))
    found = system.get("/api/trades", bot="zero", order="asc")
    assert re.findall(r'"fee":([^,]+)', found) == ["0.00", "0"]
    assert re.findall(r'"pnl":([^,]+)', found) in (["null", "0"], ["null", "0.00"])
    [row] = system.rows("/positions", bot="zero")
    assert not any(row[name].startswith("-") for name in ("quantity", "unrealized_pnl", "realized_pnl"))


def test_instrument_of_a_report_may_be_disabled_or_have_no_window_for_prices(system: System) -> None:
    names = (SYMBOL, DISABLED, WITHOUT_WINDOW)
    system.accept(*(system.fill("any-instrument", n, ("buy", "1", "1", "0"), symbol=name) for n, name in enumerate(names)))
    assert {row["symbol"] for row in system.rows("/positions", bot="any-instrument")} == set(names)
    [refused] = system.post(system.fill("any-instrument", 9, ("buy", "1", "1", "0"), symbol="EUR_USDX"))["rejected"]
    assert (refused["index"], refused["id"], refused["code"]) == (0, "f-9", "unknown_instrument")
    assert "did you mean EUR_USD?" in refused["message"]


def test_times_that_are_too_old_or_in_the_future_are_refused(system: System) -> None:
    now = utc_now()
    times = [format_time(now + each) for each in (timedelta(minutes=6), -timedelta(days=30, minutes=1), timedelta(minutes=4))]
    times.append(format_time(now - timedelta(days=29, hours=23)))
    answer = system.post(*(system.fill("times", n, ("buy", "1", "1", "0"), time=time) for n, time in enumerate(times)))
    assert (answer["accepted"], [(each["index"], each["code"]) for each in answer["rejected"]]) == (
        2, [(0, "invalid_payload"), (1, "invalid_payload")],
    )  # fmt: skip
    assert all(each["message"].startswith("time: Must not be more than") for each in answer["rejected"])


def test_other_content_under_a_known_id_is_a_conflict_and_the_first_one_stays(system: System) -> None:
    first = system.fill("conflict", 1, ("buy", "10", "1.10", "0"))
    system.accept(first)
    answer = system.post(first, {**first, "price": "1.11"}, {**first, "metadata": {"a": 1}})
    assert (answer["accepted"], answer["duplicates"]) == (0, 1)
    assert [(each["index"], each["code"]) for each in answer["rejected"]] == [(1, "conflict"), (2, "conflict")]
    assert [row["price"] for row in system.rows("/fills", bot="conflict")] == ["1.10"]


def test_order_is_implicit_until_it_is_reported_and_its_greatest_time_counts(system: System) -> None:
    system.accept(system.fill("orders", 1, ("buy", "4", "1.10", "0"), time=system.moment(2)))
    [row] = system.rows("/orders", bot="orders")
    assert (row["order_id"], row["implicit"], row["quantity"], row["filled_quantity"]) == ("o-1", True, None, "4")
    system.accept(system.order("orders", 1, "cancelled", 5))
    system.accept(system.order("orders", 1, "accepted", 1), system.order("orders", 1, "new", 0))
    [row] = system.rows("/orders", bot="orders", status="cancelled")
    assert (row["implicit"], row["quantity"], row["filled_quantity"]) == (False, "10", "4")
    times = [row[name] for name in ("submitted", "acknowledged", "first_fill", "finished")]
    assert times == [system.moment(seconds) for seconds in (0, 1, 2, 5)]
    [fill] = system.rows("/fills", bot="orders")
    assert fill["latency_ms"] == 2000


def test_corrections_replace_and_void_fills_on_every_route(system: System) -> None:
    """Buy 10 @ 1.10 becomes 10 @ 1.00; sell 4 @ 1.20 stays; sell 6 is void."""
    bot = "corrected"
    system.accept(
        system.fill(bot, 1, ("buy", "10", "1.10", "0")), system.fill(bot, 2, ("sell", "4", "1.20", "0")),
        system.fill(bot, 3, ("sell", "6", "1.20", "0")),
    )  # fmt: skip
    of_correction = {"kind": "correction", "bot": bot, "strategy": STRATEGY, "time": system.moment(9)}
    system.accept(
        {**of_correction, "id": "c-1", "fill_id": "f-3", "action": "cancel"},
        {**of_correction, "id": "c-2", "fill_id": "f-1", "action": "replace", "price": "1.00"},
    )
    assert [(row["price"], row["voided"]) for row in system.rows("/fills", bot=bot)] == [("1.00", False), ("1.20", False), ("1.20", True)]
    trades = system.rows("/api/trades", bot=bot, order="asc")
    assert [(row["trade_id"], row["pnl"]) for row in trades] == [(f"{bot}:f-1", None), (f"{bot}:f-2", Decimal("0.8"))]
    [position] = system.rows("/positions", bot=bot)
    assert decimals(position["quantity"], position["average_price"], position["realized_pnl"]) == decimals("6", "1.00", "0.80")
    rows = system.rows("/positions/statement", bot=bot, strategy=STRATEGY, symbol=SYMBOL)
    assert [row["fill_id"] for row in rows] == ["f-1", "f-2"]


def test_strategy_of_a_bot_has_the_figures_of_its_round_trips(system: System) -> None:
    """Of the round trips -0.33 and 0.03: win rate 1/2, profit factor 0.03 / 0.33."""
    system.accept(*(system.fill("figures", number, values) for number, (values, _, _) in enumerate(EXAMPLE, 1)))
    until(lambda: any(row["win_rate"] for row in system.rows("/strategies", bot="figures")), 20, "the figures")
    [row] = system.rows("/strategies", bot="figures", strategy=STRATEGY)
    assert decimals(row["pnl"], row["realized_pnl"], row["unrealized_pnl"]) == decimals("-0.300", "-0.300", "0")
    assert (row["win_rate"], round(row["profit_factor"], 4), row["no_losses"], row["bots"]) == (0.5, Decimal("0.0909"), False, ["figures"])
