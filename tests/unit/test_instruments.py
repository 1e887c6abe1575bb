"""`manage.py instrument add`: the checks of its values, and the defaults of each kind."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import click
import pytest

from cli.instruments import _checked
from db.instruments import KINDS, Instrument, default_calendar, default_currency

METAL: dict[str, Any] = {
    "kind": "metal", "precision": 2, "currency": None, "calendar": None, "source": "synthetic", "volatility": None,
}  # fmt: skip


def test_values_without_options_are_the_defaults_of_the_kind() -> None:
    assert _checked("XAU_USD", "Gold", None, METAL) == Instrument("XAU_USD", "Gold", "metal", 2, "synthetic", "USD", "fx")
    given = {**METAL, "currency": "EUR", "calendar": "crypto", "source": "publish", "volatility": 0.15}
    gold = Instrument("GOLD", "Gold", "metal", 2, "publish", "EUR", "crypto", Decimal("2400.5"), 0.15)
    assert _checked("GOLD", "Gold", "2400.5", given) == gold


@pytest.mark.parametrize("name", ["A", "ABCDEFGHIJKLMNOP_ABCDEFGH", "1INCH_USD", "ALL_USD"])
def test_name_of_the_grammar_is_accepted(name: str) -> None:
    assert _checked(name, "x", None, {**METAL, "currency": "USD"}).symbol == name


@pytest.mark.parametrize(
    ("name", "title", "start", "options", "option"),
    [
        ("eur_usd", "x", None, {}, "NAME"), ("ALL", "x", None, {}, "NAME"), ("ABCDEFGHIJKLMNOPQ", "x", None, {}, "NAME"),
        ("A_", "x", None, {}, "NAME"), ("A_ABCDEFGHI", "x", None, {}, "NAME"), ("A_B_C", "x", None, {}, "NAME"),
        ("", "x", None, {}, "NAME"),
        ("X_USD\n", "x", None, {}, "NAME"), ("X_USD", "", None, {}, "--name"), ("X_USD", " ", None, {}, "--name"),
        ("X_USD", "x" * 81, None, {}, "--name"), ("X_USD", "x\x1b[2J", None, {}, "--name"), ("XAUUSD", "x", None, {}, "--currency"),
        ("XAUUSD", "x", None, {"currency": "us"}, "--currency"), ("X_USD", "x", "0.01", {}, "--start"), ("X_USD", "x", "-5", {}, "--start"),
        ("X_USD", "x", "1e3", {}, "--start"), ("X_USD", "x", "nan", {}, "--start"), ("X_USD", "x", "1", {"precision": 0}, "--start"),
        ("X_USD", "x", None, {"volatility": float("nan")}, "--volatility"),
        ("SPX", "x", None, {"kind": "index", "source": "oanda"}, "--calendar"),
    ],
)  # fmt: skip
def test_refusal_names_the_option(name: str, title: str, start: str | None, options: dict[str, Any], option: str) -> None:
    with pytest.raises(click.BadParameter) as refused:
        _checked(name, title, start, {**METAL, **options})
    assert refused.value.param_hint == option


@pytest.mark.parametrize(
    ("symbol", "kind", "calendar", "currency"),
    [
        ("EUR_DKK", "fx", "fx", "DKK"), ("XAU_EUR", "metal", "fx", "EUR"), ("XAUUSD", "metal", "fx", None),
        ("WTI", "commodity", "fx", "USD"), ("WTI_GBP", "commodity", "fx", "GBP"), ("BUND_EUR", "bond", "fx", "EUR"),
        ("AAPL", "equity", "equity", "USD"), ("DAX_EUR", "index", "equity", "USD"), ("DOGEUSDT", "crypto", "crypto", "USDT"),
        ("DOGEUSDC", "crypto", "crypto", "USDC"), ("DOGEUSD", "crypto", "crypto", "USD"), ("DOGE_BTC", "crypto", "crypto", "BTC"),
        ("DOGE", "crypto", "crypto", "USD"), ("RENT", "other", "crypto", "USD"),
    ],
)  # fmt: skip
def test_defaults_follow_the_kind(symbol: str, kind: str, calendar: str, currency: str | None) -> None:
    assert kind in KINDS
    assert (default_calendar(kind), default_currency(symbol, kind)) == (calendar, currency)
