"""Hand-made recordings of a spot market with evenly spaced diffs, and the folder of scenarios."""

from __future__ import annotations

from pathlib import Path

import orjson

from db.scenarios.files import read_folder
from db.scenarios.model import Scenario
from db.scenarios.recording import Recording, read_recording

FOLDER = Path(__file__).resolve().parents[2] / "data" / "scenarios"
FIRST_NS = 1_700_000_000_000_000_000
FIRST_ID = 1_000


def shipped(name: str) -> Scenario:
    return read_folder(FOLDER).scenarios[name].scenario


def even_lines(seconds: float, *, symbol: str = "BTCUSDT", rate: int = 10, levels: int = 36, snapshot: bool = True) -> list[bytes]:
    """Lines of a spot recording with evenly spaced diffs of `levels` changed levels, all valid."""
    half = levels // 2
    lines = []
    if snapshot:
        body = {
            "lastUpdateId": FIRST_ID - 1,
            "bids": [[f"{1_000 - each}.00", "1"] for each in range(50)],
            "asks": [[f"{1_001 + each}.00", "1"] for each in range(50)],
        }
        lines.append(b"%d %b" % (FIRST_NS, orjson.dumps(body)))
    for number in range(round(seconds * rate)):
        first = FIRST_ID + 2 * number
        quantity = f"{number % 97}.5"
        data = {
            "e": "depthUpdate",
            "E": FIRST_NS // 1_000_000 + number * 1_000 // rate,
            "s": symbol,
            "U": first,
            "u": first + 1,
            "b": [[f"{1_000 - (number + each) % 50}.00", quantity] for each in range(half)],
            "a": [[f"{1_001 + (number + each) % 50}.00", quantity] for each in range(levels - half)],
        }
        text = orjson.dumps({"stream": f"{symbol.lower()}@depth@100ms", "data": data})
        lines.append(b"%d %b" % (FIRST_NS + number * 1_000_000_000 // rate, text))
    return lines


def even_recording(seconds: float = 60, *, symbol: str = "BTCUSDT", rate: int = 10, levels: int = 36) -> Recording:
    return read_recording("even.gz", even_lines(seconds, symbol=symbol, rate=rate, levels=levels))
