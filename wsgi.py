"""What gunicorn calls: `wsgi:hub()` and `wsgi:rest()`."""

from __future__ import annotations

from typing import Any

from config import VERSION, logs, settings
from config.settings import Settings
from db.bus import Bus
from db.postgres import Store
from db.timestamps import utc_now


def hub() -> Any:
    """The Socket.IO hub, its relay running."""
    from api.websocket_server import create_hub

    config = _prepare("hub")
    return create_hub(config, _bus(config), _store(config, "hub"), utc_now)


def rest() -> Any:
    """The REST application."""
    from api.app import create_app

    config = _prepare("rest")
    return create_app(config, _bus(config), _store(config, "rest"), utc_now, VERSION)


def _prepare(service: str) -> Settings:
    config = settings.load()
    logs.configure(service, level=config.log_level, style=config.log_format, file=config.log_file)
    if config.database_url is None or config.redis_url is None:
        raise SystemExit(f"{service} alone needs DATABASE_URL (or DB_*) and REDIS_URL (or REDIS_*); `manage.py up` brings its own servers")
    return config


def _bus(config: Settings) -> Bus:
    return Bus(str(config.redis_url), utc_now, limit=config.stream_max_length)


def _store(config: Settings, service: str) -> Store:
    return Store(str(config.database_url), pool_max=config.db_pool_max, timeout_ms=config.db_timeout_ms, application=f"tickwire-{service}")
