"""Alerts of clients.

The index is compared with a scan of all rules. Requests and notifier run with the real fan-out and
real outboxes. The last part is the validation of requests.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from itertools import count
from typing import Any, Self

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from marshmallow import ValidationError

from api.errors import ErrorCode, Refusal
from api.hub.alerts.notifier import AlertNotifier
from api.hub.alerts.requests import AlertRequests
from api.hub.alerts.rules import MAX_RULES_PER_CLIENT, MAX_RULES_PER_HUB, Rule, RuleIndex, Series, TooManyRules
from api.hub.fanout import Fanout
from api.hub.messages import decode
from api.hub.schemas.requests import METRICS, OPERATORS, DeleteAlertSchema, SetAlertSchema
from api.hub.transport.outbox import Outbox
from db import topics

EUR: Series = ("EUR_USD", "price")
GBP: Series = ("GBP_USD", "price")
EUR_VOLATILITY: Series = ("EUR_USD", "volatility")
# Few levels, so that values equal thresholds; each in several spellings.
LEVELS = [text for level in range(1, 9) for text in (f"1.{level}", f"1.{level}000")]
NOON = "2025-11-18T12:00:00.000000Z"


def make(number: int, op: str, threshold: str, *, once: bool = True, client: str = "one", series: Series = EUR) -> Rule:
    return Rule(f"id-{number}", number, client, series, op, threshold, Decimal(threshold), once)


def walk(op: str, threshold: str, values: str, *, once: bool = False) -> str:
    """Return the values that fire a rule, as `x` at their places: `"..x."`.

    The rule is set at the first value; `-` means that there is no value yet.
    """
    first, *rest = values.split()
    index = RuleIndex()
    index.add(make(1, op, threshold, once=once), None if first == "-" else Decimal(first))
    return "".join("x" if index.observe(EUR, value) else "." for value in rest)


@pytest.mark.parametrize(
    ("op", "values", "fires"),
    [
        # above: an equal value is not above; each rise fires once
        (">", "1 1.4 1.5 1.6 1.7 1.6 1.5 1.6 1.4 1.6", "..x...x.x"),
        # above already when it is set: only the next value above fires
        (">", "1.6 1.6 1.7 1.8", "x.."),
        (">", "1.6 1.5 1.6", ".x"),
        (">", "- 1.6 1.7", "x."),
        (">", "- 1.5 1.6", ".x"),
        # below, the mirror image
        ("<", "2 1.6 1.5 1.4 1.3 1.5 1.4", "..x..x"),
        ("<", "1.4 1.4 1.3", "x."),
        ("<", "- 1.4 1.3", "x."),
        # crosses: an equal value crosses; the next value does not, on either side
        ("crosses", "1.4 1.6 1.4 1.3 1.7", "xx.x"),
        ("crosses", "1.4 1.5 1.6 1.5 1.5 1.4", "x.x.."),
        ("crosses", "1.4 1.5 1.4", "x."),
        ("crosses", "1.5 1.6 1.7", ".."),
        ("crosses", "1.6 1.6 1.4", ".x"),
        ("crosses", "- 1.6 1.7 1.5", "..x"),
    ],
)
def test_rule_fires_at_the_expected_values(op: str, values: str, fires: str) -> None:
    assert walk(op, "1.5", values) == fires
    assert walk(op, "1.50000", values) == fires  # the same decimal
    first = fires.find("x") + 1
    assert walk(op, "1.5", values, once=True) == fires[:first] + "." * (len(fires) - first)


def test_decimals_are_compared_exactly() -> None:
    assert walk(">", "1.1", "1 1.10000 1.100000000000000000000001") == ".x"  # equal as floats
    assert walk("crosses", "0.3", "0.2 0.3000") == "x"


@dataclass
class Naive:
    """One rule that is compared with every value."""

    rule: Rule
    before: Decimal | None  # the previous value; for `crosses`, at first the value when it was set

    def fires(self, value: Decimal) -> bool:
        before, self.before, threshold = self.before, value, self.rule.threshold
        if self.rule.op == ">":
            return value > threshold and not (before is not None and before > threshold)
        if self.rule.op == "<":
            return value < threshold and not (before is not None and before < threshold)
        return before is not None and (before < threshold <= value or before > threshold >= value)


class Rules(RuleBasedStateMachine):
    """Random rules on random walks; a scan of all rules fires the same ones."""

    def __init__(self) -> None:
        super().__init__()
        self.index = RuleIndex(max_per_client=1000)
        self.naive: dict[str, Naive] = {}
        self.last: dict[Series, Decimal] = {}
        self.numbers = count(1)

    @rule(
        client=st.sampled_from(["one", "two"]),
        series=st.sampled_from([EUR, GBP, EUR_VOLATILITY]),
        op=st.sampled_from(OPERATORS),
        threshold=st.sampled_from(LEVELS),
        once=st.booleans(),
        times=st.sampled_from([1, 1, 1, 20]),
    )
    def set(self, client: str, series: Series, op: str, threshold: str, once: bool, times: int) -> None:
        for _ in range(times):
            new = make(next(self.numbers), op, threshold, once=once, client=client, series=series)
            self.index.add(new, self.last.get(series))
            self.naive[new.id] = Naive(new, self.last.get(series) if op == "crosses" else None)

    @rule(series=st.sampled_from([EUR, GBP, EUR_VOLATILITY]), values=st.lists(st.sampled_from(LEVELS), min_size=1, max_size=6))
    def observe(self, series: Series, values: list[str]) -> None:
        for text in values:
            self.last[series] = Decimal(text)
            concerned = [each for each in self.naive.values() if each.rule.series == series]
            expected = [each.rule for each in concerned if each.fires(Decimal(text))]
            assert list(self.index.observe(series, text)) == expected
            self.naive = {key: each for key, each in self.naive.items() if not (each.rule.once and each.rule in expected)}

    @precondition(lambda self: self.naive)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        chosen = self.naive.pop(data.draw(st.sampled_from(sorted(self.naive)))).rule
        assert not self.index.delete("somebody", chosen.id)
        assert self.index.delete(chosen.client, chosen.id)
        assert not self.index.delete(chosen.client, chosen.id)

    @rule(client=st.sampled_from(["one", "two"]))
    def clear(self, client: str) -> None:
        gone = self.held(client)
        assert self.index.clear(client) == gone
        for each in gone:
            del self.naive[each.id]

    def held(self, client: str) -> list[Rule]:
        return [each.rule for each in self.naive.values() if each.rule.client == client]

    @invariant()
    def only_these_rules_are_kept(self) -> None:
        assert len(self.index) == len(self.naive)
        assert [self.index.held(client) for client in ("one", "two")] == [self.held("one"), self.held("two")]
        assert set(self.index._watched) == {each.rule.series for each in self.naive.values()}


TestRules = Rules.TestCase
TestRules.settings = settings(max_examples=75, stateful_step_count=25, deadline=None)


@given(st.lists(st.tuples(st.sampled_from(OPERATORS), st.sampled_from(LEVELS)), min_size=9, max_size=60), st.data())
def test_deleting_many_rules_keeps_the_others_in_order(rules: list[tuple[str, str]], data: st.DataObject) -> None:
    """The index rebuilds a ladder if many rules are deleted at once."""
    at_once, one_by_one = RuleIndex(), RuleIndex()
    for number, (op, threshold) in enumerate(rules):
        client = data.draw(st.sampled_from(["stays", "goes"]))
        for index in (at_once, one_by_one):
            index.add(make(number, op, threshold, once=False, client=client), Decimal("1.45"))
    at_once.clear("goes")
    for each in one_by_one.held("goes"):
        one_by_one.delete("goes", each.id)
    for value in data.draw(st.lists(st.sampled_from(LEVELS), max_size=20)):
        assert list(at_once.observe(EUR, value)) == list(one_by_one.observe(EUR, value))


class Counted(Decimal):
    """A threshold that counts its comparisons."""

    compared = 0

    def __lt__(self, other: Any) -> bool:
        Counted.compared += 1
        return super().__lt__(other)

    def __gt__(self, other: Any) -> bool:
        Counted.compared += 1
        return super().__gt__(other)


def test_rules_that_do_not_fire_are_not_visited() -> None:
    index = RuleIndex(max_per_client=100_000)
    for number in range(30_000):
        threshold = Counted(f"1.{number // 3:05}5")
        index.add(replace(make(number, OPERATORS[number % 3], "1"), threshold=threshold, once=False), Decimal(1))
    index.observe(EUR, "1.04")
    Counted.compared = 0
    for value, fired in (("1.04001", 2), ("1.04002", 2), ("1.04000", 4), ("1.040004", 0), ("1.040004", 0), ("1.04000", 0)):
        assert len(index.observe(EUR, value)) == fired
    assert 6 * 10 < Counted.compared < 6 * 4 * 17


def test_rule_above_the_limits_is_refused() -> None:
    assert (MAX_RULES_PER_CLIENT, MAX_RULES_PER_HUB) == (1_000, 200_000)
    index = RuleIndex(max_per_client=3, max_in_hub=5)
    for number in range(5):
        index.add(make(number, ">", "1.5", client="one" if number < 3 else "two"), None)
    with pytest.raises(TooManyRules, match="at most 3") as mine:
        index.add(make(5, ">", "1.5"), None)
    with pytest.raises(TooManyRules, match="holds its 5") as all_of_them:
        index.add(make(6, ">", "1.5", client="three"), None)
    assert (mine.value.limit, all_of_them.value.limit, len(index)) == (3, 5, 5)
    index.observe(EUR, "1.6")  # they fire and are removed
    assert len(index) == 0
    index.add(make(7, ">", "1.5"), None)


# requests and notifier


class Owner:
    def blocked(self) -> None:
        raise AssertionError

    queued = overflowed = broken = blocked


@dataclass
class World:
    """Requests and notifier on one index, and the data of each `send()` to each client."""

    limits: tuple[int, int] = (1000, 1000)
    current: dict[Series, Decimal] = field(default_factory=dict)
    sent: dict[str, list[bytes]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.index = RuleIndex(*self.limits)
        self.fanout = Fanout(lambda: 0.0, lambda seconds, function: None)
        self.requests = AlertRequests(self.index, {"EUR_USD", "GBP_USD"}, self.current.get, "abc")
        self.notifier = AlertNotifier(self.index, self.fanout, lambda: NOON)

    def add(self, *clients: str) -> Self:
        for client in clients:
            sends = self.sent[client] = []
            box = Outbox(Owner(), 2**20)
            box.open(lambda data, sends=sends: sends.append(data) or len(data))  # type: ignore[misc]
            self.fanout.add(client, box)
        return self

    def set_alert(self, client: str, value: Any, op: str = ">", metric: str = "price", **more: Any) -> str:
        request = SetAlertSchema().load({"instrument": "EUR_USD", "metric": metric, "op": op, "value": value, **more})
        return str(self.requests.set(client, request)["alert"]["id"])

    def price(self, mid: str, **more: Any) -> None:
        """Send a price through the fan-out and the notifier, like the relay."""
        price = {"bid": mid, "ask": mid, "mid": mid, "time": "2025-11-18T11:59:59Z"}
        message = decode(topics.PRICES, orjson.dumps({"instrument": "EUR_USD", "price": price, "timestamp": NOON, **more}), {"EUR_USD"})
        self.fanout.broadcast(message.rooms, message.frame)
        self.notifier.price(message)

    def received(self, client: str) -> list[list[tuple[str, Any]]]:
        """Return the (event, body) pairs of each `send()`."""
        return [events(data) for data in self.sent[client]]


def events(data: bytes) -> list[tuple[str, Any]]:
    found = []
    while data:
        size, start = (int.from_bytes(data[2:4]), 4) if data[1] == 126 else (data[1], 2)
        found.append(tuple(orjson.loads(data[start + 2 : start + size])))
        data = data[start + size :]
    return found


def test_alert_reaches_only_its_client_after_the_price() -> None:
    world = World().add("one", "two", "three")
    world.fanout.join("one", ["price_EUR_USD"])
    world.fanout.join("two", ["price_EUR_USD"])
    first, second = world.set_alert("one", "1.50"), world.set_alert("one", 1.4, once=False)
    third = world.set_alert("three", "1.6", "crosses")
    world.price("1.45", seq=1, epoch="e")
    world.price("1.55", seq=2, epoch="e")
    world.price("1.65")
    world.fanout.flush()
    names = {client: [name for send in world.received(client) for name, _ in send] for client in world.sent}
    prices = ["price_update"] * 3
    assert names == {
        "one": ["price_update", "alert_triggered", "price_update", "alert_triggered", "price_update"],
        "two": prices,
        "three": ["alert_triggered"],  # without a subscription
    }
    bodies = [body for client in ("one", "three") for send in world.received(client) for name, body in send if name == "alert_triggered"]
    common = {"instrument": "EUR_USD", "metric": "price", "time": "2025-11-18T11:59:59Z", "timestamp": NOON}
    assert bodies == [
        {**common, "id": second, "op": ">", "value": "1.4", "current": "1.45", "once": False, "seq": 1, "epoch": "e"},
        {**common, "id": first, "op": ">", "value": "1.50", "current": "1.55", "once": True, "seq": 2, "epoch": "e"},
        {**common, "id": third, "op": "crosses", "value": "1.6", "current": "1.65", "once": True, "seq": None, "epoch": None},
    ]
    assert list(bodies[0]) == ["id", "instrument", "metric", "op", "value", "current", "time", "once", "timestamp", "seq", "epoch"]


def test_alerts_of_one_price_are_one_send_in_the_order_of_the_rules() -> None:
    world = World().add("one", "two")
    ids = {client: [world.set_alert(client, f"1.{9 - number}") for number in range(9)] for client in ("one", "two")}
    world.price("2")
    for client in ("one", "two"):
        [together] = world.received(client)
        assert [body["id"] for _, body in together] == ids[client]
    assert len(world.index) == 0


def test_volatility_of_an_alert_is_a_number() -> None:
    world = World().add("one")
    world.current[EUR_VOLATILITY] = Decimal("0.01")
    world.set_alert("one", 0.02, metric="volatility", once=False)
    world.set_alert("one", "1.5")  # another series
    for value in (0.02, 0.021, 0.03, 0.01, 5e-324, 0.0):
        world.notifier.volatility("EUR_USD", value, NOON)
    [[(name, body)]] = world.received("one")
    assert name == "alert_triggered"
    assert (body["metric"], body["value"], body["current"], body["time"], body["seq"], body["epoch"]) == (
        "volatility", 0.02, 0.021, NOON, None, None,
    )  # fmt: skip


def test_alert_requests_return_the_rules_or_an_error() -> None:
    world = World(limits=(2, 3)).add("one", "two")
    first, second = world.set_alert("one", "1.5"), world.set_alert("one", 0.02, metric="volatility", op="<", once=False)
    assert first != second
    alerts = [
        {"id": first, "instrument": "EUR_USD", "metric": "price", "op": ">", "value": "1.5", "once": True},
        {"id": second, "instrument": "EUR_USD", "metric": "volatility", "op": "<", "value": 0.02, "once": False},
    ]
    assert world.requests.list("one") == {"alerts": alerts, "count": 2}
    with pytest.raises(Refusal) as too_many:
        world.set_alert("one", "1.6")
    assert (too_many.value.code, too_many.value.details) == (ErrorCode.TOO_MANY_REQUESTS, {"limit": 2})
    third = world.set_alert("two", "1.5")
    with pytest.raises(Refusal) as full:
        world.set_alert("two", "1.6")
    assert (full.value.code, full.value.details) == (ErrorCode.TOO_MANY_REQUESTS, {"limit": 3})
    with pytest.raises(Refusal) as unknown:
        world.set_alert("two", "1.6", instrument="XXX_YYY")
    assert (unknown.value.code, set(unknown.value.details)) == (ErrorCode.UNKNOWN_INSTRUMENT, {"instrument"})
    with pytest.raises(Refusal) as foreign:
        world.requests.delete("one", third)
    assert (foreign.value.code, set(foreign.value.details)) == (ErrorCode.INVALID_PAYLOAD, {"id"})
    assert world.requests.delete("one", first) == {"deleted": [first], "count": 1}
    assert world.requests.delete("one", "all") == {"deleted": [second], "count": 0}
    assert world.requests.delete("one", "all") == {"deleted": [], "count": 0}
    world.requests.forget("two")
    assert world.requests.count() == 0


# validation

GOOD = {"instrument": "EUR_USD", "metric": "price", "op": ">", "value": "1.5"}


@pytest.mark.parametrize(
    ("metric", "value", "read"),
    [
        ("price", "1.0950", "1.0950"), ("price", 1.095, "1.095"), ("price", 1, "1"), ("price", 1e-7, "0.0000001"),
        ("price", 1e22, "10000000000000000000000"), ("volatility", 0.02, 0.02), ("volatility", 1, 1.0),
    ],
)  # fmt: skip
def test_value_is_kept_in_the_form_of_its_metric(metric: str, value: object, read: object) -> None:
    loaded = SetAlertSchema().load({**GOOD, "metric": metric, "value": value})
    assert loaded["value"] == (read, Decimal(str(read)))
    assert type(loaded["value"][0]) is type(read)
    assert loaded["once"] is True


_NO_FLAGS: Sequence[object] = (1, 0, "true", None, [])
_BAD_VALUES: Sequence[object] = (0, -1, 0.0, True, None, [], {}, 10**400, float("inf"), float("nan"))
BAD: list[tuple[str, dict[str, Any]]] = [
    *(("value", {"value": value, "metric": metric}) for metric in METRICS for value in _BAD_VALUES),
    *(("value", {"value": value}) for value in ("0", "0.00", "-1", "1e3", "", "x", "1,5", "٣", "1" * 25, 1e300, 1e-30)),
    *(("value", {"value": value, "metric": "volatility"}) for value in ("0.02", "x")),
    *(("metric", {"metric": metric}) for metric in ("prices", "", None, 1, ["price"])),
    *(("op", {"op": op}) for op in (">=", "=", "", None, 1, [">"])),
    *(("once", {"once": flag}) for flag in _NO_FLAGS),
    *(("instrument", {"instrument": instrument}) for instrument in ("", "x" * 65, None, 1, ["EUR_USD"])),
]


@pytest.mark.parametrize(("name", "bad"), BAD)
def test_invalid_field_is_named(name: str, bad: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as caught:
        SetAlertSchema().load({**GOOD, **bad})
    assert set(caught.value.messages_dict) == {name}


def test_missing_field_is_named() -> None:
    for name in GOOD:
        with pytest.raises(ValidationError) as caught:
            SetAlertSchema().load({key: value for key, value in GOOD.items() if key != name})
        assert set(caught.value.messages_dict) == {name}
    for bad in ({}, {"id": None}, {"id": 1}, {"id": ""}, {"id": "x" * 65}):
        with pytest.raises(ValidationError) as caught:
            DeleteAlertSchema().load(bad)
        assert set(caught.value.messages_dict) == {"id"}
