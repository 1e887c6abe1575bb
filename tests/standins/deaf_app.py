"""A WSGI app for the hub's worker.

`/pid` returns the pid, `/deafen` closes the listening socket of the worker.
"""

from __future__ import annotations

import gc
import os
import socket
from collections.abc import Callable, Iterable
from typing import Any

StartResponse = Callable[[str, list[tuple[str, str]]], Any]


def app(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
    if environ["PATH_INFO"] == "/deafen":
        for each in gc.get_objects():
            if isinstance(each, socket.socket) and each.fileno() >= 0 and each.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                each.close()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Connection", "close")])
    return [str(os.getpid()).encode()]
