"""Remote checks at once, in threads that may be abandoned."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

from db.bus import BusError
from db.postgres import StoreError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Missing:
    """The reason for which a fact could not be read."""

    reason: str


Answer: TypeAlias = T | Missing


def read_all(tasks: Mapping[str, Callable[[], Any]], seconds: float) -> dict[str, Any]:
    """Run the tasks at once; return each result, or `Missing` if it failed or takes longer.

    A thread that waits for a name server is abandoned.
    """
    found: dict[str, Any] = {}

    def run(name: str, task: Callable[[], Any]) -> None:
        try:
            found[name] = task()
        except (StoreError, BusError, OSError, ValueError) as error:
            found[name] = Missing(str(error) or type(error).__name__)

    threads = {name: threading.Thread(target=run, args=(name, task), name=name, daemon=True) for name, task in tasks.items()}
    end = time.monotonic() + seconds
    for thread in threads.values():
        thread.start()
    for thread in threads.values():
        thread.join(max(0.0, end - time.monotonic()))
    late, ended = Missing(f"no answer within {seconds:g} s"), Missing("the check ended with an error")
    return {name: found.get(name, late if thread.is_alive() else ended) for name, thread in threads.items()}
