"""A proxy in front of REST that passes on each POST, and loses the first answers."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(slots=True)
class LosingProxy:
    """`lose` answers are still to be lost; `requests` has headers and body of each POST."""

    url: str
    lose: int = 0
    requests: list[tuple[dict[str, str], bytes]] = field(default_factory=list)


@contextmanager
def losing_proxy(port: int, lose: int = 0) -> Iterator[LosingProxy]:
    """Serve the REST at `port`."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            proxy.requests.append(({name.lower(): value for name, value in self.headers.items()}, body))
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
            connection.request("POST", self.path, body, {"Content-Type": self.headers["Content-Type"]})
            response = connection.getresponse()
            text = response.read()
            connection.close()
            if proxy.lose:
                proxy.lose -= 1
                self.close_connection = True
                return
            self.send_response(response.status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name of the standard library
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        proxy = LosingProxy(f"http://127.0.0.1:{server.server_port}", lose)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield proxy
        server.shutdown()
        thread.join()
