"""The log forwarder: sends the finished log records of this process to the bus.

It never delays a caller and never logs about itself. Records that Redis does not take are dropped;
the log of the process has them.
"""

from __future__ import annotations

import threading

from config.logs.buffer import LogBuffer
from config.loops import keep_in_thread
from db.bus import Bus, LogStream

LOOP = "log-forwarder"
PAUSE_SECONDS = 0.25  # between two rounds
IDLE_SECONDS = 1.0  # after a round without a record
RETRY_SECONDS = 2.0  # between two attempts while Redis is away
TIMEOUT_SECONDS = 1.5  # of one round trip
BATCH_RECORDS = 200


class LogForwarder:
    """Sends the records of a buffer. `run` is its loop."""

    def __init__(self, records: LogBuffer, stream: LogStream) -> None:
        self._records = records
        self._stream = stream
        self.dropped = 0  # records that Redis did not take

    def run(self, stop: threading.Event) -> None:
        """Send the records until `stop` is set, and then those that wait."""
        pause = PAUSE_SECONDS
        while not stop.wait(pause):
            busy = self._records.waits
            pause = RETRY_SECONDS if not self.send() else PAUSE_SECONDS if busy else IDLE_SECONDS
        self.send()

    def send(self) -> bool:
        """Send all records that wait; return False if Redis did not take a batch."""
        while batch := self._records.take(BATCH_RECORDS):
            try:
                self._stream.append_logs(batch)
            except Exception:  # noqa: BLE001 - a record about it would be the next one to send
                self.dropped += len(batch)
                return False
        return True


def start(records: LogBuffer, bus: Bus) -> None:
    """Send the records in a thread until the process ends. In the hub it is a greenlet."""
    keep_in_thread(LOOP, LogForwarder(records, bus.with_timeout(TIMEOUT_SECONDS)).run)
