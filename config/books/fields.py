"""Fields of the settings of order books and scenarios."""

from __future__ import annotations

from typing import Any

from marshmallow import validate

from config.books.markets import MARKETS
from config.fields import Items

# The bounds of scenario files: db/scenarios/checks.py.
QUEUE_RANGE = validate.Range(min=1, max=1_000_000)
DELAY_MS_RANGE = validate.Range(min=0, max=60_000)
HEARTBEAT_RANGE = validate.Range(min=0.1, max=60)  # seconds
MARKET_NAMES = validate.OneOf(tuple(MARKETS))
AUDITS = validate.OneOf(["on", "count"])


class BookSymbols(Items):
    """A comma list of symbols, each once, in upper case."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        return tuple(dict.fromkeys(item.upper() for item in super()._deserialize(value, attr, data, **kwargs)))
