"""The metrics that every process exports: its versions, its resources, its loops, its log."""

from __future__ import annotations

import os
import platform
import resource
from collections.abc import Callable, Iterable
from functools import partial

import psutil

from config import VERSION
from config.exposition import Collected, Exposition, Families
from config.logs.counts import LOG_COUNTS
from config.loops import HEARTBEATS, Heartbeats
from config.metrics import METRICS
from db.measures import Counts, total
from db.pool_measures import PoolMeasures
from db.postgres import Store
from health.measures.resources import open_descriptors


def new_exposition(
    service: str,
    *,
    acting: Callable[[], bool] = lambda: True,
    exports: Callable[[], bool] | None = None,
    stores: Iterable[Store] = (),
) -> Exposition:
    """The metrics of this process, with those that every process has. Call it after a fork.

    `exports` is true while it has the rows of the acting process; by default while it acts.

    `stores` are its connection pools; pools of one database that share their measures count once.
    """
    exposition = Exposition(service, acting=exports or acting)
    exposition.register(partial(_add_process, HEARTBEATS))
    exposition.register(ProcessMetrics())
    if service in METRICS["tickwire_acting"].services:
        exposition.register(partial(_add_acting, service, acting))
    pools = tuple({id(store.measures): store.measures for store in stores}.values())
    if pools:
        exposition.register(partial(_add_pools, pools))
    return exposition


def reported(exposition: Exposition, scope: str) -> Callable[[], Families] | None:
    """The families for the report of this process; None with METRICS_SCOPE=process."""
    return exposition.report if scope == "all" else None


class ProcessMetrics:
    """Collects the rows `process_*`, as the client library does.

    The library lists `/proc/self/fd` for their number: with 10,000 of them the loop of a hub stands
    still for 16 ms. Create it after a fork. Without a free descriptor it fails, so it is a
    collector of its own.
    """

    def __init__(self) -> None:
        self._process = psutil.Process(os.getpid())

    def __call__(self, found: Collected) -> None:
        """Add the rows."""
        with self._process.oneshot():
            memory, cpu = self._process.memory_info(), self._process.cpu_times()
            found.add("process_virtual_memory_bytes", memory.vms)
            found.add("process_resident_memory_bytes", memory.rss)
            found.add("process_start_time_seconds", self._process.create_time())
            found.add("process_cpu_seconds_total", cpu.user + cpu.system)
            found.add("process_open_fds", open_descriptors() or self._process.num_fds())
        found.add("process_max_fds", resource.getrlimit(resource.RLIMIT_NOFILE)[0])


def _add_process(heartbeats: Heartbeats, found: Collected) -> None:
    """Add the rows of every process that need no descriptor."""
    found.add("tickwire_build_info", 1, version=VERSION, python=platform.python_version())
    for loop, seconds in heartbeats.ages().items():
        found.add("tickwire_loop_age_seconds", seconds, loop=loop)
    found.add_counts("tickwire_log_records_total", LOG_COUNTS)


def _add_acting(service: str, acting: Callable[[], bool], found: Collected) -> None:
    found.add("tickwire_acting", int(acting()), service=service)


def _add_pools(pools: tuple[PoolMeasures, ...], found: Collected) -> None:
    """Add the use of the connection pools, in one sum."""
    found.add("tickwire_db_pool_in_use", sum(pool.in_use for pool in pools))
    found.add("tickwire_db_pool_size", sum(pool.size for pool in pools))
    found.add_buckets("tickwire_db_pool_wait_seconds", total([pool.waits for pool in pools]))
    found.add_buckets("tickwire_db_transaction_seconds", total([pool.transactions for pool in pools]))
    errors = Counts()
    for pool in pools:
        for labels, number in pool.errors.values().items():
            errors.add(*labels, by=number)
    found.add_counts("tickwire_db_errors_total", errors)
