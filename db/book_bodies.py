"""Messages of `book_updates` as bytes: making them of bodies, cutting them, reading heads. Pure.

A message is `{"update":BODY,"snapshot":BODY,"meta":{…}}`, with null for the update if the chain
begins anew. The script that publishes it gives both bodies the same `seq` and `epoch`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import orjson

_UPDATE, _SNAPSHOT, _META = b'{"update":', b',"snapshot":', b',"meta":'
_NONE = b"null"
_match_head = re.compile(rb'\{"instrument":"([A-Z0-9_]+)","depth":(\d{1,3}),"state":"(\w+)","reason":"(\w+)",').match
_find_position = re.compile(rb',"seq":(\d{1,16}),"epoch":"(\w+)"\}\Z', re.ASCII).search
_POSITION_BYTES = 80  # at least the length of a text that `_find_position` matches


class BookMessage(NamedTuple):
    """One message of a topic: bodies of `book_update` and `book_snapshot` in the contract's order.

    The bus adds `timestamp` to both, unless they have it, and `seq` and `epoch`. `update` is None
    if the chain begins anew. `meta` is `{"received_at","processed_at","queue_size"}`.
    """

    instrument: str
    depth: int
    update: Mapping[str, object] | None
    snapshot: Mapping[str, object]
    meta: Mapping[str, object]


class CutBook(NamedTuple):
    """The parts of a message, unchanged. `update` is None if the chain begins anew."""

    update: bytes | None
    snapshot: bytes
    meta: bytes


class BookHead(NamedTuple):
    """The fields of a `book_snapshot` that address it and give its position."""

    instrument: str
    depth: int
    state: str
    reason: str
    seq: int
    epoch: str


def cut_book(body: bytes) -> CutBook:
    """Cut a message into its parts, without decoding it. Raises `ValueError` if it has others."""
    middle, end = body.find(_SNAPSHOT), body.rfind(_META)
    if not body.startswith(_UPDATE) or middle < 0 or end < middle or body[-1:] != b"}":
        raise ValueError("not a message with an update, a snapshot and meta")
    parts = CutBook(body[len(_UPDATE) : middle], body[middle + len(_SNAPSHOT) : end], body[end + len(_META) : -1])
    if parts.update == _NONE:
        parts = CutBook(None, parts.snapshot, parts.meta)
    for part in parts:
        if part is not None and not (part[:1] == b"{" and part[-1:] == b"}"):
            raise ValueError("a part of the message is not an object")
    return parts


def read_head(snapshot: bytes) -> BookHead:
    """Read the beginning and the end of a snapshot that `cut_book` returned.

    Raises `ValueError` if it is not a `book_snapshot`, or has no `seq` and `epoch` at its end.
    """
    head = _match_head(snapshot)
    if head is None:
        raise ValueError("not a book_snapshot")
    position = _find_position(snapshot, max(0, len(snapshot) - _POSITION_BYTES))
    if position is None:
        raise ValueError("no seq and epoch")
    instrument, depth, state, reason = head.groups()
    return BookHead(instrument.decode(), int(depth), state.decode(), reason.decode(), int(position[1]), position[2].decode())


def pieces_of(message: BookMessage, timestamp: str) -> tuple[bytes, bytes, bytes]:
    """The text of a message in three pieces: `seq` and `epoch` belong between them.

    Only the first is followed by a position if the second is empty: there is no update.
    """
    snapshot = _open_text(message.snapshot, timestamp)
    rest = b"".join((_META, orjson.dumps(message.meta), b"}"))
    if message.update is None:
        return b"".join((_UPDATE, _NONE, _SNAPSHOT, snapshot)), b"", rest
    return _UPDATE + _open_text(message.update, timestamp), _SNAPSHOT + snapshot, rest


def _open_text(body: Mapping[str, object], timestamp: str) -> bytes:
    """The JSON text without its closing brace; `timestamp` comes before `lag_ms`."""
    if "timestamp" not in body:
        fields: dict[str, Any] = dict(body)
        late = {"lag_ms": fields.pop("lag_ms")} if "lag_ms" in fields else {}
        body = {**fields, "timestamp": timestamp, **late}
    return orjson.dumps(body)[:-1]
