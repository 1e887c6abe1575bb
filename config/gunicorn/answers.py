"""The work of one thread of REST's worker: run the application for one request."""

from __future__ import annotations

import logging
from enum import Enum
from typing import Any

from gunicorn.http import wsgi

from config import request_ids
from config.gunicorn.connection import Connection
from config.gunicorn.http_errors import RefusedRequest
from config.gunicorn.response_writer import AnonymousResponse

log = logging.getLogger("rest.worker")


class Outcome(Enum):
    """The end of the work of a thread."""

    KEPT = "kept"  # the answer is made; the connection may serve a further request
    LAST = "last"  # the answer is made, or given up; the connection ends after it
    LOST = "lost"  # the client is gone, or does not read


def answer(application: Any, config: Any, connection: Connection, request: Any, *, last: bool) -> Outcome:
    """Run the WSGI application and send its answer, as far as the client reads it.

    `last` ends the connection after the answer. Raises nothing.
    """
    try:
        return _answer(application, config, connection, request, last)
    except OSError as error:
        log.debug("lost a client during its answer", extra={"reason": str(error)})
        return Outcome.LOST
    except Exception:
        log.exception("an answer failed", extra={"path": request.path, "method": request.method})
        return Outcome.LAST
    finally:
        request_ids.end()


def _answer(application: Any, config: Any, connection: Connection, request: Any, last: bool) -> Outcome:
    writer = connection.writer
    response, environ = wsgi.create(request, writer, connection.client, connection.server, config, AnonymousResponse)
    environ["wsgi.multithread"] = True
    ids = request_ids.ids_of(environ)
    request_ids.begin(ids)
    if last:
        response.force_close()
    pieces = ()
    try:
        pieces = application(environ, response.start_response)
        for piece in pieces:
            response.write(piece)
            writer.send()
        response.close()
        writer.send()
    except OSError:
        raise
    except Exception:
        if not response.headers_sent:
            writer.sendall(RefusedRequest(500, "something went wrong here; it is in the log").answer(ids.request_id))
        raise
    finally:
        if close := getattr(pieces, "close", None):
            close()
        request.body.close()
    return Outcome.LAST if response.should_close() else Outcome.KEPT
