"""A WSGI app for the hub's worker.

`/pid` returns the pid, `/deafen` closes the listening socket of the worker, and `/kill` kills its
acceptor.
"""

from __future__ import annotations

import _socket
import gc
import os
import socket
from collections.abc import Callable, Iterable, Iterator
from types import FrameType
from typing import Any

from eventlet.greenthread import GreenThread

StartResponse = Callable[[str, list[tuple[str, str]]], Any]


def app(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
    if environ["PATH_INFO"] == "/deafen":
        for each in gc.get_objects():
            if isinstance(each, _socket.socket) and each.fileno() >= 0 and each.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                each.close()
    elif environ["PATH_INFO"] == "/kill":
        for each in gc.get_objects():
            if isinstance(each, GreenThread) and "_serve" in functions(each.gr_frame):
                each.kill()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Connection", "close")])
    return [str(os.getpid()).encode()]


def functions(frame: FrameType | None) -> Iterator[str]:
    """Yield the names of the functions that a suspended greenlet is in."""
    while frame is not None:
        yield frame.f_code.co_name
        frame = frame.f_back
