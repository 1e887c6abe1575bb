"""The check of reports at the edge: fields, times, rights, instruments, texts of refusals."""

from __future__ import annotations

from dataclasses import fields
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.access.model import Access, anonymous
from api.errors import ErrorCode, Refusal
from api.schemas.report_fields import FIELDS
from api.schemas.reports import check_reports, report_accepted
from config.access.patterns import EVERYTHING
from db.bus import BatchOutcome, Outcome, ReportLimits, ReportsFull
from db.reports.model import KINDS, MODELS, Correction, Heartbeat, Order, Signal, digest_of, from_json, to_json
from db.timestamps import format_time
from tests.support.reports import MOMENT, fill, fill_body

KNOWN = frozenset({"EUR_USD", "GBP_USD"})
NOW = MOMENT + timedelta(seconds=1)
ALL = anonymous()
SHARED = {"bot": "mm-1", "strategy": "mean_reversion", "time": "2025-11-18T12:34:56.789123Z"}
ORDER = {
    **SHARED, "kind": "order", "id": "e-1", "order_id": "o-1", "symbol": "EUR_USD", "side": "sell", "quantity": "5", "order_type": "limit",
    "status": "new",
}  # fmt: skip
CORRECTION = {**SHARED, "kind": "correction", "id": "c-1", "fill_id": "f-17", "action": "cancel"}


def refusal(entry: Any, access: Access = ALL, now: datetime = NOW) -> tuple[str, str]:
    """The code and the message of the refusal of one entry."""
    checked = check_reports([entry], access, KNOWN, now)
    assert checked.reports == ()
    (rejected,) = checked.rejected
    assert rejected["index"] == 0
    return rejected["code"], rejected["message"]


def accepted(entry: Any) -> Any:
    checked = check_reports([entry], ALL, KNOWN, NOW)
    assert checked.rejected == ()
    return checked.reports[0]


def test_good_reports_of_each_kind_become_models() -> None:
    assert accepted(fill_body()) == fill()
    assert accepted({**ORDER, "reason": "why", "decision_time": "2025-11-18T13:34:56+01:00", "decision_price": "1.1"}) == Order(
        bot="mm-1", strategy="mean_reversion", id="e-1", time=MOMENT, order_id="o-1", symbol="EUR_USD", side="sell", quantity=Decimal(5),
        order_type="limit", status="new", reason="why", decision_price=Decimal("1.1"),
        decision_time=datetime(2025, 11, 18, 12, 34, 56, tzinfo=UTC),
    )  # fmt: skip
    shared: dict[str, Any] = {"bot": "mm-1", "strategy": "mean_reversion", "time": MOMENT}
    body = {**SHARED, "kind": "signal", "id": "s-1", "symbol": "EUR_USD", "signal": "hold", "outcome": "approved", "confidence": 1}
    assert accepted(body) == Signal(**shared, id="s-1", symbol="EUR_USD", signal="hold", outcome="approved", confidence=1.0)
    body = {**SHARED, "kind": "heartbeat", "id": "h-1", "equity": "-10.50", "cash": None}
    assert accepted(body) == Heartbeat(**shared, id="h-1", equity=Decimal("-10.50"))
    assert accepted(CORRECTION) == Correction(**shared, id="c-1", fill_id="f-17", action="cancel")
    assert accepted({**CORRECTION, "action": "replace", "fee": "-0.1"}).fee == Decimal("-0.1")


