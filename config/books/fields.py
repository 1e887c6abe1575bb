"""Fields of the settings of order books and scenarios."""

from __future__ import annotations

from config.books.markets import MARKETS
from config.fields import Items
from config.process.kinds import Range, one_of

# The bounds of scenario files: db/scenarios/checks.py.
QUEUE_RANGE = Range(1, 1_000_000)
DELAY_MS_RANGE = Range(0, 60_000)
HEARTBEAT_RANGE = Range(0.1, 60)  # seconds
MARKET_NAMES = one_of(tuple(MARKETS))
AUDITS = one_of(["on", "count"])


class BookSymbols(Items):
    """A comma list of symbols, each once, in upper case."""

    def _value(self, text: str) -> tuple[str, ...]:
        return tuple(dict.fromkeys(item.upper() for item in super()._value(text)))
