"""The report of this process: its name in the registry, its heartbeat, its orderly removal."""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
import psutil

from config import VERSION
from config.pacing import Outage, Throttle
from db.bus import Bus, BusError, Registry
from db.timestamps import format_time
from health.measures.resources import ProcessResources
from health.measures.stages import ENCODE_SECONDS, STAGES, Stages
from health.reports import MAX_REPORT_BYTES, Report, read_report
from health.timing import DEFAULT, Timing

LARGE_REPORT_BYTES = 8 * 1024
_MAX_NAMES = 1000  # of one role on one host
_CLOCK_TOLERANCE_SECONDS = 1.0  # of the system's time of a process's start

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Identity:
    """A process among the others. `port` is None for roles without one."""

    role: str
    port: int | None
    started: datetime
    host: str = ""
    pid: int = 0

    @classmethod
    def of_this_process(cls, role: str, port: int | None, started: datetime) -> Identity:
        """The identity of this process."""
        return cls(role, port, started, socket.gethostname(), os.getpid())

    def name(self, number: int) -> str:
        """The name: `jobs@a1`, `jobs.2@a1`, `rest:5000@a1`, `rest:5000.2@a1`."""
        port = "" if self.port is None else f":{self.port}"
        return f"{self.role}{port}{'' if number == 1 else f'.{number}'}@{self.host}"


def bus_part(bus: Bus) -> dict[str, Any]:
    """The part `bus`: servers that accept batches without confirmation; left out without any."""
    with suppress(BusError):  # those that were seen last are reported
        bus.look_at_unreplicated_nodes()
    return {"bus": {"unreplicated": sorted(found)}} if (found := bus.unreplicated_nodes) else {}


