"""The checks of REST: what they do, and the thread that runs them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from api.refresh.service import AccessControl
from api.rest.request_log import RequestLog
from config.exposition import Families
from config.loops import keep_in_thread
from config.performance_log import PerformanceLog
from config.settings import Settings
from db import migrate
from db.bus import Bus
from db.postgres import Store
from db.prices import table_exists
from db.replicas import Replica
from health.checks import BusCheck, DatabaseCheck, check_store
from health.measures.performance_lines import LOOP as PERFORMANCE_LOOP
from health.own import OwnChecks
from health.probe import NOT_MIGRATED, CheckFailed, HealthProbe
from health.reporter import Identity, Reporter, bus_part
from health.timing import Timing
from health.watch import BUS, DATABASE, LOOP, Watch

ACCESS_LOOP, TOKEN_KEYS_LOOP = "access", "token-keys"
REQUEST_LOOP, REPLICA_LOOP = "access-log", "replica"
REQUEST_ROUND_SECONDS = 10.0  # a write to a slow disk
ACCESS_ROUND_SECONDS = 30.0  # a read of the store may wait for a connection and for its statement
REPLICA_ROUND_SECONDS = 30.0  # a look at several replicas, of which none answers
_END_SECONDS = 2.0  # for the removal from the registry at an orderly stop


def read_database(store: Store) -> None:
    """Read the catalogue. Raises `CheckFailed`, or `StoreError` if PostgreSQL is unavailable.

    A migration that is not applied fails too: the next requests may need its tables.
    """
    with store.transaction() as cursor:
        if not table_exists(cursor) or migrate.unapplied(cursor):
            raise CheckFailed(NOT_MIGRATED, "run `python manage.py migrate`")


def read_redis(bus: Bus) -> None:
    """Read two counters. Raises `BusError`."""
    bus.counts()


def make_watch(
    settings: Settings,
    bus: Bus,
    store: Store,
    clock: Callable[[], datetime],
    timing: Timing,
    families: Callable[[], Families] | None = None,
) -> Watch:
    """Return the watch of a REST process, whose thread does not run yet.

    `families` are the metrics of its report; None leaves them out.
    """
    own_bus = bus.with_timeout(timing.limit)
    identity = Identity.of_this_process("rest", settings.api_port, clock())
    checks: OwnChecks

    def parts() -> dict[str, Any]:
        return {"acting": True, "failing": checks.failing(), **bus_part(own_bus)}

    reporter = Reporter(own_bus, identity, parts, clock, timing=timing, families=families)
    database = DatabaseCheck(check_store(store, timing.limit), lambda: reporter.name, clock, read_only_role=True)
    probes = [
        HealthProbe(DATABASE, database),
        HealthProbe(BUS, BusCheck(own_bus, lambda: reporter.name, timing.limit)),
    ]
    checks = OwnChecks(probes, timing=timing)
    return Watch(own_bus, checks, reporter, clock, timing=timing)


def start(watch: Watch, requests: RequestLog, performance: PerformanceLog) -> None:
    """Run the watch, and write both logs of figures, in threads until the process ends."""
    keep_in_thread(LOOP, watch.run, end_seconds=_END_SECONDS)
    keep_in_thread(REQUEST_LOOP, requests.run, round_seconds=REQUEST_ROUND_SECONDS, end_seconds=_END_SECONDS)
    keep_in_thread(PERFORMANCE_LOOP, performance.run, end_seconds=_END_SECONDS)


def start_access(access: AccessControl) -> None:
    """Read the keys, then take their changes in threads until the process ends."""
    access.begin()
    loops = {ACCESS_LOOP: access.run}
    if access.token_keys is not None:
        loops[TOKEN_KEYS_LOOP] = access.token_keys.run
    for name, run in loops.items():
        keep_in_thread(name, run, round_seconds=ACCESS_ROUND_SECONDS, end_seconds=_END_SECONDS)


def start_replica(replica: Replica) -> None:
    """Watch the lag of the replica in a thread until the process ends."""
    keep_in_thread(REPLICA_LOOP, replica.run, round_seconds=REPLICA_ROUND_SECONDS, end_seconds=_END_SECONDS)
