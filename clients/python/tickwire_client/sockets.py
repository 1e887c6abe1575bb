"""The Socket.IO client of one connection, as the link needs it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

import requests
import socketio
import websocket

from tickwire_client.credentials import protocol_log
from tickwire_client.failures import HttpAnswer

log = logging.getLogger("tickwire_client")

POLL_SECONDS = 0.25  # between two checks whether a connection lasts


def make_socket(timeout: float, answers: list[HttpAnswer]) -> Any:
    """Return a client that handles messages in their order.

    `timeout` of requests is in seconds. `answers` receives the refusals of HTTP.
    """
    options = {"reconnection": False, "handle_sigint": False, "websocket_extra_options": {"class_": _WebSocket}}
    logs = {"logger": protocol_log, "engineio_logger": protocol_log}
    sio = socketio.Client(request_timeout=timeout, http_session=_watched(answers), **options, **logs)
    _keep_order(sio)
    return sio


def await_event(event: threading.Event, sio: Any, seconds: float) -> bool:
    """Wait until the event is set, the connection has ended or the time is over."""
    deadline = time.monotonic() + seconds
    while not event.wait(POLL_SECONDS) and sio.eio.state == "connected" and time.monotonic() < deadline:
        pass
    return event.is_set()


class _WebSocket(websocket.WebSocket):
    """Keeps the code of the Close frame, which python-engineio drops."""

    close_code: int | None = None

    def recv_data(self, control_frame: bool = False) -> tuple[int, bytes]:
        opcode, data = super().recv_data(control_frame)
        if opcode == websocket.ABNF.OPCODE_CLOSE and len(data) >= 2:
            self.close_code = int.from_bytes(data[:2])
        return opcode, data


def _keep_order(sio: Any) -> None:
    """Handle messages in the reader's thread, which keeps their order.

    python-socketio starts a thread for each message, so handlers could run in any order.
    """
    engine, start = sio.eio, sio.eio.start_background_task

    def start_in_order(target: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        if target != engine.handlers.get("message"):
            return start(target, *arguments, **options)
        try:
            return target(*arguments)
        except Exception:
            log.exception("cannot handle a message")
            return None

    engine.start_background_task = start_in_order
    _end_at_once(engine)


def _end_at_once(engine: Any) -> None:
    """Let the hub end the session without a delay.

    python-engineio waits for the end of its reader, also in the reader's thread, which handles the
    packets of the hub, and while it connects, when there is no reader yet. It then drops the item
    that ends its writer, for which the reader waits.
    """
    end = engine.disconnect

    def disconnect(abort: bool = False, reason: str | None = None) -> None:
        end(abort or engine.read_loop_task in (None, threading.current_thread()), reason)
        engine.queue.put(None)

    engine.disconnect = disconnect


def _watched(answers: list[HttpAnswer]) -> requests.Session:
    """A session for long-polling that appends each refused request to `answers`."""

    def note(response: requests.Response, *_: Any, **__: Any) -> None:
        if not response.ok:
            headers = {name.lower(): value for name, value in response.headers.items()}
            answers.append(HttpAnswer(response.status_code, headers, response.text))

    session = requests.Session()
    session.hooks["response"].append(note)
    return session
