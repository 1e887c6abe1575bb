"""The processes without metrics, request ids and the access log.

gunicorn loads `tests.bench.operations.without:hub()` and `:rest()`; `python -m
tests.bench.operations.without` is the jobs process. Each part that this page of the product added
to a hot path is replaced by one that does nothing, so a difference is the cost of these parts.
"""

from __future__ import annotations

import runpy
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from config.exposition import Exposition
from config.logs.counts import LogCounts
from db.measures import Buckets, Counts, Many


def _replace(owner: object, **functions: Callable[..., Any]) -> None:
    for name, function in functions.items():
        setattr(owner, name, function)


def _nothing(*_: object, **__: object) -> None:
    """Replace an observation."""


def _strip() -> None:
    """Remove the parts that all processes have."""
    _replace(Counts, add=_nothing)
    _replace(Buckets, observe=_nothing)
    _replace(Many, observe=_nothing)
    _replace(LogCounts, emit=_nothing)
    _replace(Exposition, report=lambda _: {})


def hub() -> Any:
    """Return the hub; gunicorn's worker calls it after its monkey patch."""
    import wsgi
    from api.hub.fanout import sending
    from api.hub.measures.lags import LoopLag
    from api.hub.relay.batches import BatchTimes

    def push(sender: sending.Sender, boxes: Iterable[Any], frames: Sequence[Any]) -> None:
        """As before the sums of sends and bytes."""
        data = sending.joined(frames)
        count = 0
        for box in boxes:
            box.push(data, frames)
            count += 1
        sender.delivered += count * len(frames)

    def idle(_: LoopLag, stop: threading.Event) -> None:
        while not stop.wait(1.0):
            pass

    _strip()
    _replace(sending.Sender, push=push)
    _replace(BatchTimes, begin=_nothing, note=_nothing, end=_nothing)
    _replace(LoopLag, run=idle)
    return wsgi.hub()


def rest() -> Any:
    """Return the REST application."""
    import wsgi
    from api.rest import request_log

    def bare(log: request_log.RequestLog, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        return log._inner(environ, start_response)

    _strip()
    _replace(request_log.RequestLog, __call__=bare)
    _replace(request_log, _note=lambda response: response)
    return wsgi.rest()


if __name__ == "__main__":
    _strip()
    runpy.run_module("jobs.scheduler", run_name="__main__")
