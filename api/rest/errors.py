"""The one error shape of REST, for every failure of a request."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from flask import Flask, Response, jsonify, request
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response as BaseResponse

from api.errors import HTTP_STATUS, ErrorCode, Refusal, Unauthorized
from api.nearest import suggestion
from api.rest.context import context
from config.http_errors import http_error_body
from db.bus import BusError, BusFull, ReportsFull
from db.postgres import StoreError

_RETRY_SECONDS = 2
_TRY_AGAIN = (429, 503)  # statuses with Retry-After
_CHALLENGE = 'Bearer realm="tickwire"'

log = logging.getLogger(__name__)


class ApiError(Exception):
    """Raised by a view that cannot serve its request.

    The keys of `details` are names of arguments.
    """

    def __init__(self, status: int, code: str, message: str, details: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.details = dict(details or {})


def unknown_instrument(argument: str, names: Sequence[str], known: frozenset[str], permitted: Callable[[str], bool]) -> ApiError:
    """Return the 404 for an argument that names no instrument.

    Its message proposes the nearest instruments that are `permitted`.
    """
    message = f"no such instrument: {', '.join(names)}{suggestion(names, known, permitted)}"
    return ApiError(404, ErrorCode.UNKNOWN_INSTRUMENT, message, {argument: list(names)})


def refuse_unknown_arguments(names: Sequence[str]) -> None:
    """Raise 422 if the query of the request has another argument than `names`, or has one twice."""
    accepted = f"use {', '.join(names)}" if names else "this route takes none"
    problems = {}
    for name, values in request.args.lists():
        if name not in names:
            problems[name] = [f"Unknown argument: {accepted}."]
        elif len(values) > 1:
            problems[name] = ["Given more than once: use it once."]
    if problems:
        raise invalid_payload(problems)


def refuse_other_types() -> None:
    """Raise 422 if the request has a body that is not JSON by its content type.

    Such a body would be left out silently: `curl -d` sends that of a form.
    """
    if not request.is_json and request.get_data():
        raise invalid_payload({"Content-Type": ["Use application/json."]})


def invalid_payload(problems: Mapping[str, Any]) -> ApiError:
    """Return the 422 for arguments or fields of a body with these problems."""
    return ApiError(422, ErrorCode.INVALID_PAYLOAD, "invalid arguments: " + ", ".join(problems), problems)


def register(app: Flask) -> None:
    """Give every failure of the app the same shape.

    Call it after flask-smorest, as it replaces that handler.
    """
    app.register_error_handler(ApiError, lambda error: _body(error.status, error.code, error.message, error.details))
    app.register_error_handler(Refusal, _refused)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(StoreError, _unavailable)
    app.register_error_handler(BusError, _unavailable)
    app.register_error_handler(Exception, _internal)


def _body(status: int, code: str, message: str, details: Mapping[str, Any]) -> Response:
    response = jsonify(http_error_body(str(code), message, dict(details)))
    response.status_code = status
    if status in _TRY_AGAIN:
        response.headers["Retry-After"] = str(max(1, math.ceil(details.get("retry_after", _RETRY_SECONDS))))
    return response


def _refused(error: Refusal) -> Response:
    """Answer a refusal of access control; RFC 6750 has the header of 401 and 403."""
    response = _body(HTTP_STATUS[error.code], error.code, str(error), error.details)
    context().access.audit.forbidden(error)
    if error.code == ErrorCode.UNAUTHORIZED:
        sent = not isinstance(error, Unauthorized) or error.sent
        response.headers["WWW-Authenticate"] = _CHALLENGE + (', error="invalid_token"' if sent else "")
    elif error.code == ErrorCode.FORBIDDEN:
        scopes = "".join(f', scope="{scope}"' for scope in error.details.get("scope", ()))
        response.headers["WWW-Authenticate"] = f'{_CHALLENGE}, error="insufficient_scope"{scopes}'
    return response


def _http_error(error: HTTPException) -> BaseResponse:
    if error.code is None or error.code < 400:
        return error.get_response()
    if problems := getattr(error, "data", {}).get("messages", {}):
        # webargs answers 400 if a body is not JSON; here it is an invalid payload as any other.
        refused = invalid_payload(_fields(problems))
        return _body(refused.status, refused.code, refused.message, refused.details)
    response = _body(error.code, error.name.lower().replace(" ", "_"), error.description or error.name, {})
    for name, value in error.get_headers():
        if name != "Content-Type":
            response.headers[name] = value
    return response


def _fields(problems: Mapping[str, Any]) -> dict[str, Any]:
    """Return field -> problems of the messages of webargs.

    Example: {"query": {"limit": ["Not a valid integer."]}}. A problem of the whole body has the
    field `body`: it is not JSON, or not an object.
    """
    fields: dict[str, Any] = {}
    for found in problems.values():
        by_field = found if isinstance(found, Mapping) else {"_schema": found}
        fields |= {"body" if name == "_schema" else str(name): _texts(texts) for name, texts in by_field.items()}
    return fields


def _texts(problems: Any) -> Any:
    """Return the problems of a field; those of a list name the entry."""
    if not isinstance(problems, Mapping) or not all(isinstance(place, int) for place in problems):
        return problems
    return [f"Entry {place}: {text}" for place, texts in problems.items() for text in texts]


def _unavailable(error: Exception) -> Response:
    part = "database" if isinstance(error, StoreError) else "redis"
    log.warning("answered 503, a server is unavailable", extra={"part": part, "path": request.path, "reason": str(error)})
    message = f"the {part} does not answer just now, try again"
    if isinstance(error, ReportsFull):
        part, message = "observer", "too many reports wait for the observer just now, try again"
    elif isinstance(error, BusFull):
        part, message = "writer", "too many prices wait for the store just now, try again"
    return _body(503, ErrorCode.UNAVAILABLE, message, {"part": part})


def _internal(error: Exception) -> Response:
    log.error("request failed", exc_info=error, extra={"path": request.path, "method": request.method})
    return _body(500, ErrorCode.INTERNAL, "something went wrong here; it is in the log", {})
