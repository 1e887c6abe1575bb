"""Errors of the bus, and the one place that makes them of Redis's own."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import redis
from redis.exceptions import (
    AskError,
    AuthenticationError,
    AuthenticationWrongNumberOfArgsError,
    AuthorizationError,
    ClusterDownError,
    MasterDownError,
    NoPermissionError,
    ReadOnlyError,
    TryAgainError,
)

# Errors of the connection: the password, the protected mode, the number of the database.
_LOGIN = (AuthenticationError, AuthenticationWrongNumberOfArgsError, AuthorizationError)
_LOGIN_TEXTS = ("NOAUTH", "WRONGPASS", "DENIED", "DB index is out of range", "invalid DB index", "SELECT is not allowed")

# Redis has moved the keys, or chooses another master. Redis 6.2 begins the error of a script with
# other words.
_MOVED = (AskError, TryAgainError, ClusterDownError, ReadOnlyError, MasterDownError)
_MOVED_TEXTS = ("MOVED", "ASK", "TRYAGAIN", "CLUSTERDOWN", "READONLY", "MASTERDOWN", "NOREPLICAS")
_FENCED = re.compile(r"FENCED (\d+)")  # of our scripts


class BusError(Exception):
    """The bus cannot be reached or does not work at the moment. The call may be repeated.

    `reason` is the word of `tickwire_bus_retries_total`.
    """

    reason = "lost"


class BusMoved(BusError):
    """Another server has the keys, or takes them over at the moment."""

    reason = "moved"


class BusUnreplicated(BusError):
    """Fewer replicas than BUS_WAIT_REPLICAS have confirmed the batch: it is not accepted yet."""

    reason = "unreplicated"

    def __init__(self, address: str, confirmed: int, needed: int) -> None:
        super().__init__(f"{confirmed} of {needed} replicas of {address} have confirmed the batch")


class LayoutDiffers(BusError):
    """The bus holds `held` shards, and the setting is `wanted`; None: it cannot be read."""

    def __init__(self, wanted: int, held: int | None) -> None:
        if held is None:
            text = "tickwire:layout has a value that this version does not know: use the version that wrote it"
        else:
            text = (
                f"BUS_SHARDS is {wanted}, but the bus holds {held} shard{'s' if held > 1 else ''}: set BUS_SHARDS={held}, "
                f"or stop all processes and run manage.py bus reshard {wanted}"
            )
        super().__init__(text)


class BusFull(BusError):
    """The store is too far behind. Nothing was accepted; the call may be repeated later."""

    reason = "full"


class BusFenced(BusError):
    """Another process has the duty, under the higher number `stored`. Nothing was accepted.

    A repeat fails too: the duty has to be given up.
    """

    reason = "fenced"

    def __init__(self, stored: int) -> None:
        super().__init__(f"another process publishes for this duty, under the number {stored}")
        self.stored = stored


class ReportsFull(BusFull):
    """Too many reports wait for the observer. Nothing was accepted."""


class BusLoginRefused(BusError):
    """Redis refuses our user, its password or the number of the database."""


class BusTlsRefused(BusError):
    """TLS has failed for good. `fault` is one of `TLS_FAULTS`."""

    def __init__(self, fault: str, text: str) -> None:
        super().__init__(text)
        self.fault = fault


# Faults of TLS -> a part of the error text of OpenSSL; the first one that it has is the fault.
HOST_NAME, AUTHORITY, CLIENT_CERTIFICATE = "host name", "authority", "client certificate"
TLS_FAULTS = {
    HOST_NAME: re.compile("hostname mismatch|IP address mismatch", re.IGNORECASE),
    AUTHORITY: re.compile("CERTIFICATE_VERIFY_FAILED"),
    CLIENT_CERTIFICATE: re.compile("ALERT_CERTIFICATE_REQUIRED|ALERT_HANDSHAKE_FAILURE|ALERT_BAD_CERTIFICATE|ALERT_UNKNOWN_CA"),
}


@contextmanager
def translated() -> Iterator[None]:
    """Raise `BusError` for every `redis.RedisError`, so that none of them leaves `db.bus`."""
    try:
        yield
    except redis.RedisError as error:
        fenced = _FENCED.fullmatch(str(error))
        if fenced is not None:
            raise BusFenced(int(fenced[1])) from error
        text = f"{type(error).__name__}: {error}"
        for fault, form in TLS_FAULTS.items():
            if form.search(text):
                raise BusTlsRefused(fault, text) from error
        raise _kind_of(error)(text) from error


def _kind_of(error: redis.RedisError) -> type[BusError]:
    if _is_login(error):
        return BusLoginRefused
    return BusMoved if is_moved(error) else BusError


def is_moved(error: redis.RedisError) -> bool:
    """True if another server has the keys, or takes them over at the moment."""
    return isinstance(error, _MOVED) or str(error).startswith(_MOVED_TEXTS)


def _is_login(error: redis.RedisError) -> bool:
    if isinstance(error, NoPermissionError):
        return False  # the login is accepted, and a command is refused
    return isinstance(error, _LOGIN) or str(error).startswith(_LOGIN_TEXTS)
