"""Prices and quantities as text."""

from __future__ import annotations

import re
from decimal import Context, Decimal

# A decimal string without sign or exponent. ASCII digits only, because PostgreSQL takes no others.
DECIMAL = r"[0-9]{1,24}(\.[0-9]{1,24})?"
is_decimal = re.compile(DECIMAL, re.ASCII).fullmatch
# Exponents of three digits at most, so that the plain form stays short.
_has_exponent = re.compile(rf"{DECIMAL}[eE][+-]?\d{{1,3}}", re.ASCII).fullmatch

_EXACT = Context(prec=60)  # digits, so that a sum of two decimals is never rounded


def middle(bid: str, ask: str) -> str:
    """The exact mean of bid and ask, with one more digit than the longer of the two if needed."""
    return format(_EXACT.divide(_EXACT.add(Decimal(bid), Decimal(ask)), Decimal(2)), "f")


def plain_decimal(text: str) -> str:
    """A decimal with an exponent as plain digits; other texts are returned unchanged.

    `1.57e0` becomes `1.57`.
    """
    return format(Decimal(text), "f") if _has_exponent(text) else text


def halfway(bid: str, ask: str) -> str:
    """The exact mean; if one of the two is no decimal, that one: the admission refuses it."""
    if not is_decimal(bid):
        return bid
    return middle(bid, ask) if is_decimal(ask) else ask
