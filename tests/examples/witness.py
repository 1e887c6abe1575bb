"""A client whose exchanges with a hub are kept as examples."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from db.bus import Bus
from tests.examples.example import Examples, exact, places
from tests.support.clients import PythonClient

_QUOTES = {"EUR_USD": ("1.09448", "1.09462"), "GBP_USD": ("1.26810", "1.26829"), "USD_JPY": ("151.238", "151.252")}


class Witness:
    """A client; its exchanges with the hub are kept as examples.

    `ports` has the ports of the documents for those of the running system.
    """

    def __init__(self, client: PythonClient, bus: Bus, ports: Mapping[int, int] | None = None) -> None:
        self.client, self.bus, self.ports = client, bus, ports or {}
        self.examples: Examples = {}

    def request(self, name: str, event: str, answer: str, *payload: Any) -> Any:
        """Keep a request and its answer as the example `name`; return the body of the answer."""
        before = len(self.client.bodies(answer))
        self.client.emit(event, *payload)
        body = self.client.wait(answer, before + 1)
        self.examples[name] = [self._message("client", event, payload[0] if payload else {}), self._message("hub", answer, body)]
        return body

    def receive(self, name: str, event: str, *, cause: Callable[[], Any] | None = None) -> Any:
        """Call `cause`, wait for the next `event` and append it to the example `name`."""
        before = len(self.client.bodies(event)) if cause else 0
        if cause:
            cause()
        body = self.client.wait(event, before + 1)
        self.add(name, event, body)
        return body

    def add(self, name: str, event: str, body: Any) -> None:
        """Append a message of the hub to the example `name`."""
        self.examples.setdefault(name, []).append(self._message("hub", event, body))

    def _message(self, sender: str, event: str, body: Any) -> dict[str, Any]:
        """Return a message; that of another namespace than `/` names it."""
        shown = exact(places(json.dumps(body, ensure_ascii=False), self.ports)) if self.ports else body
        message = {"from": sender, "event": event, "body": shown}
        return message if self.client.namespace == "/" else {**message, "namespace": self.client.namespace}

    def price(self, instrument: str = "EUR_USD", raise_by: int = 0) -> None:
        """Publish a price as a source does, raised by `raise_by` in the last digit."""
        bid, ask = (_moved(text, raise_by) for text in _QUOTES[instrument])
        mid = _moved(_QUOTES[instrument][0], raise_by + 7)
        self.bus.cache_price(instrument, bid=bid, ask=ask, mid=mid, time=datetime.now(UTC), source="oanda")


def _moved(text: str, last_digits: int) -> str:
    """Return the decimal string, raised in its last digit."""
    whole, _, fraction = text.partition(".")
    raised = str(int(whole + fraction) + last_digits)
    return f"{raised[: -len(fraction)]}.{raised[-len(fraction) :]}"
