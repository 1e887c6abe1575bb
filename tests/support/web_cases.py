"""Cases for the pure modules of the dashboard, computed by Python's decimal, zoneinfo and by scipy.

`python -m tests.support.web_cases` writes them to clients/web/test/data.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Context, Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import orjson

DATA = Path(__file__).parents[2] / "clients" / "web" / "test" / "data"
EXACT = Context(prec=200)
ZONES = ["UTC", "Europe/London", "America/New_York", "Asia/Tokyo", "Australia/Sydney", "Asia/Kathmandu", "America/St_Johns"]
# Both clock changes of New York, London and Sydney in 2025, and a midnight that does not exist.
CHANGES = ["2025-03-09T07:00", "2025-11-02T06:00", "2025-03-30T01:00", "2025-10-26T01:00", "2025-04-05T16:00", "2025-10-04T16:00"]
SAO_PAULO_CHANGE = "2018-11-04T03:00"  # 00:00 became 01:00


def decimals() -> list[dict[str, str]]:
    """Pairs of values with their sum, difference, product, comparison and quotient."""
    rng = random.Random(17)
    return [_decimal_case(_decimal_text(rng), _decimal_text(rng), rng.randint(0, 8)) for _ in range(400)]


def _decimal_text(rng: random.Random) -> str:
    digits = "".join(rng.choice("0123456789") for _ in range(rng.choice([1, 3, 6, 9, 20, 30])))
    scale = rng.randint(0, len(digits))
    whole, fraction = digits[: len(digits) - scale] or "0", digits[len(digits) - scale :]
    exponent = rng.choice(["", "", "", "", "E-7"])
    return rng.choice(["", "", "-"]) + whole + ("." + fraction if fraction else "") + exponent


def _decimal_case(a: str, b: str, digits: int) -> dict[str, str]:
    left, right = Decimal(a), Decimal(b)
    case = {
        "a": a,
        "b": b,
        "digits": str(digits),
        "sum": _plain(EXACT.add(left, right)),
        "difference": _plain(EXACT.subtract(left, right)),
        "product": _plain(EXACT.multiply(left, right)),
        "compare": str(int(left.compare(right))),
    }
    if right:
        # An exact rounding: the remainder of the integer division decides about the last digit.
        quotient = EXACT.divide(left, right)
        case["quotient"] = _plain(quotient.quantize(Decimal(1).scaleb(-digits), ROUND_HALF_EVEN, EXACT))
    return case


def _plain(value: Decimal) -> str:
    """Without exponent, and a zero without sign."""
    return format(value if value else abs(value), "f")


def zones() -> list[dict[str, object]]:
    """Times in zones: around the clock changes, and spread over two years."""
    rng = random.Random(18)
    start = datetime(2024, 1, 1, tzinfo=UTC)
    spread = [start + timedelta(seconds=rng.randrange(2 * 366 * 86400)) for _ in range(60)]
    around = [
        datetime.fromisoformat(f"{change}:00+00:00") + timedelta(seconds=seconds)
        for change in CHANGES
        for seconds in (-86400, -3600, -1, 0, 1, 3600, 86400)
    ]
    cases = [_zone_case(moment, zone) for zone in ZONES for moment in [*spread, *around]]
    change = datetime.fromisoformat(f"{SAO_PAULO_CHANGE}:00+00:00")
    return cases + [_zone_case(change + timedelta(hours=hours), "America/Sao_Paulo") for hours in (-4, -1, 0, 5, 23)]


def _zone_case(moment: datetime, zone: str) -> dict[str, object]:
    local = moment.astimezone(ZoneInfo(zone))
    offset = local.utcoffset()
    assert offset is not None
    return {
        "ms": int(moment.timestamp()) * 1000,
        "zone": zone,
        "text": f"{local:%Y-%m-%d %H:%M:%S}",
        "offset": int(offset.total_seconds()) * 1000,
        "day_start": _day_start(moment, local) * 1000,
    }


def _day_start(moment: datetime, local: datetime) -> int:
    """The first second of the local day, found by a search of quarters of an hour."""
    quarter = int(moment.timestamp()) // 900 * 900
    while datetime.fromtimestamp(quarter - 900, local.tzinfo).date() == local.date():
        quarter -= 900
    return quarter


def new_york_closes() -> list[dict[str, object]]:
    """17:00 in New York of each day of 2025, as UTC."""
    zone = ZoneInfo("America/New_York")
    days = [datetime(2025, 1, 1, 17, tzinfo=zone) + timedelta(days=day) for day in range(365)]
    return [{"ms": int(day.timestamp()) * 1000, "date": f"{day:%Y-%m-%d}"} for day in days]


def clusters() -> list[dict[str, object]]:
    """Correlation matrices with the order of scipy's leaves."""
    return [{"matrix": matrix, "order": _leaves(matrix)} for matrix in _matrices()]


def _matrices() -> Iterator[list[list[float | None]]]:
    rng = np.random.default_rng(19)
    for size in (2, 3, 5, 8, 13, 40):
        factors = rng.normal(size=(3, 60))
        series = rng.normal(size=(size, 3)) @ factors + rng.normal(size=(size, 60))
        yield _rounded(np.corrcoef(series))
    yield _rounded(np.eye(6))  # all distances are equal
    with_gaps = _rounded(np.corrcoef(rng.normal(size=(7, 30))))
    for row, column in ((1, 4), (2, 5)):
        with_gaps[row][column] = with_gaps[column][row] = None
    yield with_gaps


def _rounded(matrix: Any) -> list[list[float | None]]:
    """With the four decimals of `GET /correlation`."""
    return [[round(float(value), 4) for value in row] for row in matrix]


def _leaves(matrix: list[list[float | None]]) -> list[int]:
    from scipy.cluster.hierarchy import leaves_list, linkage  # type: ignore[import-untyped]
    from scipy.spatial.distance import squareform  # type: ignore[import-untyped]

    rho = np.array([[value or 0.0 for value in row] for row in matrix])
    distance = np.sqrt(np.maximum(0, 2 * (1 - rho)))
    np.fill_diagonal(distance, 0)
    return [int(leaf) for leaf in leaves_list(linkage(squareform(distance, checks=False), "average"))]


CASES: dict[str, Callable[[], Sequence[object]]] = {
    "decimals": decimals,
    "zones": zones,
    "new_york_closes": new_york_closes,
    "clusters": clusters,
}


def content(name: str) -> bytes:
    """The bytes of the file with these cases: one case a line."""
    return b"[\n" + b",\n".join(orjson.dumps(case) for case in CASES[name]()) + b"\n]\n"


if __name__ == "__main__":
    DATA.mkdir(parents=True, exist_ok=True)
    for name in CASES:
        (DATA / f"{name}.json").write_bytes(content(name))
