"""A bare Flask route that returns ready bytes, on gunicorn's worker with 8 threads.

python -m tests.bench.peers.flask_route PORT SIZE [WORKER_CLASS]
"""

from __future__ import annotations

import sys

from flask import Flask, Response
from gunicorn.app.wsgiapp import run


def app(size: str) -> Flask:
    """Return the app; its only route answers with `size` bytes of JSON."""
    body = b'{"x":"' + b"x" * (int(size) - 8) + b'"}'
    made = Flask(__name__)

    @made.get("/api/metrics/current")
    def current() -> Response:
        return Response(body, content_type="application/json")

    return made


def main(port: str, size: str, worker: str = "gthread") -> None:
    """Serve until the process is killed."""
    module = f"tests.bench.peers.flask_route:app('{size}')"
    options = ["-k", worker, "--threads", "8", "-b", f"127.0.0.1:{port}", "--log-level", "error", "--keep-alive", "60"]
    sys.argv = ["gunicorn", *options, module]
    run()


if __name__ == "__main__":
    main(*sys.argv[1:])
