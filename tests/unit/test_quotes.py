"""Quotes of other programs: their values as a `Tick`, and the digests of repeated ones."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from db.messages import Tick
from db.quotes import digest_of, make_quote

TIME = "2026-03-02T06:00:00.250000Z"

# Few numbers in many notations, so that equal ones meet.
digits = st.text("0123456789", max_size=2)
decimals = st.builds(
    lambda zeros, whole, rest, more: f"{zeros}{whole or '0'}.{rest}{more or '0'}",
    st.sampled_from(["", "0", "000"]),
    digits,
    digits,
    st.sampled_from(["", "0", "00"]),
)


def tick(bid: str, ask: str, mid: str, time: str = TIME) -> Tick:
    return Tick("EUR_USD", bid, ask, mid, time, "publish")


@hypothesis_settings(max_examples=200)
@given(one=st.tuples(decimals, decimals, decimals), other=st.tuples(decimals, decimals, decimals))
@example(one=("1", "2", "1.5"), other=("1.0", "02.00", "1.50"))
@example(one=("1", "23", "4"), other=("12", "3", "4"))
@example(one=("10", "10", "10"), other=("1", "1", "1"))
def test_digests_are_equal_if_the_numbers_are(one: tuple[str, str, str], other: tuple[str, str, str]) -> None:
    equal = list(map(Decimal, one)) == list(map(Decimal, other))
    assert (digest_of(tick(*one)) == digest_of(tick(*other))) == equal


def test_digest_depends_on_the_time_alone_besides() -> None:
    quote = tick("1", "2", "1.5")
    assert digest_of(quote) != digest_of(tick("1", "2", "1.5", "2026-03-02T06:00:00.250001Z"))
    assert digest_of(quote) == digest_of(Tick("GBP_USD", "1", "2", "1.5", TIME, "other", "7", 2))


def test_quote_has_the_digits_of_its_values() -> None:
    local = datetime(2026, 3, 2, 7, 0, 0, 250_000, timezone(timedelta(hours=1)))
    assert make_quote("EUR_USD", Decimal("1E+1"), "1.50e1", None, local, "publish", "2e2") == Tick(
        "EUR_USD", "10", "15.0", "12.5", TIME, "publish", "200"
    )


@pytest.mark.parametrize("value", [1.5, 1, True, None])
def test_price_that_is_neither_text_nor_decimal_is_a_type_error(value: Any) -> None:
    for bid, ask in ((value, "2"), ("1", value)):
        with pytest.raises(TypeError):
            make_quote("EUR_USD", bid, ask, None, TIME, "publish")


@pytest.mark.parametrize("time", ["now", "", "1484092800000", datetime(2026, 3, 2, 6)])  # noqa: DTZ001 - the fault
def test_time_that_cannot_be_read_is_a_value_error(time: Any) -> None:
    with pytest.raises(ValueError, match="time"):
        make_quote("EUR_USD", "1", "2", None, time, "publish")
