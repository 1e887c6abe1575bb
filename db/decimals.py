"""Prices and quantities as text."""

from __future__ import annotations

import re
from decimal import Context, Decimal

# A decimal string without sign or exponent. ASCII digits only, because PostgreSQL takes no others.
DECIMAL = r"\d{1,24}(\.\d{1,24})?"
is_decimal = re.compile(DECIMAL, re.ASCII).fullmatch

_EXACT = Context(prec=60)  # digits, so that a sum of two decimals is never rounded


def middle(bid: str, ask: str) -> str:
    """The exact mean of bid and ask, with one more digit than the longer of the two if needed."""
    return format(_EXACT.divide(_EXACT.add(Decimal(bid), Decimal(ask)), Decimal(2)), "f")
