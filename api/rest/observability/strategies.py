"""The strategies of each bot, as the observer has published them in the newest snapshot."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

import orjson

from api.rest.listing import ReadPage
from api.rest.observability.rows import Row, behind, key_of, page_of
from api.rest.observability.snapshot import Seen
from db.bus.observability.snapshots import STRATEGIES_OF_BOTS
from db.listing.observability import STRATEGIES
from db.listing.query import Form, Key, Page

StrategyKey = tuple[str, str]  # bot, strategy

_ABSENT: dict[str, Any] = {column.name: None for column in STRATEGIES.columns}


def reader(
    seen: Seen, filters: Mapping[str, str], traded: Collection[StrategyKey] | None, form: Form, *, descending: bool = False
) -> ReadPage:
    """Return a function that makes one page of the strategies of the snapshot.

    `traded` are the strategies of the requested symbol, None for all.
    """
    rows = [
        row
        for row in _rows(seen)
        if filters.get("bot", row["bot"]) == row["bot"]
        and filters.get("strategy", row["strategy_name"]) == row["strategy_name"]
        and (traded is None or (row["bot"], row["strategy_name"]) in traded)
    ]
    rows.sort(key=lambda row: key_of(STRATEGIES, row), reverse=descending)

    def read(limit: int, after: Key | None, offset: int = 0) -> Page:
        return page_of(STRATEGIES, behind(STRATEGIES, rows, after, descending=descending), limit, form)

    return read


def _rows(seen: Seen) -> Iterable[Row]:
    """Return one row per bot and strategy."""
    published = seen.snapshot.strings.get(STRATEGIES_OF_BOTS)
    if published is not None:
        return [{**_ABSENT, **row} for row in orjson.loads(published)["strategies"]]
    return _of_single_bots(seen.section("strategy").get("strategies", {}))


def _of_single_bots(strategies: Mapping[str, Mapping[str, Any]]) -> Iterator[Row]:
    """Yield the strategies of the section that have one bot; those of several are sums."""
    for name, figures in strategies.items():
        if len(figures.get("bots", ())) == 1:
            yield {**_ABSENT, **figures, "strategy_name": name, "bot": figures["bots"][0]}
