"""The loops of REST under the guard: the acceptor of its worker, and the threads that answer."""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from functools import partial
from queue import SimpleQueue
from typing import Any, ParamSpec, TypeVar

from config.loops import HEARTBEATS, PROCESS_END, keep
from config.process.watchdog import OsThreads, Watchdog

log = logging.getLogger("rest.worker")

Answer = TypeVar("Answer")
Parameters = ParamSpec("Parameters")

_ROUND_SECONDS = 5.0  # the longest round of the acceptor; it waits at most one second for an event


class GuardedWorker:
    """Base class before a worker class of gunicorn: its loop and its process end together, with 70.

    The loop `run` has to call `notify` in each round, and to end soon after `alive` is False.
    """

    alive: bool
    ppid: int
    cfg: Any

    def init_process(self) -> None:
        """Start the watchdog, then the worker."""
        threads = OsThreads()
        PROCESS_END.in_order(self.stop_in_order, threads.start_deadline)
        Watchdog(threads).start()
        super().init_process()  # type: ignore[misc]

    def stop_in_order(self) -> None:
        """Let the loop finish the current requests and return."""
        self.alive = False

    def run(self) -> None:
        """Run the loop of the worker, until gunicorn stops it."""
        HEARTBEATS.expect("acceptor", _ROUND_SECONDS)
        keep("acceptor", super().run, lambda: not self.alive or os.getppid() != self.ppid, PROCESS_END)  # type: ignore[misc]
        if PROCESS_END.code is not None:
            sys.exit(PROCESS_END.code)

    def notify(self) -> None:
        """Record a round, here and for gunicorn."""
        HEARTBEATS.beat("acceptor")
        super().notify()  # type: ignore[misc]


class KeptThreads(Executor):
    """A pool of threads, each of which lasts until `shutdown` or `stopping()`.

    `ThreadPoolExecutor` does not replace a thread that has ended by an error.
    """

    def __init__(self, threads: int, stopping: Callable[[], bool]) -> None:
        self._calls: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = SimpleQueue()
        self._stopping = stopping
        self._shut = False
        self._threads = [self._start(f"worker-{number}") for number in range(1, threads + 1)]

    def _start(self, name: str) -> threading.Thread:
        thread = threading.Thread(target=keep, args=(name, self._serve, self._is_ending, PROCESS_END), name=name, daemon=True)
        thread.start()
        return thread

    def _is_ending(self) -> bool:
        return self._shut or self._stopping()

    def submit(self, fn: Callable[Parameters, Answer], /, *args: Parameters.args, **kwargs: Parameters.kwargs) -> Future[Answer]:
        """Call the function in one of the threads."""
        future: Future[Answer] = Future()
        self._calls.put((future, partial(fn, *args, **kwargs)))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Let the threads end after the submitted calls; wait for them if `wait` is set."""
        self._shut = True
        for _ in self._threads:
            self._calls.put(None)
        for thread in self._threads if wait else ():
            thread.join()

    def _serve(self) -> None:
        while (call := self._calls.get()) is not None:
            future, function = call
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(function())
            except (Exception, SystemExit) as error:
                log.exception("a call in a thread of the worker failed")
                future.set_exception(error)
