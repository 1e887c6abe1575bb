"""The subscription to the alerts of all instruments, over any number of connections. Pure."""

from __future__ import annotations

from collections.abc import Callable

from tickwire_client.messages import Body

ROOM = "alerts"


class AllAlerts:
    """Subscribed after the confirmation of the hub, until `unwant` or a loss of rights."""

    def __init__(self) -> None:
        self._asked: str | None = None  # the value of a request without an answer
        self._held: str | None = None  # the confirmed value

    def opening(self) -> list[Body]:
        """The payloads of `subscribe` for a new connection."""
        return [{"alerts": self._held}] if self._held else []

    def want(self, alerts: str | None) -> Callable[[], None]:
        """Add the subscription; return a function that removes it on a refusal."""
        before = self._held
        self._asked = alerts or self._asked

        def withdraw() -> None:
            self._asked, self._held = None, before

        return withdraw

    def unwant(self, alerts: str | None) -> Body:
        """Remove the subscription and return its part of `unsubscribe`."""
        if not alerts:
            return {}
        self._asked = self._held = None
        return {"alerts": alerts}

    def left(self, room: str) -> None:
        """The client has left a room for want of rights."""
        if room == ROOM:
            self._asked = self._held = None

    def confirmed(self, body: Body) -> None:
        """The part of `subscription_confirmed` about alerts."""
        if self._asked and body.get("alerts"):
            self._held, self._asked = self._asked, None
