"""A hub that ends the session of a client at a chosen request, on the hub's own transport.

| instrument in `subscribe` | effect |
| --- | --- |
| `END` | the session ends without an answer |
| `FLOOD` | the session is closed with 4429 |
| another | it is held; `since` is not recovered, and the snapshot is `MISSED` messages later |

Each client receives a price of each instrument that it holds every 50 ms. The first `FULL` clients
(a variable) are refused with `server_full` and `retry_after` `RETRY_AFTER` (another one). `/counts`
returns the number of connections and of requests, by the instruments they name.
"""

from __future__ import annotations

import logging
import os
from collections import Counter
from typing import Any

import eventlet
from flask import Flask

from api.access.model import Handshake
from api.errors import ErrorCode, Refusal
from api.hub.transport.eventlet_loop import Protocol, make_socketio
from api.hub.transport.host import Limits
from api.hub.transport.socketio_server import ClientManager

MISSED = 5  # messages between `since` and the snapshot
TIME = "2025-11-18T12:30:00.000000Z"
RETRY_AFTER = 0.4


class _Hub:
    """The handlers of all clients."""

    def __init__(self) -> None:
        self.app = Flask(__name__)
        self.socketio = make_socketio(self.app, ClientManager(self._greet), Limits(ping_interval=25, ping_timeout=20))
        self.retry_after = float(os.environ.get("RETRY_AFTER", RETRY_AFTER))
        self.counts: Counter[str] = Counter()
        self.held: dict[str, list[str]] = {}  # sid -> instruments
        self.seqs: Counter[str] = Counter()  # instrument -> seq of its last price
        self.socketio.on_event("connect", self._admit)
        self.socketio.on_event("disconnect", lambda sid, reason: self.held.pop(sid, None))
        self.socketio.on_event("*", self._event)
        self.app.add_url_rule("/counts", view_func=lambda: dict(self.counts))
        self.socketio.start_background_task(self._publish)

    def _admit(self, sid: str, handshake: Handshake) -> None:
        self.counts["connections"] += 1
        if self.counts["connections"] <= int(os.environ.get("FULL", "0")):
            raise Refusal(ErrorCode.SERVER_FULL, "Full.", {"max_clients": 1, "retry_after": self.retry_after})

    def _greet(self, sid: str, namespace: str) -> None:
        self.held[sid] = []
        body = {"client_id": sid, "message": "", "server_time": TIME, "available_pairs": ["EUR_USD", "GBP_USD", "END", "FLOOD"]}
        self._send(sid, "connection_established", {**body, "ping_interval": 25, "ping_timeout": 20})

    def _send(self, sid: str, event: str, body: dict[str, Any]) -> dict[str, Any]:
        self.socketio.emit(event, body, to=sid)
        return body

    def _event(self, sid: str, name: str, payload: dict[str, Any] | None = None) -> Any:
        if name != "subscribe" or payload is None:
            return self._send(sid, "subscriptions_info", {"pairs": self.held[sid], "pair_count": len(self.held[sid]), "timestamp": TIME})
        self.counts[",".join(payload["pairs"])] += 1
        for pair, code in (("END", None), ("FLOOD", 4429)):
            if pair in payload["pairs"]:
                self.socketio.server.session_of(sid, "/").close("chosen request", code=code)
                return None
        return self._subscribe(sid, payload["pairs"], payload.get("since") or {})

    def _subscribe(self, sid: str, pairs: list[str], since: dict[str, Any]) -> dict[str, Any]:
        for pair in pairs:
            self.seqs[pair] = max(self.seqs[pair] + 1, since[pair]["seq"] + 1 + MISSED if pair in since else 1)
        added = [pair for pair in pairs if pair not in self.held[sid]]
        self.held[sid] += added
        body = {"pairs": self.held[sid], "pair_count": len(self.held[sid]), "added": added, "rejected": [], "rejected_count": 0}
        snapshot = {pair: price(pair, self.seqs[pair]) for pair in pairs}
        recovered = dict.fromkeys(since, False)
        return self._send(
            sid, "subscription_confirmed", {**body, "snapshot": snapshot, "recovered": recovered, "max_rate": None, "timestamp": TIME}
        )

    def _publish(self) -> None:
        while True:
            eventlet.sleep(0.05)
            for pair in {pair for pairs in self.held.values() for pair in pairs}:
                self.seqs[pair] += 1
                for sid in [sid for sid, pairs in self.held.items() if pair in pairs]:
                    self.socketio.emit("price_update", price(pair, self.seqs[pair]), to=sid)


def price(pair: str, seq: int) -> dict[str, Any]:
    """Return the `price_update` of a message."""
    return {
        "instrument": pair,
        "price": {"bid": "1.1", "ask": "1.3", "mid": "1.2", "time": TIME},
        "timestamp": TIME,
        "seq": seq,
        "epoch": "one",
    }


def create() -> Any:
    """Return the WSGI application."""
    logging.basicConfig(level=logging.INFO)
    application = _Hub().app
    application.protocol = Protocol  # type: ignore[attr-defined]
    return application
