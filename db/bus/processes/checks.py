"""Checks that the bus does its work, and facts about its server for the checks at a start."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from typing import Any

import redis

from db import topics
from db.bus.connection import Connection, lua
from db.bus.errors import BusError, translated
from db.bus.subscription import Subscription

_HEALTH = lua("health")
_OLDEST = lua("oldest")
_PUBSUB_LIMIT = re.compile(r"\bpubsub\s+(\d+)([kmg]?b?)\b", re.IGNORECASE)
_UNITS = {"": 1, "b": 1, **{f"{unit}{end}": (1024 if end else 1000) ** power for power, unit in enumerate("kmg", 1) for end in ("", "b")}}


class BusNotWorking(BusError):
    """Redis answers and cannot do its work."""


@dataclass(frozen=True, slots=True)
class RedisFacts:
    """Facts about a Redis; None if Redis refuses to show one.

    `primary` is `host:port` if the server is a replica, else "". `pubsub_limit_bytes` is the number
    of bytes that may wait for one subscriber, 0 without a limit. `replicas` are the connected ones.
    `address` is empty if the setting names the server itself.
    """

    version: str | None
    primary: str | None
    append_only: bool | None
    append_sync: str | None
    eviction: str | None
    pubsub_limit_bytes: int | None = None
    cluster: bool | None = None
    replicas: int | None = None
    address: str = ""


@dataclass(frozen=True, slots=True)
class RedisLoad:
    """Memory of Redis in bytes, and its commands in the last second; None if it shows none."""

    used_memory_bytes: int | None
    ops_per_sec: int | None


class Checks(Connection):
    """The part of the bus for checks. Every method raises `BusError`."""

    def facts_of_servers(self, *, config: bool = True) -> list[RedisFacts]:
        """Return facts about each server. Raises `BusLoginRefused` if one refuses our login.

        Many servers refuse `CONFIG`, which is left out without `config`. `INFO` alone shows the
        other facts.
        """
        with translated():
            fixed = self._nodes.fixed is not None
            return [_facts(node.client, config, "" if fixed else node.address) for node in self._nodes.masters()]

    def server_load(self) -> RedisLoad:
        """Return the load of the server."""
        with translated():
            found = self._redis.info()
        return RedisLoad(found.get("used_memory"), found.get("instantaneous_ops_per_sec"))

    def check_write(self, process: str, value: str) -> None:
        """Write and read one field of the hash of checks. Raises `BusNotWorking` if it differs."""
        found = self._run_scripts(_HEALTH, [([topics.HEALTH], [process, value])])[0]
        if found != value.encode():
            raise BusNotWorking("a field that was just written has another value")

    def publish_check(self, body: bytes) -> None:
        """Publish on the channel of checks. No process relays, counts or keeps it."""
        with translated():
            self._redis.publish(topics.HEALTH, body)

    def subscribe_checks(self) -> Subscription:
        """Subscribe to the channel of checks."""
        with translated():
            return Subscription(self._redis.connection_pool.make_connection(), [topics.HEALTH])

    def oldest_unstored_seconds(self, channel: str) -> float | None:
        """Age of the oldest message that the store does not hold yet; None if there is none."""
        keys = [self.key(topics.stream_key(channel), shard) for shard in self.shards_of(channel)]
        ages = self._run_scripts(_OLDEST, [([key], [topics.WRITER_GROUP]) for key in keys])
        oldest = max(map(int, ages))
        return None if oldest < 0 else oldest / 1000

    def answers(self) -> bool:
        """Return True if Redis answers a PING, also if it refuses commands."""
        try:
            self.ping()
        except BusError:
            return False
        return True


def _facts(client: Any, config: bool, address: str) -> RedisFacts:
    found = _info(client)
    append_only, policy = found.get("aof_enabled"), found.get("maxmemory_policy")

    def setting(name: str) -> str | None:
        return _setting(client, name) if config else None

    return RedisFacts(
        version=found.get("redis_version"),
        primary=_primary(found),
        append_only=None if append_only is None else bool(append_only),
        append_sync=setting("appendfsync"),
        eviction=policy or setting("maxmemory-policy"),
        pubsub_limit_bytes=pubsub_limit(setting("client-output-buffer-limit") or ""),
        cluster=None if (cluster := found.get("cluster_enabled")) is None else bool(cluster),
        replicas=found.get("connected_slaves"),
        address=address,
    )


def _info(client: Any) -> dict[str, Any]:
    try:
        return dict(client.info())
    except redis.ResponseError:  # refused, or no login
        client.ping()
        return {}


def _setting(client: Any, name: str) -> str | None:
    try:
        found: str | None = client.config_get(name).get(name)
    except redis.RedisError:  # refused, or no command of this server, which may close the connection
        return None
    return found


def pubsub_limit(text: str) -> int | None:
    """Return the hard limit of subscribers in bytes, of a value of `client-output-buffer-limit`.

    None if the text has none.
    """
    match = _PUBSUB_LIMIT.search(text)
    return None if match is None else int(match[1]) * _UNITS[match[2].lower()]


def _primary(info: dict[str, Any]) -> str | None:
    role = info.get("role")
    if role is None:
        return None
    return "" if role == "master" else f"{info.get('master_host')}:{info.get('master_port')}"


def received(subscription: Subscription, body: bytes, seconds: float) -> bool:
    """Return True if the subscription brings the message `body` within `seconds`."""
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        if any(found == body for _, found in subscription.read(left)):
            return True
    return False
