"""Checks of PostgreSQL and Redis at a start: one table for `up`, `migrate` and every process.

A row returns None if all is well, else a finding. The text of a finding names the setting and the
cause; its remedy is SQL, or a line of `redis.conf`. No text contains a password.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Generic, TypeVar

from db.bounded import DATABASE_MISSING, NO_CONNECT, NO_ENTRY, NO_LOGIN, PASSWORD, ROLE_MISSING, LoginRefused
from db.bus import PLAIN, BusError, BusLoginRefused, BusSetup, RedisFacts
from db.bus.errors import AUTHORITY, CLIENT_CERTIFICATE, HOST_NAME, BusTlsRefused
from db.bus.topology.setup import CLUSTER
from db.postgres import StoreError
from db.rights import OWNER, READER, WRITER
from db.server_facts import FIRST_VERSION, Rights, ServerFacts

_FIRST_REDIS = (6, 2)
_FIRST_OF_CLUSTER = (7, 0)  # the first with sharded channels
_PROCESSES = frozenset({"jobs", "books", "observer", "hub", "rest"})  # they do not migrate; all commands with a check do
CHECKED_LAYOUT = _PROCESSES | {"up"}  # they compare the number of shards with that of the bus
_READING = frozenset({"hub", "rest"})  # they make no temporary table and hold no lock of a session
DOCTOR = "doctor"  # the command that looks at everything
_PLAIN_NAME = re.compile(r"[a-z_][a-z0-9_]*")
_PUBSUB_BYTES = 64 * 1024 * 1024  # for a subscriber that is behind
_CONNECTING = re.compile(r"^\w+: (?:Error -?\d+ (?:while )?connecting to (?:unix socket: )?\S+\. )?")

# In place of a setting, in messages about the servers that `up` starts.
EMBEDDED_DATABASE, EMBEDDED_BUS = "the embedded PostgreSQL", "the embedded Redis"

Facts = TypeVar("Facts")


class Kind(Enum):
    """The consequence of a finding."""

    UNFIT = "the environment has to change first: exit code 2"
    UNREACHED = "exit code 1 of commands; processes that last try again"
    WARNING = "one line in the log"
    LOSS = "one line in the log, and a failure of `manage.py doctor`: the bus may lose messages"
    UNKNOWN = "the server does not show it"


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of a check that did not pass."""

    kind: Kind
    text: str
    remedy: tuple[str, ...] = ()

    def __str__(self) -> str:
        return "\n  ".join((self.text, *self.remedy))


@dataclass(frozen=True, slots=True)
class Server:
    """One server to check: the setting that names it, and its place in words.

    `role` is our role or user, `database` the name or the number of the database.
    """

    setting: str
    url: str = field(repr=False)
    host: str
    port: str
    role: str
    database: str
    is_bus: bool = False  # Redis, not PostgreSQL
    setup: BusSetup = PLAIN  # of a Redis

    @property
    def address(self) -> str:
        """Host and port, or the path of a socket."""
        return self.host if self.host.startswith("/") else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Check(Generic[Facts]):
    """One row: `judge(server, facts)` returns a finding or None.

    `skipped(service)` is True for processes and commands that do not need it.
    """

    name: str
    judge: Callable[[Server, Facts], Finding | None]
    skipped: Callable[[str], bool] = lambda service: False


def sql_name(name: str) -> str:
    """Return the name of a role or database as SQL contains it."""
    return name if _PLAIN_NAME.fullmatch(name) else '"' + name.replace('"', '""') + '"'


# PostgreSQL


def no_database(server: Server, error: StoreError) -> Finding:
    """Return the finding for a PostgreSQL that refuses the login, or gives no answer."""
    if not isinstance(error, LoginRefused):
        text = f"{server.setting}: no connection to PostgreSQL at {server.address} as role {server.role} ({error})"
        return Finding(Kind.UNREACHED, text)
    role, database = sql_name(server.role), sql_name(server.database)
    create = f"CREATE ROLE {role} LOGIN PASSWORD '…';"
    remedy = {
        ROLE_MISSING: (create,),
        PASSWORD: (f"{create}  -- if the role is missing", f"ALTER ROLE {role} PASSWORD '…';  -- if its password differs"),
        DATABASE_MISSING: (_create_database(server.database, server.role),),
        NO_CONNECT: (f"GRANT CONNECT ON DATABASE {database} TO {role};",),
        NO_LOGIN: (f"ALTER ROLE {role} LOGIN;",),
        NO_ENTRY: (f"a line of pg_hba.conf: host {database} {role} ADDRESS scram-sha-256",),
    }
    text = f"{server.setting}: role {server.role} may not log in to {server.database} at {server.address} ({error})"
    return Finding(Kind.UNFIT, text, remedy.get(error.kind, ()))


def _create_database(name: str, role: str) -> str:
    owner = OWNER if role in (WRITER, READER) else role
    return f"CREATE DATABASE {sql_name(name)} OWNER {sql_name(owner)} ENCODING 'UTF8' TEMPLATE template0;"


