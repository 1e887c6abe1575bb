"""The columns of the metrics, and the rule by which each is aggregated over time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

SECOND, MINUTE, HOUR = TIERS = ("1s", "1m", "1h")
# tier -> the tier below it
BELOW = {MINUTE: SECOND, HOUR: MINUTE}
WIDTHS = {SECOND: timedelta(seconds=1), MINUTE: timedelta(minutes=1), HOUR: timedelta(hours=1)}

HEALTH = ("healthy", "degraded", "unhealthy")  # from the best to the worst

# Each takes the name of the column and returns SQL. Rows without a value do not count.
_RULES = {
    "last": "(array_agg({0} ORDER BY time DESC) FILTER (WHERE {0} IS NOT NULL))[1]",
    "max": "max({0})",
    "min": "min({0})",
    "sum": "sum({0})",
    "count": "sum({0})::bigint",  # of whole numbers; PostgreSQL makes their sum NUMERIC
    "worst": f"('{{{{{','.join(HEALTH)}}}}}'::text[])[max(array_position('{{{{{','.join(HEALTH)}}}}}'::text[], {{0}}))]",
}


@dataclass(frozen=True, slots=True)
class Section:
    """One section of the metrics: its tables are `metrics_NAME_TIER`.

    `keys` identify a row besides its time. `rules` maps the other columns to `last`, `max`, `min`,
    `sum`, `count` or `worst`. `averages` maps a figure to the columns of its sum and samples.
    """

    name: str
    keys: tuple[str, ...]
    rules: Mapping[str, str]
    averages: Mapping[str, tuple[str, str]]

    def table(self, tier: str) -> str:
        """The name of the table of a tier."""
        return f"metrics_{self.name}_{tier}"

    def aggregates(self) -> list[str]:
        """SQL of the aggregate of each column of `rules`, in their order, with its name."""
        return [f"{_RULES[rule].format(name)} AS {name}" for name, rule in self.rules.items()]


def averaged(section: Section) -> list[str]:
    """SQL of each average of a row; NULL without a sample."""
    return [f"{total} / nullif({samples}, 0) AS {name}" for name, (total, samples) in section.averages.items()]