def test_defaults_of_a_fill_are_those_of_the_contract() -> None:
    found = accepted(fill_body(fee=None, fee_currency=None))
    assert (found.fee, found.fee_currency, found.currency, found.multiplier) == (0, None, None, 1)
    assert accepted(fill_body(fee="-0.02")).fee == Decimal("-0.02")  # a rebate


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"quantity": "-1"}, "quantity: Must be a positive decimal string."),
        ({"quantity": "0.000"}, "quantity: Must be a positive decimal string."),
        ({"quantity": 1000}, "quantity: Must be a positive decimal string."),
        ({"price": "1e5"}, "price: Must be a positive decimal string."),
        ({"price": "NaN"}, "price: Must be a positive decimal string."),
        ({"price": "١"}, "price: Must be a positive decimal string."),
        ({"price": None}, "price: Missing data for required field."),
        ({"fee": "+1"}, "fee: Must be a decimal string."),
        ({"fee": 0.02}, "fee: Must be a decimal string."),
        ({"multiplier": "0"}, "multiplier: Must be a positive decimal string."),
        ({"fee_currency": "usd"}, "fee_currency: Must be a currency such as USD or USDT."),
        ({"liquidity": "both"}, "liquidity: Must be one of: maker, taker."),
        ({"side": "long"}, "side: Must be one of: buy, sell."),
        ({"kind": "trade"}, "kind: Must be one of: order, fill, signal, heartbeat, correction."),
        ({"kind": ["fill"]}, "kind: Must be one of: order, fill, signal, heartbeat, correction."),
        ({"bot": "m m"}, "bot: Must match [A-Za-z0-9_.-]{1,32}."),
        ({"bot": "m" * 33}, "bot: Must match [A-Za-z0-9_.-]{1,32}."),
        ({"bot": "mm-1\n"}, "bot: Must match [A-Za-z0-9_.-]{1,32}."),
        ({"strategy": "s" * 65}, "strategy: Must match [A-Za-z0-9_.-]{1,64}."),
        ({"order_id": "a/b"}, "order_id: Must match [A-Za-z0-9_.:-]{1,64}."),
        ({"fill_id": "f-18"}, "fill_id: Must be equal to id."),
        ({"colour": "red"}, "colour: Unknown field of a report of kind fill."),
        ({"time": "2025-11-18T12:39:57.789124Z"}, "time: Must not be more than 5 minutes in the future."),
        ({"time": "2025-10-19T12:34:57.789122Z"}, "time: Must not be more than 30 days old."),
        ({"time": 1763469296}, "time: Must be an RFC 3339 time such as 2025-11-18T12:34:56.789123Z."),
        ({"time": "2025-02-30T00:00:00Z"}, "time: Day is out of range for month."),
        ({"metadata": []}, "metadata: Must be an object."),
        ({"metadata": {"a": "x" * 2041}}, "metadata: Must have at most 2048 bytes as JSON, not 2049."),
    ],
)
def test_bad_field_is_named(changes: dict[str, Any], message: str) -> None:
    assert refusal({**fill_body(), **changes}) == ("invalid_payload", message)


def test_limits_of_times_and_metadata_are_inclusive() -> None:
    for time in ("2025-11-18T12:39:57.789123Z", "2025-10-19T12:34:57.789123Z"):
        assert format_time(accepted(fill_body(time=time)).time) == time
    assert accepted(fill_body(metadata={"a": "x" * 2040})).metadata == {"a": "x" * 2040}


def test_correction_needs_values_that_fit_its_action() -> None:
    assert refusal({**CORRECTION, "action": "replace"}) == ("invalid_payload", "action: replace needs a new quantity, price or fee.")
    assert refusal({**CORRECTION, "price": "1"}) == ("invalid_payload", "price: Must not be given: action is cancel.")


def test_unknown_instrument_is_refused_with_a_suggestion() -> None:
    assert refusal(fill_body(symbol="EURUSD")) == (
        "unknown_instrument", "symbol: There is no instrument 'EURUSD': did you mean EUR_USD?",
    )  # fmt: skip
    assert refusal(fill_body(symbol="X" * 400))[0] == "invalid_payload"


def test_caller_reports_for_its_bots_alone() -> None:
    key = Access(frozenset({"report"}), EVERYTHING, bots=frozenset({"mm-1"}), key_id="abcd1234")
    checked = check_reports([fill_body(1), fill_body(2, bot="mm-2"), fill_body(3)], key, KNOWN, NOW)
    assert [report.id for report in checked.reports] == ["f-1", "f-3"]
    assert checked.places == (0, 2)
    assert checked.rejected == ({"index": 1, "id": "f-2", "code": "forbidden", "message": "bot: No right to report for 'mm-2'."},)


