"""The report of the hub: its two checks, its counts, and the loop that sends it."""

from __future__ import annotations

import logging
import socket
import threading
import uuid
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import orjson

from config.exposition import Families
from config.settings import Settings
from config.urls import LOCAL_HOSTS, url_of
from db.bus import Bus, BusError
from health.own import OwnChecks, Transitions
from health.probe import IMPAIRED, CheckFailed, HealthProbe
from health.reporter import Identity, Reporter
from health.timing import DEFAULT, Timing

log = logging.getLogger(__name__)

REPORT_ROUND_SECONDS = 10.0  # a report that waits for a hung Redis
_PART = "hub"


class HubReport:
    """Checks that this hub accepts clients and relays messages, and reports it.

    `clients` returns the number of Socket.IO clients, `figures` the further counts of the part
    `hub`. `draining()` is true once the hub is about to end: then it is not expected any more.
    `families` are the metrics of the report; None leaves them out. `run` is its loop.
    """

    figures: Callable[[], Mapping[str, Any]]
    draining: Callable[[], bool]

    def __init__(
        self,
        settings: Settings,
        bus: Bus,
        clock: Callable[[], datetime],
        clients: Callable[[], int],
        timing: Timing = DEFAULT,
        families: Callable[[], Families] | None = None,
    ) -> None:
        self._bus = bus.with_timeout(timing.limit)
        self._host, self._port = settings.websocket_host, settings.websocket_port
        self._max_clients = settings.websocket_max_clients
        self._clients = clients
        self.figures, self.draining = dict, lambda: False
        self._timing = timing
        self._url: str | None = None
        self._awaited: bytes | None = None  # the message that the relay must bring
        self._came = threading.Event()
        self._transitions = Transitions()
        identity = Identity.of_this_process("hub", self._port, clock())
        self._reporter = Reporter(self._bus, identity, self._parts, clock, timing=timing, families=families)
        self._checks = OwnChecks([HealthProbe("acceptor", self._check_acceptor), HealthProbe("relay", self._check_relay)], timing=timing)

    def run(self, stop: threading.Event) -> None:
        """Check and report until `stop` is set."""
        while not stop.is_set():
            try:
                self._round()
            except Exception:
                log.exception("a round of the report failed")
            stop.wait(self._timing.beat)

    def _round(self) -> None:
        self._checks.tick()
        self._transitions.note(self._failing())
        self._reporter.tick()

    def received(self, body: bytes) -> None:
        """Take a message of the channel of checks from the relay."""
        if body == self._awaited:
            self._came.set()

    @property
    def name(self) -> str:
        """The name of this hub in the registry; before it has one, the first of its kind."""
        return self._reporter.name

    def counts(self) -> dict[str, Any]:
        """The counts of this hub, as its report has them."""
        return {"clients": self._clients(), "clients_limit": self._max_clients, **self.figures()}

    def close(self) -> None:
        """Remove this hub from the registry."""
        self._reporter.close()

    def _parts(self) -> dict[str, Any]:
        hub = {"url": self._own_url(), **self.counts(), "draining": self.draining()}
        return {"acting": True, "failing": self._failing(), "hub": hub}

    def _failing(self) -> dict[str, str]:
        """`hub` -> the reasons, empty if the hub accepts clients and relays messages."""
        reasons = [f"{name}: {reason}" for name, reason in self._checks.failing().items()]
        return {_PART: "; ".join(reasons)} if reasons else {}

    def _own_url(self) -> str:
        """The bind address; for a wildcard the address on the connection to Redis."""
        if self._url is None:
            host = self._bus.own_address() if self._host in LOCAL_HOSTS else self._host
            self._url = url_of(host, self._port)
        return self._url

    def _check_acceptor(self) -> None:
        """Send one request to the own port. Any answer will do. Raises `CheckFailed`."""
        host = LOCAL_HOSTS.get(self._host, self._host)
        authority = url_of(host, self._port).removeprefix("http://")
        try:
            with socket.create_connection((host, self._port), self._timing.limit) as connection:
                connection.sendall(f"GET /hub/health HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n\r\n".encode())
                if not connection.recv(16).startswith(b"HTTP/1."):
                    raise CheckFailed(IMPAIRED, "the own port gives no HTTP answer")
        except OSError as error:
            raise CheckFailed(IMPAIRED, f"no answer on the own port: {error}") from error

    def _check_relay(self) -> None:
        """Publish a message and wait until the relay brings it. Raises `CheckFailed`."""
        self._came.clear()
        self._awaited = orjson.dumps({"process": self._reporter.name, "check": uuid.uuid4().hex})
        try:
            self._bus.publish_check(self._awaited)
        except BusError as error:
            raise CheckFailed(IMPAIRED, str(error)) from error
        if not self._came.wait(self._timing.limit):
            raise CheckFailed(IMPAIRED, "a published message did not come through the relay")
