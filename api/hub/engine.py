"""The one module of the hub that names eventlet, and where python-socketio is shaped to the contract."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import orjson
import socketio
from eventlet.hubs import trampoline
from flask import Flask
from flask_socketio import SocketIO

from config.settings import Settings

MOST_EVENT_BYTES = 64 * 1024  # one event from a client; the largest sensible subscribe is a tenth of it


class Json:
    """orjson behind the two functions python-socketio asks for: `orjson.Fragment` lets the bus' own bytes through."""

    @staticmethod
    def dumps(value: Any, *_: Any, **__: Any) -> str:
        return orjson.dumps(value).decode()

    @staticmethod
    def loads(text: str | bytes, *_: Any, **__: Any) -> Any:
        return orjson.loads(text)


class ClientManager(socketio.Manager):  # type: ignore[misc]
    """Tells when a client has been sent its CONNECT packet: whatever is sent sooner, real clients drop."""

    def __init__(self) -> None:
        super().__init__()
        self.on_connected: Callable[[str], None] = lambda sid: None

    def connect(self, sid: str, namespace: str) -> Any:
        """python-socketio calls this right after it has sent the CONNECT packet."""
        connected = super().connect(sid, namespace)
        self.on_connected(sid)
        return connected


def make_socketio(app: Flask, settings: Settings, manager: ClientManager) -> SocketIO:
    """Flask-SocketIO on eventlet with the contract's pings and limits; events of one client are handled in order."""
    return SocketIO(
        app,
        async_mode="eventlet",
        async_handlers=False,
        client_manager=manager,
        manage_session=False,
        json=Json,
        ping_interval=settings.websocket_ping_interval,
        ping_timeout=settings.websocket_ping_timeout,
        max_http_buffer_size=MOST_EVENT_BYTES,
        cors_allowed_origins=allowed_origin(settings.cors_origins),
        cookie=None,
        http_compression=False,
        logger=False,
        engineio_logger=False,
    )


def allowed_origin(extra: tuple[str, ...]) -> Callable[[str | None, dict[str, Any]], bool]:
    """Which pages may connect: those of the hub's own host (any port), of this machine, and of `extra` (`*`: all).

    A page of any other site must not read the hub of somebody who merely visits it.
    """

    def allowed(origin: str | None, environ: dict[str, Any]) -> bool:
        if not origin or "*" in extra or origin in extra:
            return True
        host = urlsplit(origin).hostname
        return host in ("localhost", "127.0.0.1", "::1") or host == urlsplit(f"//{environ.get('HTTP_HOST', '')}").hostname

    return allowed


def wait_for_socket(fd: int, for_writing: bool, timeout: float | None) -> None:
    """Let other greenlets run until `fd` is ready; `TimeoutError` after `timeout` seconds."""
    trampoline(fd, read=not for_writing, write=for_writing, timeout=timeout, timeout_exc=TimeoutError)
