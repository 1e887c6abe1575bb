"""Print the table of all metrics for docs/operations.md, from `config/metrics.py`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from config.metrics import TABLE, Metric


def lines() -> Iterator[str]:
    """Yield the lines of the table."""
    yield "| name | type | labels | from | meaning |"
    yield "| --- | --- | --- | --- | --- |"
    for row in TABLE:
        yield f"| `{row.name}` | {kind(row)} | {', '.join(row.labels) or '–'} | {sources(row)} | {row.help} |"


def kind(row: Metric) -> str:
    """The type, with the bounds of a histogram."""
    return row.kind if row.kind != "histogram" else f"histogram {' '.join(f'{bound:g}'.lstrip('0') for bound in row.buckets)}"


def sources(row: Metric) -> str:
    """The services, with a star if only the acting process exports the metric."""
    return ", ".join(f"{service}{'*' if row.acting else ''}" for service in row.services) or "all"


if __name__ == "__main__":
    print("\n".join(lines()))
