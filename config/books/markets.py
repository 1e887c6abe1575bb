"""The markets of Binance whose books can be kept: addresses and limits of each. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

MIN_SNAPSHOT_LIMIT = 50  # the deepest topic


@dataclass(frozen=True, slots=True)
class Market:
    """One value of `BOOK_MARKET`.

    An address of None is the setting `BINANCE_…` of that name. `snapshot_limits` are the numbers of
    levels that the exchange accepts in a request, the highest first. None: every number up to
    `snapshot_limit`, which is the default.
    """

    name: str
    snapshot_limit: int
    ws_url: str | None = None
    rest_url: str | None = None
    snapshot_limits: tuple[int, ...] | None = None

    def limit_problem(self, limit: int) -> str | None:
        """The reason why the exchange does not accept this number of levels; None if it does."""
        if self.snapshot_limits is not None and limit not in self.snapshot_limits:
            return f"The market {self.name} accepts {', '.join(map(str, self.snapshot_limits))}."
        if not MIN_SNAPSHOT_LIMIT <= limit <= self.snapshot_limit:
            return f"Must be from {MIN_SNAPSHOT_LIMIT} to {self.snapshot_limit} for the market {self.name}."
        return None


_ROWS = (
    Market("spot", 5_000),
    Market(
        "usdm",
        1_000,
        ws_url="wss://fstream.binance.com",
        rest_url="https://fapi.binance.com",
        snapshot_limits=(1_000, 500, 100, 50),
    ),
)

# name -> row
MARKETS: Mapping[str, Market] = {row.name: row for row in _ROWS}


def defaults_of(values: Mapping[str, Any]) -> dict[str, Any]:
    """Address and snapshot limit of the market, for those of the settings that are None."""
    market = MARKETS[values["book_market"]]
    defaults = {
        "book_ws_url": market.ws_url or values["binance_ws_url"],
        "book_rest_url": market.rest_url or values["binance_rest_url"],
        "book_snapshot_limit": market.snapshot_limit,
    }
    return {name: default for name, default in defaults.items() if values[name] is None}
