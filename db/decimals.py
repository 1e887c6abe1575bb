"""Prices and quantities as text: what counts as one, for all who check."""

from __future__ import annotations

import re

# A decimal string without sign or exponent; ASCII digits alone, since PostgreSQL takes no others.
DECIMAL = r"\d{1,24}(\.\d{1,24})?"
is_decimal = re.compile(DECIMAL, re.ASCII).fullmatch
