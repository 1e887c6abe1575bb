"""Settings of order books and scenarios that are valid one by one, but not together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from config.books.markets import MARKETS, defaults_of
from config.venues import VENUES, SourceSpec

# One scenario each: `NAME-data.json` or `NAME.json`.
SCENARIO_FOLDER = Path(__file__).resolve().parents[2] / "data" / "scenarios"
_SUFFIXES = ("-data.json", ".json")


def plays_scenarios(sources: Iterable[SourceSpec]) -> bool:
    """Return True if one of the sources is `scenario`: then all books are simulated."""
    return any(VENUES[spec.kind].kind == "scenario" for spec in sources)


def scenario_names(folder: Path = SCENARIO_FOLDER) -> list[str]:
    """The names of the scenario files, in alphabetical order. The files are not read."""
    files = [path.name for path in folder.glob("*.json") if not path.name.startswith(".")]
    return sorted({next(name.removesuffix(each) for each in _SUFFIXES if name.endswith(each)) for name in files})


def problems_of(values: Mapping[str, Any]) -> dict[str, str]:
    """Return variable -> problem."""
    problems = {**_symbols(values), **_levels(values)}
    if values["scenario"] not in (names := scenario_names()):
        text = f"{values['scenario']!r:.60} is not one of {', '.join(names)}: use one of these, or add its file to data/scenarios."
        problems["SCENARIO"] = text
    return problems


def _symbols(values: Mapping[str, Any]) -> dict[str, str]:
    symbols = values["book_symbols"]
    if symbols and plays_scenarios(values["sources"]):
        text = "Live and simulated books never mix: leave it empty, or remove scenario from SOURCES."
        return {"BOOK_SYMBOLS": text}
    known = {symbol.upper() for symbol in values["binance_symbols"]}
    if unknown := [symbol for symbol in symbols if symbol not in known]:
        verb = "is" if len(unknown) == 1 else "are"
        return {"BOOK_SYMBOLS": f"{', '.join(unknown)} {verb} not in BINANCE_SYMBOLS: add to that list, or remove from this one."}
    return {}


def _levels(values: Mapping[str, Any]) -> dict[str, str]:
    limit = {**values, **defaults_of(values)}["book_snapshot_limit"]
    if (problem := MARKETS[values["book_market"]].limit_problem(limit)) is not None:
        return {"BOOK_SNAPSHOT_LIMIT": problem}
    if values["book_refresh_levels"] >= limit:
        text = f"Must be below BOOK_SNAPSHOT_LIMIT, which is {limit}: otherwise each snapshot is too old at once."
        return {"BOOK_REFRESH_LEVELS": text}
    return {}
