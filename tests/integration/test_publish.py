"""`POST /prices`: refusals, numbers without a hole, duplicates, rights; and `Bus.cache_price`."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import orjson
import pytest
import redis as redis_client
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from api.access.model import Access, Authenticator, Handshake, OpenAuthenticator
from api.app import create_app
from config import settings as settings_module
from db import topics
from db.admission import NotAdmitted
from db.bus import Bus
from db.bus import publish as publish_module
from db.messages import Tick
from db.postgres import Store
from db.timestamps import format_time
from tests.conftest import Servers

Clock = Callable[[], datetime]
NOW = datetime(2026, 3, 2, 6, 0, 0, 250_000, tzinfo=UTC)
TIME = "2026-03-02T06:00:00.250000Z"
NDJSON = "application/x-ndjson"
OPEN = OpenAuthenticator()


class Caller:
    """An authenticator, and the rights of its one client: a key with a name and a pattern."""

    def __init__(self, name: str, scopes: str, refused: str) -> None:
        self.name, self.scopes, self.refused = name, scopes.split(), refused

    def authenticate(self, handshake: Handshake) -> Access:
        return self

    def allows(self, scope: str) -> bool:
        return scope in self.scopes

    def includes(self, instrument: str) -> bool:
        return instrument != self.refused


class MovingClock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> MovingClock:
    return MovingClock()


def client_of(bus: Bus, clock: Clock, authenticator: Authenticator = OPEN) -> FlaskClient:
    """A client of REST without a database: `POST /prices` uses the bus alone."""
    nothing = settings_module.load({"SOURCES": ""}, dotenv=None)
    return create_app(nothing, bus, Store("postgresql://127.0.0.1:1/none"), clock, "1", authenticator).test_client()


@pytest.fixture
def client(bus: Bus, clock: MovingClock) -> FlaskClient:
    return client_of(bus, clock)


def price(number: int = 0, /, **changes: Any) -> dict[str, Any]:
    """A good price, another one for each number; a change to None removes the field."""
    moment = format_time(NOW - timedelta(milliseconds=number))
    found = {"instrument": "EUR_USD", "bid": f"1.{number:06}", "ask": "1.500", "time": moment, **changes}
    return {name: value for name, value in found.items() if value is not None}


def post(client: FlaskClient, *prices: Any) -> Any:
    """The answer to a batch that is readable."""
    answer = client.post("/prices", json={"prices": prices})
    assert answer.status_code == 200, answer.text
    return answer.json


def accepted(count: int) -> dict[str, Any]:
    return {"accepted": count, "duplicates": 0, "rejected": []}


def published(bus: Bus) -> list[dict[str, Any]]:
    """The messages of the stream, oldest first."""
    return [orjson.loads(entry.body) for entry in bus.backwards(topics.PRICES)][::-1]


def bids(bus: Bus) -> list[str]:
    return [body["price"]["bid"] for body in published(bus)]


def details(answer: TestResponse, status: int = 422, code: str = "invalid_payload") -> Any:
    assert answer.json is not None
    assert (answer.status_code, answer.json["error"]["code"]) == (status, code), answer.text
    return answer.json["error"]["details"]


def test_price_is_numbered_and_keeps_its_digits(client: FlaskClient, bus: Bus) -> None:
    body = price(bid="2400.10", ask="2400.460", volume="12", time="2026-03-02T07:00:00.25+01:00")
    assert post(client, body, price(1, bid=None, ask=None, mid="7.50")) == accepted(2)
    first, second = published(bus)
    assert first["price"] == {"bid": "2400.10", "ask": "2400.460", "mid": "2400.280", "time": TIME}
    assert {name: second["price"][name] for name in ("bid", "ask", "mid")} == dict.fromkeys(("bid", "ask", "mid"), "7.50")
    assert [(body["instrument"], body["seq"], body["timestamp"]) for body in (first, second)] == [
        ("EUR_USD", 1, TIME),
        ("EUR_USD", 2, TIME),
    ]
    assert [(entry.source, entry.volume) for entry in bus.backwards(topics.PRICES)] == [("publish", None), ("publish", "12")]
    latest = client.get("/price/latest?symbol=EUR_USD").json
    assert latest is not None
    assert (latest["price"], latest["seq"]) == ("7.50", 2)


@pytest.mark.parametrize(
    ("code", "entry", "text"),
    [
        ("unknown_instrument", price(instrument="XAU_EUR"), "There is no instrument 'XAU_EUR'."),
        ("unknown_instrument", price(instrument="EURUSD"), "did you mean EUR_USD?"),
        ("not_a_decimal", price(bid="NaN"), "NaN"),
        ("not_a_decimal", price(ask="Infinity"), "Infinity"),
        ("not_a_decimal", price(bid="-1"), "-1"),
        ("not_a_decimal", price(bid="1" * 25), "1" * 25),
        ("not_a_decimal", price(ask="1e25"), "24 digits"),
        ("not_a_decimal", price(volume="-1"), "-1"),
        ("not_a_decimal", price(mid="1,5"), "1,5"),
        ("bad_price", price(bid="2650.40", ask="2650.10"), "bid 2650.40 is above ask 2650.10"),
        ("bad_price", price(bid="0"), "bid 0 is not above 0"),
        ("bad_price", price(mid="0.0"), "mid 0.0"),
        ("time_too_old", price(time="1970-12-31T23:59:59.999999Z"), "1971-01-01"),
        ("time_in_future", price(time=format_time(NOW + timedelta(seconds=300, microseconds=1))), "is after"),
        ("invalid_payload", price(time="now"), "time: "),
        ("invalid_payload", price(time="1484092800000"), "time: "),
        ("invalid_payload", price(bid=1.5), "bid: not text"),
        ("invalid_payload", price(ask=True), "ask: not text"),
        ("invalid_payload", price(mid=[]), "mid: not text"),
        ("invalid_payload", price(instrument=7), "instrument: not text"),
        ("invalid_payload", price(instrument=None), "instrument: missing"),
        ("invalid_payload", price(instrument="\0"), "instrument: "),
        ("invalid_payload", price(bid=None), "bid: missing"),
        ("invalid_payload", price(ask=None, mid="1.2"), "ask: missing"),
        ("invalid_payload", price(bid=None, ask=None), "bid: missing"),
        ("invalid_payload", price(biid="1"), "biid: unknown field: there are instrument, bid, ask, mid, time, volume"),
        ("invalid_payload", "EUR_USD", "not an object"),
        ("invalid_payload", None, "not an object"),
    ],
)
def test_bad_price_at_any_index_is_refused_by_itself(client: FlaskClient, bus: Bus, code: str, entry: Any, text: str) -> None:
    number = 0
    for index in range(4):
        good = [price(number := number + 1) for _ in range(3)]
        answer = post(client, *good[:index], entry, *good[index:])
        assert (answer["accepted"], answer["duplicates"]) == (3, 0)
        [rejected] = answer["rejected"]
        assert (rejected["index"], rejected["code"]) == (index, code)
        assert text in rejected["message"]
    assert [body["seq"] for body in published(bus)] == list(range(1, 13))
    assert bids(bus) == [price(each)["bid"] for each in range(1, 13)]


def test_name_given_twice_in_an_entry_is_refused(client: FlaskClient, bus: Bus) -> None:
    twice = '{"instrument":"EUR_USD","bid":"1","ask":"2","bid":"1.5"}'
    answer = client.post("/prices", data=f'{{"prices":[{twice},{json.dumps(price())}]}}', content_type="application/json")
    expected = {"index": 0, "code": "invalid_payload", "message": "bid: given more than once"}
    assert answer.json == {"accepted": 1, "duplicates": 0, "rejected": [expected]}


def test_time_at_the_bounds_is_accepted(client: FlaskClient) -> None:
    ahead = format_time(NOW + timedelta(seconds=300))
    assert post(client, price(time="1971-01-01"), price(time=ahead), price(instrument="BTCUSDT", time="2009-01-03")) == accepted(3)


def test_exponent_becomes_plain_digits(client: FlaskClient, bus: Bus) -> None:
    assert post(client, price(bid="1.5e0", ask="16E-1")) == accepted(1)
    assert published(bus)[0]["price"] == {"bid": "1.5", "ask": "1.6", "mid": "1.55", "time": TIME}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"", "body"),
        (b"{", "body"),
        (b'{"prices":[{"bid":NaN}]}', "body"),
        (b'{"prices":["\xff"]}', "body"),
        (b'{"prices":["\\ud800"]}', "body"),
        (b'{"prices":' + b"[" * 5000 + b"]" * 5000 + b"}", "body"),
        (b'{"prices":[' + b"[" * 1000 + b"]" * 1000 + b"]}", "body"),
        (b"[]", "body"),
        (b"{}", "prices"),
        (b'{"prices":{}}', "prices"),
        (b'{"prices":[]}', "prices"),
        (b'{"prices":[' + b",".join([b"{}"] * 501) + b"]}", "prices"),
        (b'{"prices":[{}],"prices":[{}]}', "prices"),
        (b'{"prices":[{}],"price":1}', "price"),
    ],
)
def test_body_that_is_no_batch_is_refused_as_a_whole(client: FlaskClient, bus: Bus, body: bytes, field: str) -> None:
    assert set(details(client.post("/prices", data=body, content_type="application/json"))) == {field}
    assert published(bus) == []


def test_content_type_is_one_of_two(client: FlaskClient) -> None:
    body = json.dumps({"prices": [price()]})
    for kind in ("text/plain", "application/x-www-form-urlencoded", ""):
        expected = {"Content-Type": ["Use application/json or application/x-ndjson."]}
        assert details(client.post("/prices", data=body, content_type=kind)) == expected
    assert client.post("/prices", data=body, content_type="application/json; charset=utf-8").json == accepted(1)
    assert details(client.post("/prices?source=x", json={"prices": [price()]})) == {"source": ["Unknown argument: this route takes none."]}


def test_batch_may_have_500_prices_and_256_kib(client: FlaskClient, bus: Bus) -> None:
    assert post(client, *(price(number) for number in range(500))) == accepted(500)
    assert [body["seq"] for body in published(bus)] == list(range(1, 501))
    body = json.dumps({"prices": [price(600)]}).encode()
    whole = body + b" " * (256 * 1024 - len(body))
    details(client.post("/prices", data=whole + b" ", content_type="application/json"), 413, "request_entity_too_large")
    assert client.post("/prices", data=whole, content_type="application/json").json == accepted(1)


# NDJSON


def test_each_line_of_ndjson_is_a_price(client: FlaskClient, bus: Bus) -> None:
    lines = [json.dumps(price(1)), "", json.dumps(price(2, bid="9")), '{"instrument":', "7", json.dumps(price(3))]
    answer = client.post("/prices", data="\r\n".join(lines) + "\n", content_type=NDJSON).json
    assert answer is not None
    assert [(each["index"], each["code"]) for each in answer["rejected"]] == [
        (1, "bad_price"), (2, "invalid_payload"), (3, "invalid_payload"),
    ]  # fmt: skip
    assert (answer["accepted"], bids(bus)) == (2, ["1.000001", "1.000003"])


def test_ndjson_without_any_json_or_price_is_no_batch(client: FlaskClient) -> None:
    for body, field in (("", "prices"), ("\n\n", "prices"), ("instrument,bid,ask\nEUR_USD,1,2\n", "body"), ("{}\n" * 501, "prices")):
        assert set(details(client.post("/prices", data=body, content_type=NDJSON))) == {field}


# duplicates


def test_same_batch_again_is_all_duplicates(client: FlaskClient, bus: Bus) -> None:
    batch = [price(number, instrument=name) for number in range(50) for name in ("EUR_USD", "GBP_USD")]
    crossed = price(bid="3")
    first, again = (post(client, *batch, crossed) for _ in range(2))
    assert (first["accepted"], first["duplicates"], len(first["rejected"])) == (100, 0, 1)
    assert (again["accepted"], again["duplicates"], again["rejected"]) == (0, 100, first["rejected"])
    assert len(published(bus)) == bus.unstored() == 100
    assert post(client, *batch, price(51)) == {"accepted": 1, "duplicates": 100, "rejected": []}
    assert published(bus)[-1]["seq"] == 51


def test_duplicate_is_known_by_its_values(client: FlaskClient, bus: Bus) -> None:
    assert post(client, price(bid="1.50", ask="1.6")) == accepted(1)
    same = price(bid="01.5", ask="1.600", mid="1.55", time="2026-03-02 07:00:00.2500+01:00", volume="3")
    others = [price(**{"bid": "1.5", "ask": "1.6", name: value}) for name, value in (("bid", "1.51"), ("ask", "1.61"), ("mid", "1.56"))]
    others += [price(bid="1.5", ask="1.6", time="2026-03-02T06:00:00.250001Z"), price(instrument="GBP_USD", bid="1.5", ask="1.6")]
    assert post(client, same, *others, same, others[0]) == {"accepted": 5, "duplicates": 3, "rejected": []}
    assert [body["seq"] for body in published(bus) if body["instrument"] == "EUR_USD"] == [1, 2, 3, 4, 5]


def test_price_is_remembered_for_15_minutes(client: FlaskClient, clock: MovingClock, raw_redis: redis_client.Redis) -> None:
    assert post(client, price()) == accepted(1)
    clock.now += timedelta(minutes=14, seconds=59)
    assert post(client, price())["duplicates"] == 1
    clock.now += timedelta(seconds=1)
    assert post(client, price()) == accepted(1)
    assert raw_redis.zcard(topics.seen_key("EUR_USD")) == 1
    assert 0 < raw_redis.pttl(topics.seen_key("EUR_USD")) <= 15 * 60 * 1000


def test_number_of_remembered_prices_is_bounded(
    client: FlaskClient, clock: MovingClock, raw_redis: redis_client.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publish_module, "_MAX_SEEN", 3)
    for number in range(5):
        assert post(client, price(number)) == accepted(1)
        clock.now += timedelta(milliseconds=1)
    assert raw_redis.zcard(topics.seen_key("EUR_USD")) == 3
    assert post(client, *(price(number) for number in range(5))) == {"accepted": 2, "duplicates": 3, "rejected": []}


def test_price_without_time_gets_that_of_its_reception_and_is_no_duplicate(client: FlaskClient, bus: Bus) -> None:
    for _ in range(2):
        assert post(client, price(time=None), price(time=None), price(time=None, bid="1.4")) == accepted(3)
    assert [body["price"]["time"] for body in published(bus)] == [TIME] * 6
    assert [entry.occurrence for entry in bus.backwards(topics.PRICES)] == [1, 2, 1] * 2


def test_price_of_another_publisher_is_no_duplicate(client: FlaskClient, bus: Bus) -> None:
    body = price()
    for _ in range(2):
        bus.cache_price("EUR_USD", bid=body["bid"], ask=body["ask"], time=body["time"])
    assert post(client, body) == accepted(1)
    assert [each["seq"] for each in published(bus)] == [1, 2, 3]


def test_repeated_price_is_published_again_after_a_loss_of_data(client: FlaskClient, bus: Bus, raw_redis: redis_client.Redis) -> None:
    assert post(client, price(1), price(2)) == accepted(2)
    raw_redis.delete(topics.NUMBERS_KEY, topics.stream_key(topics.PRICES))
    assert post(client, price(1), price(2), price(2)) == {"accepted": 2, "duplicates": 1, "rejected": []}
    assert [body["seq"] for body in published(bus)] == [1, 2]
    assert post(client, price(1)) == {"accepted": 0, "duplicates": 1, "rejected": []}


def test_unreadable_memory_of_prices_loses_none(client: FlaskClient, bus: Bus, raw_redis: redis_client.Redis) -> None:
    raw_redis.set(topics.seen_key("EUR_USD"), "text")
    assert client.post("/prices", json={"prices": [price()]}).status_code == 503
    assert published(bus) == []
    raw_redis.delete(topics.seen_key("EUR_USD"))
    assert post(client, price()) == accepted(1)


# nothing is accepted


def test_full_bus_is_503_and_nothing_is_accepted(servers: Servers, bus: Bus, clock: MovingClock) -> None:
    with closing(Bus(servers.redis_url, clock, limit=10)) as small:
        client = client_of(small, clock)
        assert post(client, *map(price, range(8))) == accepted(8)
        answer = client.post("/prices", json={"prices": [price(number, bid="1.1") for number in range(3)]})
        assert details(answer, 503, "unavailable") == {"part": "writer"}
        assert int(answer.headers["Retry-After"]) > 0
        assert len(published(bus)) == 8
        assert post(client, price(9), price(10)) == accepted(2)


# rights


def test_key_publishes_under_its_name_and_within_its_pattern(bus: Bus, clock: MovingClock) -> None:
    client = client_of(bus, clock, Caller("my key/é.1", "publish", refused="GBP_USD"))
    answer = post(client, price(1), price(2, instrument="GBP_USD"), price(3, instrument="GBP_EUR"), price(4))
    assert [(each["index"], each["code"]) for each in answer["rejected"]] == [(1, "forbidden"), (2, "unknown_instrument")]
    assert [body["seq"] for body in published(bus)] == [1, 2]
    assert {entry.source for entry in bus.backwards(topics.PRICES)} == {"publish:my_key__.1"}


def test_key_without_the_scope_publishes_nothing(bus: Bus, clock: MovingClock) -> None:
    client = client_of(bus, clock, Caller("reader", "read observe", refused=""))
    assert details(client.post("/prices", json={"prices": [price()]}), 403, "forbidden") == {"scope": ["publish"]}
    assert published(bus) == []


# Bus.cache_price


def test_cache_price_needs_neither_mid_nor_time(bus: Bus) -> None:
    bus.cache_price("EUR_USD", bid=Decimal("1.10"), ask="1.2e0")
    assert published(bus)[0]["price"] == {"bid": "1.10", "ask": "1.2", "mid": "1.15", "time": TIME}


@pytest.mark.parametrize(
    ("values", "error"),
    [
        ({"time": "now"}, ValueError),
        ({"time": datetime(2026, 3, 2, 6)}, ValueError),  # noqa: DTZ001 - the fault
        ({"time": NOW + timedelta(seconds=301)}, NotAdmitted),
        ({"bid": "3"}, NotAdmitted),
        ({"bid": "NaN"}, NotAdmitted),
        ({"ask": Decimal("Infinity")}, NotAdmitted),
        ({"bid": 1.1}, TypeError),
        ({"mid": 1}, TypeError),
    ],
)
def test_cache_price_that_is_refused_takes_no_number(bus: Bus, values: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        bus.cache_price("EUR_USD", **{"bid": "1.1", "ask": "1.2", **values})
    with pytest.raises(NotAdmitted):
        bus.cache_price("XAU_EUR", bid="1", ask="1")
    assert bus.cache_price("EUR_USD", bid="1.1", ask="1.2").seq == 1


def test_step_takes_at_most_500_prices(bus: Bus) -> None:
    ticks = [Tick("EUR_USD", "1", "2", "1.5", TIME, "publish")] * 501
    with pytest.raises(ValueError, match="at most 500"):
        bus.publish_once(ticks, [True] * 501)
