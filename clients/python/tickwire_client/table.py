"""A table of the newest prices that is drawn again in place on a terminal."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Sequence
from decimal import Decimal
from typing import TextIO

from tickwire_client.messages import Gap, Tick
from tickwire_client.stream import Stream

_GREEN, _RED, _DIM, _PLAIN = "\x1b[32m", "\x1b[31m", "\x1b[2m", "\x1b[0m"
_DRAW_SECONDS = 0.1
_OTHER_LINES = 3  # heading, number of hidden rows, note
_HEADING = f"{'instrument':<14} {'bid':>14} {'ask':>14}   time (UTC)"


class PriceTable:
    """One row per instrument: bid, ask, direction of the mid price, time of the source.

    Instruments without a price have a row if they are in `pairs`. Rows that do not fit into the
    terminal are counted instead. NO_COLOR switches colours off.
    """

    def __init__(self, pairs: Sequence[str], output: TextIO) -> None:
        self._output = output
        self._rows: dict[str, str] = {pair: f"{pair:<14} {'no price yet':>14}" for pair in pairs if pair != "all"}
        self._last: dict[str, Decimal] = {}  # instrument -> mid
        self._note = ""
        self._drawn = 0  # lines on the terminal
        self._colours = not os.environ.get("NO_COLOR")
        self._changed = True

    def show(self, stream: Stream[Tick | Gap]) -> None:
        """Draw the items of a stream until it is closed."""
        while not stream.closed:
            self._draw()
            due = time.monotonic() + _DRAW_SECONDS
            item = stream.get(_DRAW_SECONDS)
            while item is not None:
                self.put(item)
                item = stream.get(due - time.monotonic()) if time.monotonic() < due else None
        self._draw()

    def put(self, item: Tick | Gap) -> None:
        """Take an item for the next drawing."""
        if isinstance(item, Gap):
            self.note(f"{item.instrument}: {'some' if item.missed is None else item.missed} messages are missing ({item.reason})")
            return
        last = self._last.get(item.instrument, item.mid)
        self._last[item.instrument] = item.mid
        direction, colour = ("▲", _GREEN) if item.mid > last else ("▼", _RED) if item.mid < last else (" ", "")
        row = f"{item.instrument:<14} {item.bid:>14f} {item.ask:>14f} {direction} {item.time:%H:%M:%S.%f}"
        self._rows[item.instrument] = self._coloured(row, colour)
        self._changed = True

    def note(self, text: str) -> None:
        """Set the line below the table."""
        self._note, self._changed = text, True

    def _coloured(self, text: str, colour: str) -> str:
        return f"{colour}{text}{_PLAIN}" if colour and self._colours else text

    def _draw(self) -> None:
        if not self._changed:
            return
        self._changed = False
        room = max(1, shutil.get_terminal_size().lines - _OTHER_LINES - 1)
        rows = list(self._rows.values())
        hidden = [f"… and {len(rows) - room} more"] if len(rows) > room else []
        lines = [self._coloured(_HEADING, _DIM), *rows[:room], *hidden, self._coloured(self._note, _DIM)]
        up = f"\x1b[{self._drawn}F" if self._drawn else ""
        self._output.write(up + "".join(f"{line}\x1b[K\n" for line in lines) + "\x1b[J")
        self._output.flush()
        self._drawn = len(lines)