class Reporter:
    """Reports this process. Call `tick` every `timing.beat` seconds.

    `parts` returns the changing fields of the report: `acting`, `failing` and the parts. The parts
    `resources` and `metrics` are added here. `families` returns the metrics of this process, such
    as `Exposition.report`; None leaves them out. A report that cannot be sent is dropped: nothing
    waits for it.
    """

    def __init__(
        self,
        bus: Registry,
        identity: Identity,
        parts: Callable[[], Mapping[str, Any]],
        clock: Callable[[], datetime],
        *,
        timing: Timing = DEFAULT,
        monotonic: Callable[[], float] = time.monotonic,
        stages: Stages = STAGES,
        families: Callable[[], Mapping[str, Any]] | None = None,
    ) -> None:
        self._bus = bus
        self._families = families
        self._encoded: dict[str, Any] = {}  # the part `families`
        self._encoded_at = float("-inf")
        self._identity = identity
        self._parts = parts
        self._resources = ProcessResources()
        self._stages = stages
        self._clock = clock
        self._timing = timing
        self._monotonic = monotonic
        self._outage = Outage(log, "the process is not reported", monotonic=monotonic)
        self._throttle = Throttle(monotonic=monotonic)
        self._lock = threading.Lock()
        self._closed = False
        self._taken: str | None = None  # our name, once we have it
        self._sent_at = float("-inf")
        self._sent_bytes = 0
        self._sent_urgent: object = None

    @property
    def name(self) -> str:
        """The name in the registry; before it is taken, the first of its kind."""
        return self._taken or self._identity.name(1)

    def tick(self) -> None:
        """Send the heartbeat, and the report if it is due; nothing after `close`."""
        try:
            with self._lock:
                if not self._closed:
                    self._tick()
        except BusError as error:
            self._outage.failed(error)
        except Exception as error:  # noqa: BLE001 - the outage logs it, and the heartbeat continues
            self._outage.failed(error, traceback=True)
        else:
            self._outage.recovered()

    def close(self) -> None:
        """Remove this process from the registry, because it ends in order."""
        with self._lock:
            self._closed = True
            name, self._taken = self._taken, None
        if name is None:
            return
        try:
            self._bus.remove_process(name)
        except BusError as error:
            log.warning("the process is not removed from the registry", extra={"process_name": name, "reason": str(error)})

    def _tick(self) -> None:
        parts = self._parts()
        urgent = _urgent(parts)
        now = self._monotonic()
        pause = self._timing.large_report if self._sent_bytes > LARGE_REPORT_BYTES else 0.0
        due = self._taken is None or urgent != self._sent_urgent or now - self._sent_at >= pause
        complete = self._complete(parts) if due else {}
        if self._taken is None:
            self._taken = self._take_name(complete)
        report = self._text(self._taken, complete) if due else None
        before = self._bus.put_process(self._taken, int(self._clock().timestamp() * 1000), report)
        if report is not None:
            self._sent_at, self._sent_bytes, self._sent_urgent = now, len(report), urgent
        self._check_holder(self._taken, before)

    def _complete(self, parts: Mapping[str, Any]) -> dict[str, Any]:
        """Add the parts that every process has to its own; `metrics` may have own figures."""
        metrics = {**self._stages.part(), **(parts.get("metrics") or {}), **self._families_part()}
        return {**parts, "resources": self._resources(), "metrics": metrics}

    def _families_part(self) -> dict[str, Any]:
        """The part `families`, collected again after 4 s; without one if it is not reported."""
        if self._families is not None and self._monotonic() - self._encoded_at >= ENCODE_SECONDS:
            self._encoded_at = self._monotonic()
            self._encoded = {"families": self._families()}
        return self._encoded

    def _take_name(self, parts: Mapping[str, Any]) -> str:
        """Take the first name that no other living process of this host holds."""
        for number in range(1, _MAX_NAMES):
            name = self._identity.name(number)
            text = self._text(name, parts)
            if self._bus.take_name(name, text):
                return name
            seen = self._bus.report_of(name)
            if seen is None:
                if self._bus.take_name(name, text):
                    return name
            elif not self._is_held(name, seen) and self._bus.replace_report(name, seen, text):
                return name
        raise BusError(f"all names of {self._identity.role} on {self._identity.host} are taken")

    def _is_held(self, name: str, text: bytes) -> bool:
        """Return True if another living process of this host wrote the report.

        A process of another host with our name is no reason for another name: host names must
        differ, and `_check_holder` records it.
        """
        report = _read(name, text)
        return report is not None and report.body.get("host") == self._identity.host and lives(report, self._identity.pid)

    def _check_holder(self, name: str, before: bytes | None) -> None:
        """Record another process under our name; if it lives on this host, take another name."""
        report = None if before is None else _read(name, before)
        if report is None or format_time(report.started) == format_time(self._identity.started):
            return
        host, pid = report.body.get("host"), report.body.get("pid")
        if self._throttle.due("name") is not None:
            fields = {"process_name": name, "other_host": host, "other_pid": pid, "other_started": format_time(report.started)}
            log.error("another process reports under the same name: host names must differ", extra=fields)
        if host == self._identity.host and lives(report, self._identity.pid):
            self._taken = None

    def _text(self, name: str, parts: Mapping[str, Any]) -> bytes:
        """The report, of at most 64 KiB."""
        body: dict[str, Any] = {
            "name": name,
            "role": self._identity.role,
            "version": VERSION,
            "pid": self._identity.pid,
            "host": self._identity.host,
            "started": format_time(self._identity.started),
            "at": format_time(self._clock()),
            **parts,
        }
        text = orjson.dumps(body)
        if len(text) <= MAX_REPORT_BYTES:
            return text
        left_out = ["families"]
        if isinstance(metrics := body.get("metrics"), dict):
            body["metrics"] = {key: value for key, value in metrics.items() if key != "families"}
        while len(text := orjson.dumps(body)) > MAX_REPORT_BYTES:
            largest = max(parts.keys() & body.keys() - {"acting"}, key=lambda part: len(orjson.dumps(body[part])))
            left_out.append(largest)
            del body[largest]
        if self._throttle.due("size") is not None:
            log.warning("the report is too large and is cut", extra={"limit_bytes": MAX_REPORT_BYTES, "left_out": left_out})
        return text


def lives(report: Report, own_pid: int) -> bool:
    """Return True if the process of a report of this host, other than ours, still runs."""
    pid = report.body.get("pid")
    if not isinstance(pid, int) or pid == own_pid:
        return False
    try:
        process = psutil.Process(pid)
        began: float = process.create_time()
        return bool(process.status() != psutil.STATUS_ZOMBIE) and began <= report.started.timestamp() + _CLOCK_TOLERANCE_SECONDS
    except (psutil.Error, ValueError, OverflowError):
        return False


def _read(name: str, text: bytes) -> Report | None:
    try:
        return read_report(name, text)
    except ValueError:
        return None


def _urgent(parts: Mapping[str, Any]) -> object:
    """The fields whose change is reported at once."""
    sources = {name: source.get("state") for name, source in (parts.get("sources") or {}).items()}
    duties = sorted((parts.get("duties") or {}).get("held") or ())
    return parts.get("acting"), duties, sorted(parts.get("failing") or ()), (parts.get("hub") or {}).get("draining"), sources
