"""The setup of the bus, from the settings of its servers."""

from __future__ import annotations

from config.bus.checks import has_failover
from config.settings import Settings
from config.urls import seeds_of
from db.bus import BusSetup


def setup_of(settings: Settings, url: str | None = None) -> BusSetup:
    """Return the setup of the bus at `url`, by default that of the settings."""
    files = (settings.redis_tls_ca, settings.redis_tls_cert, settings.redis_tls_key)
    tls_ca, tls_cert, tls_key = (None if file is None else str(file) for file in files)
    return BusSetup(
        mode=settings.redis_mode,
        seeds=seeds_of(url or settings.redis_url or ""),
        shards=settings.bus_shards,
        failover=has_failover(settings.redis_mode, settings.redis_failover),
        wait_replicas=settings.bus_wait_replicas,
        wait_ms=settings.bus_wait_ms,
        strict=bool(settings.bus_wait_strict),
        channels=settings.bus_channels,
        sentinel_master=settings.redis_sentinel_master,
        tls_ca=tls_ca,
        tls_cert=tls_cert,
        tls_key=tls_key,
    )
