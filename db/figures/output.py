"""Decimals for output: rounding and text. Pure."""

from __future__ import annotations

from decimal import Decimal

OUTPUT_DECIMALS = 16


def rounded(value: Decimal | None) -> Decimal | None:
    """A computed amount for output: at most 16 decimals, half even, without zeros at the end.

    A value with at most 16 decimals keeps its digits, for example 1.09450. None stays None.
    """
    if value is None or not value.is_finite() or -value.as_tuple().exponent <= OUTPUT_DECIMALS:  # type: ignore[operator]
        return value
    text = f"{value:.{OUTPUT_DECIMALS}f}".rstrip("0").rstrip(".")
    return Decimal(text)


def decimal_text(value: Decimal) -> str | None:
    """The digits of a finite decimal without an exponent: `1.09450`. Negative zero loses its sign.

    None if the value is not finite.
    """
    if not value.is_finite():
        return None
    return format(value if value else abs(value), "f")
