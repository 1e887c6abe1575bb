"""A process that competes for locks: its end in order, its report, its election."""

from __future__ import annotations

import os
import signal
import sys
import threading
from functools import partial
from types import FrameType
from typing import Protocol

from config.loops import HEARTBEATS, PROCESS_END, BeatingStop, keep
from config.process.watchdog import OsThreads, Watchdog
from jobs.runtime.own_report import OwnReport

ROUND_SECONDS = 20.0  # of the election: a statement and the wait for a connection
_END_SECONDS = 2.0  # for the removal from the registry at an orderly stop


class Competing(Protocol):
    """The part of a process in an election, or its share of the duties."""

    def run(self, stop: threading.Event) -> None:
        """Take part until `stop` is set. Raises `ThreadEnded` if a part of the process failed."""


def end_in_order() -> threading.Event:
    """Return the event that an orderly end of this process sets."""
    stop = threading.Event()
    PROCESS_END.in_order(stop.set, OsThreads().start_deadline)
    return stop


def stop_on_signals(stop: threading.Event) -> None:
    """Set `stop` on SIGTERM and SIGINT from now on."""

    def request_stop(signal_number: int, frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, request_stop)
    signal.signal(signal.SIGINT, request_stop)


def run_elected(election: Competing, report: OwnReport, stop: threading.Event) -> None:
    """Take part in the election and report until `stop` is set; exit if a loop has failed."""
    ended = threading.Event()
    Watchdog().start()
    keep_reporting = partial(keep, "report", partial(report.run, ended), ended.is_set, _leave)
    reporting = threading.Thread(target=keep_reporting, name="report", daemon=True)
    reporting.start()
    HEARTBEATS.expect("election", ROUND_SECONDS)
    keep("election", partial(election.run, BeatingStop(stop, "election")), stop.is_set, _leave)
    ended.set()
    report.changed.set()
    reporting.join(_END_SECONDS)
    if PROCESS_END.code is not None:
        sys.exit(PROCESS_END.code)


def _leave(code: int) -> None:
    """Exit with the code; at once, if the end of the loops takes too long."""
    OsThreads().start_deadline(partial(os._exit, code))
    sys.exit(code)
