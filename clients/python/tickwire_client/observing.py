"""The namespace `/metrics` of the hub: reports of a bot, snapshots of the metrics, alerts."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Mapping
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tickwire_client import snapshots
from tickwire_client.checks import check
from tickwire_client.core import Core
from tickwire_client.errors import ConnectionFailed, Refused, RequestTimeout
from tickwire_client.failures import is_error
from tickwire_client.messages import Body, Problem, parse_time
from tickwire_client.report_sender import ReportSender, batches_of
from tickwire_client.reports import Report, ReportResult, report_body
from tickwire_client.snapshots import SECTIONS, SnapshotStream
from tickwire_client.space import METRICS

log = logging.getLogger("tickwire_client")


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """An alert is acknowledged. Of several calls, the first one counts."""

    alert_id: str
    acknowledged_at: datetime
    acknowledged_by: str | None


class Observing(Core):
    """Reports, metrics and alerts. The namespace is joined on first use."""

    def __init__(self, bot: str | None, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.bot = bot
        self._held: frozenset[str] = frozenset()  # sections that the hub sends
        self._sender = ReportSender(self._link, self._note_refusal)

    # reports

    def report(self, *reports: Report | Mapping[str, Any]) -> ReportResult:
        """Send reports of a bot; return when the hub has stored them.

        Reports without an ack are kept, at most 100,000, and sent again after a reconnection.
        If that takes longer than `timeout`, `RequestTimeout` is raised, and the client continues.
        `too_many_requests` and `unavailable` are waited for in the same way. Single rejections are
        in the result. `Refused` is raised if the hub refuses a whole batch of at most 500 reports:
        those are not kept. The other batches of the call stay accepted.
        """
        bodies = [self._checked(number, report) for number, report in enumerate(reports)]
        deadline = time.monotonic() + self.timeout
        self._link.await_up(0)  # raises if the client is closed, or was not opened
        batches = list(batches_of(bodies))
        self._sender.put(batches)
        result, first = ReportResult(), 0
        try:
            for batch in batches:
                answer = batch.answer.result(max(0, deadline - time.monotonic()))
                result.accepted += answer["accepted"]
                result.duplicates += answer["duplicates"]
                result.rejected += [{**each, "index": each["index"] + first} for each in answer["rejected"]]
                first += len(batch.bodies)
        except FutureTimeout:
            kept = sum(len(each.bodies) for each in batches if not each.answer.done())
            raise RequestTimeout(f"no answer to report within {self.timeout} s: {kept} reports are kept and sent again") from None
        finally:
            for batch in batches:
                batch.abandoned = True
        return result

    @property
    def unacknowledged(self) -> list[Body]:
        """The bodies of the reports without an ack, also after `close()`."""
        return self._sender.kept

    def _checked(self, number: int, report: Report | Mapping[str, Any]) -> Body:
        body = report_body(report, self.bot)
        if "bot" not in body:
            raise ValueError(f"report {number} has no bot: pass Client(bot=…), or the field bot")
        check("report", {"reports": [body]})
        return body

    def _note_refusal(self, error: Refused) -> None:
        with self._lock:
            self._deliver([Problem(error.code, error.reason, error.details)])

    # metrics

    def metrics(self, *channels: str, max_rate: float | None = None) -> SnapshotStream:
        """Subscribe and iterate over snapshots with the sections `channels`; without any, all four.

        The newest snapshot comes first. The iterator continues after reconnections. A slow program
        receives the newest snapshot in place of those that it missed. `max_rate` is in Hz; if
        several iterators are open, the highest rate applies to all. Close the iterator to
        unsubscribe.
        """
        if unknown := [name for name in channels if name not in SECTIONS]:
            raise ValueError(f"no such section: {unknown[0]}; there are {', '.join(SECTIONS)}")
        stream = SnapshotStream(channels or SECTIONS, max_rate)
        with self._lock:
            self._streams.add(stream)
            if (refusal := self._link.refusal) is not None:
                stream.close(refusal)
            wanted = self._metrics_wanted()
        try:
            self._request("subscribe", wanted, self._metrics_subscribed, METRICS)
        except BaseException:
            stream.close()
            raise
        return stream

    def acknowledge_alert(self, alert_id: str, by: str | None = None, comment: str | None = None) -> Acknowledgement:
        """Acknowledge a firing alert. `by` counts only without a credential.

        Raises `Refused` with the code `not_found`, `conflict` (it is resolved) or `forbidden`.
        """
        given = {"alert_id": alert_id, "by": by, "comment": comment}
        answer = self._request("acknowledge_alert", {name: value for name, value in given.items() if value is not None}, None, METRICS)
        return Acknowledgement(answer["alert_id"], parse_time(answer["acknowledged_at"]), answer["acknowledged_by"])

    def _snapshot_streams(self) -> list[SnapshotStream]:
        return [stream for stream in list(self._streams) if isinstance(stream, SnapshotStream) and not stream.closed]

    def _metrics_wanted(self) -> Body:
        """The request for the sections of all open iterators. The caller holds the lock."""
        streams = self._snapshot_streams()
        rates = [stream.max_rate for stream in streams]
        payload: Body = {"channels": [name for name in SECTIONS if any(name in stream.sections for stream in streams)]}
        return payload if None in rates or not rates else {**payload, "max_rate": max(rate for rate in rates if rate is not None)}

    # events of the link, in the reader's thread

    def _space_joined(self) -> None:
        with self._lock:
            self._held = frozenset()
            wanted = self._metrics_wanted()
        if wanted["channels"]:
            self._link.request("subscribe", wanted, self._metrics_subscribed, METRICS)

    def _metrics_subscribed(self, answer: Body, connection: int) -> None:
        if is_error(answer):
            log.warning("not subscribed to the metrics: %s", answer["message"])
            if answer["code"] == "forbidden":
                self._end_snapshots(Refused(answer["code"], answer["message"], answer["details"]))
            return
        with self._lock:
            self._held = frozenset(answer["channels"])
        if answer["snapshot"] is not None:
            self._space_received("metrics_update", answer["snapshot"])

    def _space_received(self, event: str, body: Any) -> None:
        if event != "metrics_update":
            return
        try:
            item = snapshots.snapshot(body)
        except (LookupError, TypeError, ValueError, ArithmeticError, AttributeError):
            log.warning("skipped an invalid message: %s %.200s", event, body, exc_info=True)
            return
        with self._lock:
            streams = self._snapshot_streams()
            for stream in streams:
                stream.put(item)
        self._leave(self._held.difference(*(stream.sections for stream in streams)))

    def _leave(self, sections: Collection[str]) -> None:
        """Unsubscribe from the sections that no iterator has any more."""
        if sections:
            self._held -= frozenset(sections)
            self._link.request("unsubscribe", {"channels": sorted(sections)}, namespace=METRICS)

    def _space_refused(self, error: Refused) -> None:
        self._end_snapshots(error)

    def _end_snapshots(self, error: Refused) -> None:
        with self._lock:
            streams = self._snapshot_streams()
        for stream in streams:
            stream.close(ConnectionFailed(str(error), error.code, details=error.details))