def _version(server: Server, found: ServerFacts) -> Finding | None:
    if found.version_number >= FIRST_VERSION:
        return None
    text = f"{server.setting}: PostgreSQL {found.version} at {server.address} is too old: version 14 or newer is needed"
    return Finding(Kind.UNFIT, text)


def _encoding(server: Server, found: ServerFacts) -> Finding | None:
    if found.encoding == "UTF8":
        return None
    text = f"{server.setting}: database {server.database} has the encoding {found.encoding}: UTF8 is needed"
    new = "tickwire_utf8" if server.database == "tickwire" else "tickwire"
    return Finding(Kind.UNFIT, text, (_create_database(new, server.role),))


def _standby(server: Server, found: Rights) -> Finding | None:
    if not found.standby:
        return None
    text = f"{server.setting}: PostgreSQL at {server.address} is a standby (pg_is_in_recovery), which takes no rows"
    where = f", which is {found.primary}" if found.primary else ""
    return Finding(Kind.UNFIT, text, (f"set {server.setting} to the address of the primary{where}",))


def _create(server: Server, found: Rights) -> Finding | None:
    role, database = sql_name(server.role), sql_name(server.database)
    if found.schema_owner is None:
        text = f"{server.setting}: database {server.database} has no schema public"
        return Finding(Kind.UNFIT, text, (f"CREATE SCHEMA public AUTHORIZATION {role};",))
    if found.creates:
        return None
    text = f"{server.setting}: role {server.role} may not create tables in schema public of {server.database} (permission denied)"
    by_owner = found.schema_owner == "pg_database_owner"  # the default of PostgreSQL 15 and newer
    mend = f"ALTER DATABASE {database} OWNER TO {role};" if by_owner else f"GRANT CREATE, USAGE ON SCHEMA public TO {role};"
    return Finding(Kind.UNFIT, text, (mend,))


def _tables(server: Server, found: Rights) -> Finding | None:
    if found.foreign_owner is None:
        return None
    text = f"{server.setting}: tables of {server.database} belong to {found.foreign_owner}, so role {server.role} may not migrate them"
    return Finding(Kind.UNFIT, text, (f"REASSIGN OWNED BY {found.foreign_owner} TO {sql_name(server.role)};",))


def _temporary(server: Server, found: Rights) -> Finding | None:
    if found.temporary:
        return None
    text = f"{server.setting}: role {server.role} may not create temporary tables in {server.database} (permission denied)"
    mend = f"GRANT TEMPORARY ON DATABASE {sql_name(server.database)} TO {sql_name(server.role)};"
    return Finding(Kind.UNFIT, text, (mend,))


def _pooler(server: Server, found: ServerFacts) -> Finding | None:
    if not found.shares_sessions:
        return None
    text = "DATABASE_DIRECT_URL goes through a transaction pooler: set it to the PostgreSQL server itself"
    return Finding(Kind.UNFIT, text)


def needs_sessions(service: str) -> bool:
    """Return True for a process or command that a pooler in transaction mode does not serve."""
    return service not in _READING and service != DOCTOR  # it examines poolers by itself


def _by_rights(judge: Callable[[Server, Rights], Finding | None]) -> Callable[[Server, ServerFacts], Finding | None]:
    """Let the row pass if the server is too old to show the rights: its version is an error."""
    return lambda server, found: None if found.rights is None else judge(server, found.rights)


# Redis

_TLS_TEXTS = {
    HOST_NAME: "{setting}: the certificate of Redis at {address} is for another host name: use a name that it has",
    AUTHORITY: "REDIS_TLS_CA: no authority of this file (or of the system) has signed the certificate of Redis at {address}",
    CLIENT_CERTIFICATE: "REDIS_TLS_CERT: Redis at {address} accepts no client without a certificate that its authority has signed",
}


def no_bus(server: Server, error: BusError) -> Finding:
    """Return the finding for a Redis that refuses the login, or gives no answer."""
    if isinstance(error, BusTlsRefused):
        return Finding(Kind.UNFIT, _TLS_TEXTS[error.fault].format(setting=server.setting, address=server.address))
    cause = _CONNECTING.sub("", str(error)).rstrip(".")
    if isinstance(error, BusLoginRefused):
        text = f"{server.setting}: Redis at {server.address} refuses the login of user {server.role} ({cause})"
        return Finding(Kind.UNFIT, text)
    return Finding(Kind.UNREACHED, f"{server.setting}: no connection to Redis at {server.address} ({cause})")


def _redis_version(server: Server, found: RedisFacts) -> Finding | None:
    numbers = re.match(r"(\d+)\.(\d+)", found.version or "")
    if numbers is None:
        return Finding(Kind.UNKNOWN, "the version of Redis cannot be checked")
    first = _FIRST_OF_CLUSTER if server.setup.mode == CLUSTER else _FIRST_REDIS
    if (int(numbers[1]), int(numbers[2])) >= first:
        return None
    place = found.address or server.address
    text = f"{server.setting}: Redis {found.version} at {place} is too old: version {first[0]}.{first[1]} or newer is needed"
    return Finding(Kind.UNFIT, text)


