"""The texts of one snapshot of the metrics: one per combination of sections, made when needed.

The sections come as JSON text and are joined unchanged: no number of them is parsed into a value
that is written again.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any

import orjson

from db.bus.observability.snapshots import SECTIONS, Snapshot
from db.timestamps import parse_time

UPDATE = "metrics_update"  # type of the plain frame, and name of the event
_EMPTY = "{}"  # a section that never had values


class SnapshotTexts:
    """A snapshot as its clients receive it. Each text is made once, at its first use.

    `received` is the aware time at which the hub received the snapshot.
    """

    __slots__ = ("_at", "_plain", "_received", "_socketio", "snapshot")

    def __init__(self, snapshot: Snapshot, received: datetime) -> None:
        self.snapshot = snapshot
        self._at = unix_text(parse_time(snapshot.timestamp))
        self._received = unix_text(received)
        self._plain: dict[tuple[str, ...], bytes] = {}  # sections -> text
        self._socketio: dict[tuple[str, ...], bytes] = {}  # sections -> text

    @classmethod
    def of(cls, body: bytes, received: datetime) -> SnapshotTexts:
        """Read the body of a message of the bus. Raises `ValueError` if it is not a snapshot."""
        snapshot = Snapshot.of(body)
        for texts in (snapshot.numbers, snapshot.strings):
            _check(texts)
        return cls(snapshot, received)

    @classmethod
    def of_message(cls, data: Mapping[str, Any], received: datetime) -> SnapshotTexts:
        """Make the texts of a message that the schema of its channel has checked."""
        return cls(Snapshot(data["timestamp"], data["seq"], data["epoch"], data["numbers"], data["strings"]), received)

    def plain(self, sections: Collection[str] = SECTIONS) -> bytes:
        """Return the frame of `/ws/metrics` with these sections. Decimals are number literals."""
        chosen = ordered(sections)
        if (text := self._plain.get(chosen)) is None:
            times = f'"timestamp":{self._at},"server_time":{self._received}'
            text = self._plain[chosen] = self._joined(f'"type":"{UPDATE}",{times}', chosen, self.snapshot.numbers)
        return text

    def socketio(self, sections: Collection[str] = SECTIONS) -> bytes:
        """Return the body of `metrics_update` with these sections. Decimals are strings."""
        chosen = ordered(sections)
        if (text := self._socketio.get(chosen)) is None:
            timestamp = orjson.dumps(self.snapshot.timestamp).decode()
            text = self._socketio[chosen] = self._joined(f'"timestamp":{timestamp}', chosen, self.snapshot.strings)
        return text

    def _joined(self, head: str, sections: tuple[str, ...], texts: Mapping[str, str]) -> bytes:
        epoch = orjson.dumps(self.snapshot.epoch).decode()
        parts = [head, f'"seq":{self.snapshot.seq}', f'"epoch":{epoch}']
        parts += [f'"{name}":{texts.get(name, _EMPTY)}' for name in sections]
        return f"{{{','.join(parts)}}}".encode()


def ordered(sections: Collection[str]) -> tuple[str, ...]:
    """Return the sections in the order of a snapshot, each once; other names are left out."""
    return tuple(name for name in SECTIONS if name in sections)


def unix_text(moment: datetime) -> str:
    """Return an aware time as Unix seconds with six decimals: `1763469296.789123`."""
    seconds = int(moment.replace(microsecond=0).timestamp())
    return f"{seconds}.{moment.microsecond:06d}"


def _check(texts: Mapping[str, str]) -> None:
    """Raise `ValueError` if a section is not the text of a JSON object."""
    for name, text in texts.items():
        if not isinstance(orjson.loads(text), dict):
            raise ValueError(f"the section {name[:40]} is not an object")