@pytest.mark.parametrize("entry", [None, [], "fill", 5, True])
def test_entry_that_is_no_object_is_refused(entry: Any) -> None:
    assert refusal(entry) == ("invalid_payload", "Not an object with the fields of a report.")


def test_refusal_has_the_id_if_it_is_readable() -> None:
    entries = [fill_body(1, quantity="-1"), {**fill_body(2), "id": 5}, {**fill_body(3), "id": "a b"}]
    assert [each["id"] for each in check_reports(entries, ALL, KNOWN, NOW).rejected] == ["f-1", None, None]


# the answer


def test_answer_has_all_outcomes_in_the_order_of_the_batch() -> None:
    checked = check_reports([fill_body(1), fill_body(2, quantity="-1"), fill_body(3), fill_body(4)], ALL, KNOWN, NOW)
    outcome = BatchOutcome((Outcome.CONFLICT, Outcome.NEW, Outcome.DUPLICATE))
    assert report_accepted(checked, outcome, ReportLimits(), NOW) == {
        "accepted": 1,
        "duplicates": 1,
        "rejected": [
            {"index": 0, "id": "f-1", "code": "conflict", "message": "The id was used for another content; the first report stays."},
            {"index": 1, "id": "f-2", "code": "invalid_payload", "message": "quantity: Must be a positive decimal string."},
        ],
        "timestamp": "2025-11-18T12:34:57.789123Z",
    }


def test_refused_batch_raises() -> None:
    checked = check_reports([fill_body(1)], ALL, KNOWN, NOW)
    with pytest.raises(ReportsFull):
        report_accepted(checked, BatchOutcome(full=True), ReportLimits(), NOW)
    with pytest.raises(Refusal) as caught:
        report_accepted(checked, BatchOutcome(retry_after=1.2), ReportLimits(5), NOW)
    assert (caught.value.code, caught.value.details) == (ErrorCode.TOO_MANY_REQUESTS, {"retry_after": 2, "rate": "5/s"})


# texts and digests


def test_every_field_of_a_model_can_be_reported() -> None:
    for kind in KINDS:
        names = {field.name for field in FIELDS[kind]} - ({"fill_id"} if kind == "fill" else set())
        assert names == {field.name for field in fields(MODELS[kind])}


# Without leading zeros, which are no digits of the number.
DECIMALS = st.from_regex(r"\A(0|[1-9][0-9]{0,23})(\.[0-9]{1,24})?\Z").filter(lambda text: Decimal(text) > 0)


@given(quantity=DECIMALS, price=DECIMALS, fee=DECIMALS)
def test_digits_of_a_report_survive_its_text(quantity: str, price: str, fee: str) -> None:
    report = accepted(fill_body(quantity=quantity, price=price, fee=f"-{fee}"))
    text = to_json(report)
    assert from_json(text) == report
    assert to_json(from_json(text)) == text
    body = orjson.loads(text)
    assert [body["quantity"], body["price"], body["fee"]] == [quantity, price, f"-{fee}"]
    assert digest_of(report) == digest_of(from_json(text))


def test_digest_compares_numbers_and_defaults() -> None:
    assert digest_of(accepted(fill_body(fee="0.0"))) == digest_of(accepted(fill_body(fee=None))) == digest_of(accepted(fill_body(fee="-0")))
    assert digest_of(accepted(fill_body(price="1.0945"))) == digest_of(accepted(fill_body(price="1.094500")))
    assert digest_of(accepted(fill_body(quantity="100"))) != digest_of(accepted(fill_body(quantity="10")))
    assert digest_of(accepted(fill_body(metadata={"a": 1}))) != digest_of(accepted(fill_body()))
    assert len(digest_of(fill())) == 8


@pytest.mark.parametrize(
    "text", [b"{}", b"[]", b"x", b'{"kind":"fill"}', b'{"kind":"heartbeat","bot":"a","strategy":"b","id":"c","time":5}']
)
def test_other_text_is_no_report(text: bytes) -> None:
    with pytest.raises(ValueError, match=r".*"):
        from_json(text)
