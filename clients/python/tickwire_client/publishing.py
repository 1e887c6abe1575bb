"""Prices of this program: `POST /prices` of REST.

A price without a time gets the present time here, so that a request that is repeated after a lost
answer is not accepted twice.
"""

from __future__ import annotations

import json
import threading
import time as clock
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from tickwire_client.errors import ConnectionFailed, Refused
from tickwire_client.messages import Body, format_time
from tickwire_client.rest import Rest, resolve_time

MAX_PRICES = 500  # of one request
MAX_BYTES = 256 * 1024
_ATTEMPTS = 3
_PAUSE_SECONDS = 0.5  # before the second attempt; doubles
_DECIMALS = ("bid", "ask", "mid", "volume")
_MICROSECOND = timedelta(microseconds=1)


@dataclass(slots=True)
class PublishResult:
    """The outcome of `publish_many`.

    `rejected` has one dict per refused price, with `index` (its place among the rows), `code` and
    `message`.
    """

    accepted: int = 0
    duplicates: int = 0
    rejected: list[Body] = field(default_factory=list)


class Publishing:
    """Publishes prices over REST. Needs no connection to the hub."""

    rest: Rest

    def __init__(self) -> None:
        self._stamps = _Stamps()

    def publish(
        self,
        instrument: str,
        *,
        bid: Decimal | str | None = None,
        ask: Decimal | str | None = None,
        mid: Decimal | str | None = None,
        time: datetime | str | None = None,
        volume: Decimal | str | None = None,
    ) -> PublishResult:
        """Publish one price: `bid` and `ask`, or `mid` alone. `time` is now if it is None.

        Raises `Refused` if the price is not accepted, and `TypeError` for a float. A price that was
        published before, in the last 15 minutes, is a duplicate and no error.
        """
        result = self.publish_many([{"instrument": instrument, "bid": bid, "ask": ask, "mid": mid, "time": time, "volume": volume}])
        for each in result.rejected:
            raise Refused(each["code"], each["message"], {"instrument": [instrument]}, 200)
        return result

    def publish_many(self, rows: Iterable[Mapping[str, Any]]) -> PublishResult:
        """Publish prices, each a mapping with the arguments of `publish`, in this order.

        Rows that are refused are in the result; the others are accepted. More than 500 rows are
        sent in several requests. A request without an answer, or with the answer 503, is sent up to
        three times. If that fails, `ConnectionFailed` or `Refused` is raised, and the rows of
        earlier requests stay published.
        """
        result = PublishResult()
        lines = [json.dumps(self._row(number, row)).encode() for number, row in enumerate(rows)]
        for first, batch in _batches(lines):
            answer = self._send(b"\n".join(batch))
            result.accepted += answer["accepted"]
            result.duplicates += answer["duplicates"]
            result.rejected += [{**each, "index": each["index"] + first} for each in answer["rejected"]]
        return result

    def _row(self, number: int, row: Mapping[str, Any]) -> Body:
        found: Body = {name: value for name, value in row.items() if value is not None}
        for name in _DECIMALS:
            if isinstance(value := found.get(name, ""), Decimal):
                found[name] = format(value, "f")
            elif not isinstance(value, str):
                raise TypeError(f"row {number}: {name} is a {type(value).__name__}: pass a Decimal or text")
        moment = found.get("time") or self._stamps.next()
        found["time"] = moment if isinstance(moment, str) else format_time(resolve_time(moment))
        return found

    def _send(self, body: bytes) -> Body:
        """Send one request until it is answered, at most `_ATTEMPTS` times."""
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                return self.rest.post("/prices", body, "application/x-ndjson")
            except (ConnectionFailed, Refused) as error:
                if attempt == _ATTEMPTS or (isinstance(error, Refused) and error.status != 503):
                    raise
            clock.sleep(_PAUSE_SECONDS * 2 ** (attempt - 1))
        raise AssertionError("the last attempt returns or raises")


class _Stamps:
    """Present times of which each is later than the one before. Any thread may use it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last = datetime.min.replace(tzinfo=UTC)

    def next(self) -> datetime:
        with self._lock:
            self._last = max(datetime.now(UTC), self._last + _MICROSECOND)
            return self._last


def _batches(lines: list[bytes]) -> Iterator[tuple[int, list[bytes]]]:
    """Yield the lines of each request with the number of its first line."""
    first, size = 0, 0
    for number, line in enumerate(lines):
        if number > first and (number - first == MAX_PRICES or size + len(line) + 1 > MAX_BYTES):
            yield first, lines[first:number]
            first, size = number, 0
        size += len(line) + 1
    if lines:
        yield first, lines[first:]
