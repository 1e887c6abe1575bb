"""Checks that the bus does its work: it takes messages, keeps them and passes them on."""

from __future__ import annotations

import time

from db import topics
from db.bus.connection import Connection, lua
from db.bus.errors import BusError, translated
from db.bus.subscription import Subscription

_HEALTH = lua("health")
_OLDEST = lua("oldest")


class BusNotWorking(BusError):
    """Redis answers and cannot do its work."""


class Checks(Connection):
    """The part of the bus for checks of health. Every method raises `BusError`."""

    def check_write(self, process: str, value: str) -> None:
        """Write and read one field of the hash of checks. Raises `BusNotWorking` if it differs."""
        found = self._run_scripts(_HEALTH, [([topics.HEALTH], [process, value])])[0]
        if found != value.encode():
            raise BusNotWorking("a field that was just written has another value")

    def publish_check(self, body: bytes) -> None:
        """Publish on the channel of checks. No process relays, counts or keeps it."""
        with translated():
            self._redis.publish(topics.HEALTH, body)

    def subscribe_checks(self) -> Subscription:
        """Subscribe to the channel of checks."""
        with translated():
            return Subscription(self._redis.connection_pool.make_connection(), [topics.HEALTH])

    def oldest_unstored_seconds(self, channel: str) -> float | None:
        """Age of the oldest message that the store does not hold yet; None if there is none."""
        age = int(self._run_scripts(_OLDEST, [([topics.stream_key(channel)], [topics.WRITER_GROUP])])[0])
        return None if age < 0 else age / 1000

    def answers(self) -> bool:
        """Return True if Redis answers a PING, also if it refuses commands."""
        try:
            self.ping()
        except BusError:
            return False
        return True


def received(subscription: Subscription, body: bytes, seconds: float) -> bool:
    """Return True if the subscription brings the message `body` within `seconds`."""
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        if any(found == body for _, found in subscription.read(left)):
            return True
    return False
