"""Settings of the bus that depend on each other: their defaults, and their contradictions."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from config.urls import seeds_of

MODES = ("single", "cluster", "sentinel")
CHANNELS = ("classic", "sharded", "both")
SHARDS = (1, 2, 4, 8, 16, 32, 64)
_SHARDS_OF_CLUSTER = 16


def has_failover(redis_mode: str, redis_failover: int) -> bool:
    """Return True if a replica may take the place of a Redis."""
    return redis_mode != "single" or bool(redis_failover)


def defaults_of(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings whose defaults depend on the mode, with their values."""
    is_cluster = values["redis_mode"] == "cluster"
    defaults = {
        "bus_shards": _SHARDS_OF_CLUSTER if is_cluster else 1,
        "bus_wait_replicas": int(has_failover(values["redis_mode"], values["redis_failover"])),
        "bus_channels": "sharded" if is_cluster else "classic",
    }
    return {name: default if values[name] is None else values[name] for name, default in defaults.items()}


def problems_of(values: Mapping[str, Any]) -> dict[str, str]:
    """Return variable -> problem."""
    mode, chosen = values["redis_mode"], {**values, **defaults_of(values)}
    problems = {**_url_problems(values), **_embedded_problems(values), **_tls_problems(values)}
    if values["redis_failover"] and mode != "single":
        problems["REDIS_FAILOVER"] = "Needs REDIS_MODE=single: a cluster and sentinels have failover of their own."
    if chosen["bus_channels"] != "classic" and mode != "cluster":
        problems["BUS_CHANNELS"] = f"{chosen['bus_channels']} needs REDIS_MODE=cluster."
    if mode == "cluster" and chosen["bus_shards"] < 2:
        problems["BUS_SHARDS"] = "Must be at least 2 with REDIS_MODE=cluster."
    return problems


def _url_problems(values: Mapping[str, Any]) -> dict[str, str]:
    mode, seeds = values["redis_mode"], seeds_of(values["redis_url"] or "")
    if mode == "single":
        return {"REDIS_URL": "Several addresses need REDIS_MODE=cluster or sentinel."} if len(seeds) > 1 else {}
    if not seeds:
        if not values["redis_host"]:
            return {"REDIS_URL": f"Needed with REDIS_MODE={mode}: the embedded Redis is a single one."}
        has_number = mode == "cluster" and values["redis_db"]
        return {"REDIS_DB": "Must be 0 with REDIS_MODE=cluster: a Redis Cluster has no other database."} if has_number else {}
    schemes = {urlsplit(seed).scheme for seed in seeds}
    if "unix" in schemes or len(schemes) > 1:
        return {"REDIS_URL": f"REDIS_MODE={mode} needs redis:// for all addresses, or rediss:// for all."}
    if mode == "cluster" and any(map(_database_of, seeds)):
        return {"REDIS_URL": "A Redis Cluster has the database 0 alone: remove the number from the address."}
    return {}


def _embedded_problems(values: Mapping[str, Any]) -> dict[str, str]:
    """The embedded Redis has no replica, and refuses `WAIT` to our user."""
    if values["redis_mode"] != "single" or values["redis_url"] or values["redis_host"]:
        return {}
    given = {"REDIS_FAILOVER": values["redis_failover"], "BUS_WAIT_REPLICAS": values["bus_wait_replicas"]}
    return {name: "Needs REDIS_URL or REDIS_HOST: the embedded Redis has no replica." for name, used in given.items() if used}


def _database_of(seed: str) -> str:
    """The number of the database, empty for 0."""
    parts = urlsplit(seed)
    given = parse_qs(parts.query).get("db") or [parts.path.strip("/")]
    return given[0].lstrip("0")


def _tls_problems(values: Mapping[str, Any]) -> dict[str, str]:
    files = {name: values[name] for name in ("redis_tls_ca", "redis_tls_cert", "redis_tls_key") if values[name] is not None}
    problems = {name.upper(): f"The file {path} does not exist." for name, path in files.items() if not path.is_file()}
    if files and not any(seed.startswith("rediss://") for seed in seeds_of(values["redis_url"] or "")):
        problems |= {name.upper(): "Needs a REDIS_URL with rediss://." for name in files}
    if values["redis_tls_key"] is None and values["redis_tls_cert"] is not None:
        problems["REDIS_TLS_KEY"] = "Needed with REDIS_TLS_CERT."
    if values["redis_tls_cert"] is None and values["redis_tls_key"] is not None:
        problems["REDIS_TLS_CERT"] = "Needed with REDIS_TLS_KEY."
    return problems or _pem_problems(**files)


def _pem_problems(
    *, redis_tls_ca: Path | None = None, redis_tls_cert: Path | None = None, redis_tls_key: Path | None = None
) -> dict[str, str]:
    """Load the files as a connection does, which would fail at each attempt otherwise."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    problems = {}
    if redis_tls_ca is not None:
        try:
            context.load_verify_locations(redis_tls_ca)
        except OSError as error:  # `ssl.SSLError` is one
            problems["REDIS_TLS_CA"] = f"{redis_tls_ca} cannot be read as certificates in PEM: {_reason(error)}."
    if redis_tls_cert is not None:
        try:
            # Without the argument, a key with a password would wait for it at the terminal.
            context.load_cert_chain(redis_tls_cert, redis_tls_key, password="")
        except OSError as error:
            problems["REDIS_TLS_KEY"] = f"{redis_tls_key} cannot be read as the key of REDIS_TLS_CERT in PEM: {_reason(error)}."
    return problems


def _reason(error: OSError) -> str:
    """The cause; OpenSSL has none for a key with a password and for a text without PEM."""
    found = (error.reason or "no key without a password") if isinstance(error, ssl.SSLError) else error.strerror
    return str(found).replace("_", " ").lower()
