"""Runs the table of `ops.servers`: in time, with the consequences of its findings."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from urllib.parse import unquote, urlsplit

from config.loops import PROCESS_END, UNFIT_CODE
from config.process.variables import is_child_of_up
from config.secrets import scrub
from config.settings import Settings
from db.bounded import Unreached
from db.bus import PLAIN, Bus, BusError, BusLoginRefused, BusSetup, LayoutDiffers, RedisFacts
from db.poolers import shares_sessions
from db.postgres import StoreError
from db.server_facts import address_of, read_facts
from db.timestamps import utc_now
from ops.bus.setup import setup_of
from ops.process import StartError, Unfit
from ops.servers import (
    BUS_CHECKS,
    CHECKED_LAYOUT,
    DATABASE_CHECKS,
    DOCTOR,
    EMBEDDED_BUS,
    Finding,
    Kind,
    Server,
    at_addresses,
    needs_sessions,
    no_bus,
    no_database,
)

log = logging.getLogger(__name__)

ATTEMPT_SECONDS = 1.5  # of one connection to a server
WHOLE_SECONDS = 5.0  # of all checks
LATER_SECONDS = 15.0  # of an attempt and of all checks, if a process tries again: servers may be slow
_SPARE_SECONDS = 0.25  # of the whole, so that the cause is known before the limit
RETRY_SECONDS = 1.0

Findings = dict[Server, list[Finding]]


def database_server(url: str, setting: str) -> Server:
    """Return the PostgreSQL at `url`, which `setting` names."""
    place = address_of(url)
    return Server(setting, url, place.host, place.port, place.role, place.database)


def bus_server(url: str, setting: str, setup: BusSetup = PLAIN) -> Server:
    """Return the Redis at `url`, which `setting` names; of several, the place of the first."""
    parts = urlsplit((setup.seeds or (url,))[0])
    is_socket = parts.scheme == "unix"
    host = unquote(parts.path) if is_socket else parts.hostname or "localhost"
    number = "" if is_socket else parts.path.strip("/")
    return Server(setting, url, host, str(parts.port or 6379), unquote(parts.username or "default"), number or "0", True, setup)


def own_servers(chosen: Settings, service: str) -> list[Server]:
    """Return the servers that the settings name for `service`: none, one or both."""
    url, setting = chosen.database_of(service)
    database = [database_server(url, setting)] if url else []
    return database + ([bus_server(chosen.redis_url, chosen.redis_setting, setup_of(chosen))] if chosen.redis_url else [])


def check(service: str, servers: Iterable[Server], *, embedded: bool = False) -> None:
    """Check the servers for a command; embedded ones have just begun to answer, and get more time.

    Raises `Unfit`, or `StartError` if a server gives no answer.
    """
    found = _findings(service, servers, *((LATER_SECONDS, LATER_SECONDS) if embedded else ()))
    _warn(found)
    if (error := _failure(found)) is not None:
        raise error


def check_process(service: str, servers: Iterable[Server], *, waits_for_database: bool) -> None:
    """Check the servers for a process that lasts; exits with 2 if a server is unfit.

    A server without an answer is an error in the log, and is checked again in a thread. With
    `waits_for_database` this function returns when the database has answered.
    """
    waiting = _begin(service, servers)
    while waits_for_database and not all(server.is_bus for server in waiting):
        time.sleep(RETRY_SECONDS)
        waiting = _go_on(service, waiting, leave=_exit)
    if waiting:
        threading.Thread(target=_check_until_reached, args=(service, waiting), name="server-checks", daemon=True).start()


def _begin(service: str, servers: Iterable[Server]) -> list[Server]:
    """Check for the first time; return the servers without an answer."""
    found = _findings(service, servers)
    _warn(found)
    if isinstance(error := _failure(found), Unfit):
        log.error("%s", error)
        raise SystemExit(UNFIT_CODE)
    for findings in found.values():
        for finding in findings:
            if finding.kind is Kind.UNREACHED:
                log.error("%s", scrub(str(finding)))
    return _unreached(found)


def _go_on(service: str, waiting: Sequence[Server], leave: Callable[[int], None]) -> list[Server]:
    """Check again; return the servers that still give no answer.

    Calls `leave(2)` if a server is unfit.
    """
    found = _findings(service, waiting, LATER_SECONDS, LATER_SECONDS)
    _warn(found)
    if isinstance(error := _failure(found), Unfit):
        log.error("%s", error)
        leave(UNFIT_CODE)
        return []
    left = _unreached(found)
    for server in waiting:
        if server not in left:
            log.info("recovered: the server answers", extra={"setting": server.setting, "address": server.address})
    return left


def _check_until_reached(service: str, waiting: list[Server]) -> None:
    """Check until each server has answered; ends the process with 2 if one is unfit."""
    while waiting and not PROCESS_END.begun:
        time.sleep(RETRY_SECONDS)
        waiting = _go_on(service, waiting, leave=PROCESS_END)


def _exit(code: int) -> None:
    raise SystemExit(code)


def _findings(service: str, servers: Iterable[Server], attempt: float = ATTEMPT_SECONDS, whole: float = WHOLE_SECONDS) -> Findings:
    """Return the findings about each server; all are checked at once, in threads that end in time.

    A thread that waits for a name server is abandoned.
    """
    found: Findings = {}

    def run(server: Server) -> None:
        judge = judge_bus if server.is_bus else judge_database
        found[server] = judge(service, server, attempt, whole)

    threads = {server: threading.Thread(target=run, args=(server,), daemon=True) for server in servers}
    end = time.monotonic() + whole
    for thread in threads.values():
        thread.start()
    for server, thread in threads.items():
        thread.join(max(0.0, end - time.monotonic()))
        found.setdefault(server, [_late(server, whole)])
    return {server: found[server] for server in threads}


def judge_database(
    service: str, server: Server, attempt: float = ATTEMPT_SECONDS, whole: float = WHOLE_SECONDS, *, probes: bool = True
) -> list[Finding]:
    """Return the findings about a PostgreSQL for this process or command.

    Without `probes`, a pooler is not looked for.
    """
    end = time.monotonic() + whole - _SPARE_SECONDS
    try:
        facts = read_facts(server.url, attempt_seconds=attempt, seconds=end - time.monotonic())
        if probes and needs_sessions(service) and facts.rights is not None:  # the server is not too old
            shares = shares_sessions(server.url, attempt_seconds=attempt, seconds=end - time.monotonic())
            facts = replace(facts, shares_sessions=shares)
    except StoreError as error:
        return [no_database(server, error)]
    return [finding for row in DATABASE_CHECKS if not row.skipped(service) and (finding := row.judge(server, facts))]


def judge_bus(
    service: str,
    server: Server,
    attempt: float = ATTEMPT_SECONDS,
    whole: float = WHOLE_SECONDS,
    *,
    complete: Callable[[RedisFacts], RedisFacts] = lambda facts: facts,
) -> list[Finding]:
    """Return the findings about a Redis for this process or command.

    `complete` adds the facts that the server does not show.
    """
    try:
        bus = Bus(server.url, utc_now, setup=server.setup, timeout=attempt)
        try:
            return _judged(service, server, bus, complete)
        finally:
            bus.close()
    except LayoutDiffers as error:
        return [Finding(Kind.UNFIT, str(error))]
    except BusError as error:
        return [no_bus(server, error)]
    except ValueError as error:  # of a parameter in the URL
        return [no_bus(server, BusLoginRefused(f"URL: {error}"))]


def _judged(service: str, server: Server, bus: Bus, complete: Callable[[RedisFacts], RedisFacts]) -> list[Finding]:
    # A managed Redis with replicas refuses CONFIG, and sets what it would show.
    config = service == DOCTOR or not server.setup.failover
    facts = [complete(each) for each in bus.facts_of_servers(config=config)]
    rows = [row for row in BUS_CHECKS if not row.skipped(service)]
    every = [(finding, each.address) for each in facts for row in rows if (finding := row.judge(server, each))]
    found = [finding for finding in at_addresses(every) if config or finding.kind is not Kind.UNKNOWN]
    if service in CHECKED_LAYOUT and all(finding.kind is not Kind.UNFIT for finding in found):
        bus.check_layout()
    return found


def _late(server: Server, seconds: float) -> Finding:
    text = f"no answer within {seconds:g} s"
    return no_bus(server, BusError(f"late: {text}")) if server.is_bus else no_database(server, Unreached(text))


def _failure(found: Findings) -> StartError | None:
    """Return the errors of all servers as one; None if there is none."""
    errors = [finding for findings in found.values() for finding in findings if finding.kind in (Kind.UNFIT, Kind.UNREACHED)]
    text = scrub("\n".join(map(str, errors)))
    if any(finding.kind is Kind.UNFIT for finding in errors):
        return Unfit(text)
    return StartError(text) if errors else None


def _unreached(found: Findings) -> list[Server]:
    return [server for server, findings in found.items() if any(finding.kind is Kind.UNREACHED for finding in findings)]


def _warn(found: Findings) -> None:
    """Log each warning once: a process of `up` leaves them to `up`."""
    for server, findings in found.items() if not is_child_of_up() else ():
        for finding in findings:
            if finding.kind in (Kind.WARNING, Kind.LOSS):
                log.warning("%s", finding.text, extra={"setting": server.setting, "address": server.address})
            elif finding.kind is Kind.UNKNOWN and server.setting != EMBEDDED_BUS:  # whose file we write
                log.info("%s", finding.text, extra={"setting": server.setting, "address": server.address})