def _replica(server: Server, found: RedisFacts) -> Finding | None:
    if not found.primary:
        return None
    text = f"{server.setting}: Redis at {server.address} is a replica, which takes no messages"
    return Finding(Kind.UNFIT, text, (f"set {server.setting} to the address of the primary, which is {found.primary}",))


def _append_only(server: Server, found: RedisFacts) -> Finding | None:
    if found.append_only is None:
        return Finding(Kind.UNKNOWN, "`appendonly` cannot be checked")
    more = "" if found.append_sync in (None, "always") else " (with `appendfsync always`)"
    text = f"Redis needs `appendonly yes`{more}: accepted prices are lost in a crash otherwise"
    return None if found.append_only else Finding(Kind.LOSS, text, _line("appendonly yes"))


def _append_sync(server: Server, found: RedisFacts) -> Finding | None:
    if found.append_only is False:  # nothing is synced, as the row above says
        return None
    if found.append_sync is None:
        return Finding(Kind.UNKNOWN, "`appendfsync` cannot be checked")
    text = f"Redis needs `appendfsync always`: up to 1 s is lost otherwise (now: {found.append_sync})"
    return None if found.append_sync == "always" else Finding(Kind.WARNING, text, _line("appendfsync always"))


def _eviction(server: Server, found: RedisFacts) -> Finding | None:
    if found.eviction is None:
        return Finding(Kind.UNKNOWN, "`maxmemory-policy` cannot be checked")
    text = f"Redis needs `maxmemory-policy noeviction`: the bus may lose its numbers otherwise (now: {found.eviction})"
    return None if found.eviction == "noeviction" else Finding(Kind.LOSS, text, _line("maxmemory-policy noeviction"))


def _pubsub_limit(server: Server, found: RedisFacts) -> Finding | None:
    if found.pubsub_limit_bytes is None:
        return Finding(Kind.UNKNOWN, "`client-output-buffer-limit pubsub` cannot be checked")
    if not 0 < found.pubsub_limit_bytes < _PUBSUB_BYTES:  # 0: no limit
        return None
    text = f"Redis disconnects a subscriber that is {found.pubsub_limit_bytes:,} bytes behind: a hub needs 64 MB"
    return Finding(Kind.WARNING, text, _line("client-output-buffer-limit pubsub 256mb 64mb 60"))


def _cluster(server: Server, found: RedisFacts) -> Finding | None:
    if found.cluster is None:
        return Finding(Kind.UNKNOWN, "`cluster-enabled` cannot be checked")
    if not found.cluster or server.setup.mode == CLUSTER:
        return None
    text = f"{server.setting}: Redis at {server.address} runs in cluster mode, and REDIS_MODE is {server.setup.mode}"
    return Finding(Kind.WARNING, text, (*_line("cluster-enabled no"), "or set REDIS_MODE=cluster, with BUS_SHARDS of 2 or more"))


def _failover(server: Server, found: RedisFacts) -> Finding | None:
    if server.setup.failover or not found.replicas:
        return None
    text = f"Redis at {server.address} has replicas, and REDIS_FAILOVER is 0: after a failover, numbers are given twice in one epoch"
    remedy = "set REDIS_FAILOVER=1 if a replica may take over the address, or REDIS_MODE to sentinel or cluster"
    return Finding(Kind.WARNING, text, (remedy,))


def _line(text: str) -> tuple[str, ...]:
    return (f"a line of redis.conf: {text}",)


def at_addresses(found: Sequence[tuple[Finding, str]]) -> list[Finding]:
    """Return each finding once, with the addresses of its servers.

    An address is empty if the setting names the only server.
    """
    places: dict[Finding, list[str]] = {}
    for finding, address in found:
        places.setdefault(finding, []).append(address)
    return [
        replace(finding, text=f"{', '.join(addresses)}: {finding.text}") if addresses[0] and addresses[0] not in finding.text else finding
        for finding, addresses in places.items()
    ]


# The table. The first row of each server, `no_database` and `no_bus`, has no facts to judge.
DATABASE_CHECKS: tuple[Check[ServerFacts], ...] = (
    Check("postgres version", _version),
    Check("encoding", _encoding),
    Check("primary", _by_rights(_standby)),
    Check("create", _by_rights(_create), skipped=lambda service: service in _PROCESSES),
    Check("tables", _by_rights(_tables), skipped=lambda service: service in _PROCESSES),
    Check("temporary", _by_rights(_temporary), skipped=lambda service: service in _READING),
    Check("pooler", _pooler, skipped=lambda service: not needs_sessions(service)),
)
BUS_CHECKS: tuple[Check[RedisFacts], ...] = (
    Check("redis version", _redis_version),
    Check("replica", _replica),
    Check("appendonly", _append_only),
    Check("appendfsync", _append_sync),
    Check("maxmemory-policy", _eviction),
    Check("client-output-buffer-limit", _pubsub_limit, skipped=lambda service: service != DOCTOR),
    Check("cluster-enabled", _cluster, skipped=lambda service: service != DOCTOR),
    Check("failover", _failover, skipped=lambda service: service != DOCTOR),
)
