"""Messages of the simulated exchange, and changes of the ids and times in their texts. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import orjson

# "restart": a recording begins, again or after another one. "disconnected", "connected": the
# connection of the stream ends and returns.
PlayedKind = Literal["diff", "ticker", "snapshot", "restart", "disconnected", "connected"]

_DIFF_IDS = re.compile(rb'("(?:U|u|pu)"\s*:\s*)(\d+)')
_TICKER_ID = re.compile(rb'("u"\s*:\s*)(\d+)')
_SNAPSHOT_ID = re.compile(rb'("lastUpdateId"\s*:\s*)(\d+)')
_EVENT_TIME = re.compile(rb'("E"\s*:\s*)(\d+)')
# kind -> how many ids a text has (a diff two, or three with `pu`), and their pattern
_IDS: Mapping[str, tuple[tuple[int, ...], re.Pattern[bytes]]] = {
    "diff": ((2, 3), _DIFF_IDS),
    "ticker": ((1,), _TICKER_ID),
    "snapshot": ((1,), _SNAPSHOT_ID),
}


@dataclass(frozen=True, slots=True)
class Played:
    """One message of the player; ids and `text` are as the exchange would send them.

    `due` is its receipt, in seconds of the player's clock; `recorded` is the recorded receipt, in
    Unix seconds. `recorded_text` has ids that are lower by `raised_by`: the text is made when it is
    read, because an emptied queue needs none. `base` is the text of a snapshot that a complete book
    must take over before this message; None for most.
    """

    due: float
    kind: PlayedKind
    instrument: str
    recorded_text: bytes = b""
    raised_by: int = 0
    first_id: int = 0
    last_id: int = 0
    recorded: float = 0.0
    base: bytes | None = None

    @property
    def text(self) -> bytes:
        """The JSON as the exchange sends it."""
        return raised(self.kind, self.recorded_text, self.raised_by)

    def with_text(self, text: bytes) -> Played:
        """The same message with another text."""
        return replace(self, recorded_text=text, raised_by=0)

    @property
    def counts(self) -> bool:
        """True for a message that takes a place in the queue and time of the worker."""
        return self.kind == "diff"

    @property
    def stays(self) -> bool:
        """True for a message that a queue keeps when it is emptied.

        A restart and its snapshot go with the diffs: after an overflow the book needs a newer one.
        """
        return self.kind in ("disconnected", "connected")


def raised(kind: PlayedKind, text: bytes, by: int) -> bytes:
    """The text of a diff, ticker or snapshot with all its ids raised."""
    if not by:
        return text
    expected, pattern = _IDS[kind]
    out, found = pattern.subn(lambda match: b"%b%d" % (match[1], int(match[2]) + by), text, count=3)
    return out if found in expected else _raised_json(text, by)


def shifted(text: bytes, milliseconds: int) -> bytes:
    """The text with its event time shifted; a text without one is returned unchanged."""
    return _EVENT_TIME.sub(lambda match: b"%b%d" % (match[1], max(0, int(match[2]) + milliseconds)), text, count=1)


def levels_of(text: bytes) -> tuple[list[list[str]], list[list[str]]]:
    """Bids and asks of a diff or a snapshot."""
    message: dict[str, Any] = orjson.loads(text)
    data = message.get("data", message)
    return (data["bids"], data["asks"]) if "bids" in data else (data["b"], data["a"])


def _raised_json(text: bytes, by: int) -> bytes:
    """The same for a text in an unusual form."""
    message = orjson.loads(text)
    data = message.get("data", message)
    for field in ("U", "u", "pu", "lastUpdateId"):
        if field in data:
            data[field] += by
    return orjson.dumps(message)
