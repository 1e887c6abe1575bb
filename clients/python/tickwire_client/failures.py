"""Failures of connections as exceptions: refusals of CONNECT, HTTP answers and close codes."""

from __future__ import annotations

import json
import random
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import websocket

from tickwire_client.errors import ConnectionFailed, Unauthorized
from tickwire_client.messages import Body

STATUS_CODES = {401: "unauthorized", 403: "forbidden", 429: "too_many_requests"}
_UNAVAILABLE = (502, 503, 504)
_PERMANENT_CODES = {"unauthorized", "forbidden", "invalid_payload"}  # a retry cannot change them
_CLOSE_CODES = {
    4401: ("unauthorized", "the hub closed the connection: the credential is no longer valid"),
    4403: ("forbidden", "the hub closed the connection: a right is missing"),
}
FLOOD_CLOSE_CODE = 4429  # the hub closes a client above a limit


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """A refused request. `headers` has lower-case names."""

    status: int
    headers: Mapping[str, str]
    text: str


def is_error(body: Body) -> bool:
    """Whether an ack is an error: only errors have all of these fields."""
    return {"code", "message", "event", "details"} <= body.keys()


def spread(seconds: float) -> float:
    """A time to wait that a server has named, plus up to a quarter: clients return one by one."""
    return seconds * random.uniform(1, 1.25)  # noqa: S311


def retry_after_of(value: Any) -> float | None:
    """The seconds of `Retry-After`, or of `retry_after` in details; None if there are none."""
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        return None
    return seconds if 0 <= seconds < float("inf") else None


def is_permanent(error: ConnectionFailed) -> bool:
    """Whether a further attempt would end in the same way."""
    return error.code in _PERMANENT_CODES


def of_attempt(url: str, error: Exception, refusal: list[Any], answer: HttpAnswer | None) -> ConnectionFailed:
    """The exception of a failed attempt.

    `refusal` has the data of a CONNECT_ERROR, `{"message", "data": <error body>}`, or is empty;
    `answer` is the refused handshake of a polling client.
    """
    given = refusal[0] if refusal and isinstance(refusal[0], dict) else {}
    data = given["data"] if isinstance(given.get("data"), dict) else {}
    if data.get("message"):
        return _failure(f"no connection to {url}: {data['message']}", data.get("code"), data.get("details"))
    answer = answer or _handshake_answer(error)
    if answer is not None and (answer.status in STATUS_CODES or answer.status in _UNAVAILABLE):
        return _of_handshake(url, answer)
    reason = f": {given['message']}" if given.get("message") else f" ({cause_of(error)})"
    return ConnectionFailed(f"no connection to {url}{reason}")


def of_event(body: Body) -> ConnectionFailed:
    """The exception for the `error` event that the hub sends before it closes the connection."""
    details = body.get("details") or {}
    texts = [f"{name}: {value}" for name, value in details.items() if name == "reason"]
    text = f"the hub closed the connection: {body['message']} ({'; '.join([body['code'], *texts])})"
    return _failure(text, body["code"], details)


def of_close(code: int | None) -> ConnectionFailed | None:
    """The exception for the close code of a WebSocket; None if the client may reconnect."""
    if code not in _CLOSE_CODES:
        return None
    name, text = _CLOSE_CODES[code]
    return _failure(text, name, None)


def of_flood(code: int | None) -> ConnectionFailed | None:
    """The exception for the close code of a client above a limit; None for other codes.

    If the limit is not that of messages, the hub has sent an `error` before.
    """
    if code != FLOOD_CLOSE_CODE:
        return None
    return _failure("the hub closed the connection: this client keeps sending above its rate", "too_many_requests", None)


def error_in(text: str) -> Body:
    """The `code`, `message` and `details` in an HTTP answer, as far as it has them.

    REST answers `{"error": {…}}`, Engine.IO `{"code": number, "message": …}`.
    """
    try:
        body = json.loads(text)
    except ValueError:
        return {}
    if not isinstance(body, dict):
        return {}
    ours = body.get("error")
    if isinstance(ours, dict) and isinstance(ours.get("code"), str):
        return ours
    return {"message": body["message"]} if isinstance(body.get("message"), str) else {}


def _of_handshake(url: str, answer: HttpAnswer) -> ConnectionFailed:
    found = error_in(answer.text)
    code = found.get("code") or STATUS_CODES.get(answer.status, "unavailable")
    details = dict(found.get("details") or {})
    if (after := retry_after_of(answer.headers.get("retry-after"))) is not None:
        details.setdefault("retry_after", after)
    return _failure(f"no connection to {url}: {found.get('message') or f'HTTP {answer.status}'}", code, details)


def _failure(text: str, code: str | None, details: Body | None) -> ConnectionFailed:
    kind = Unauthorized if code == "unauthorized" else ConnectionFailed
    return kind(text, code, retry_after_of((details or {}).get("retry_after")), details)


def _handshake_answer(error: BaseException) -> HttpAnswer | None:
    """The answer to a refused WebSocket handshake, below the exceptions of python-socketio."""
    below: BaseException | None = error
    while below is not None and not isinstance(below, websocket.WebSocketBadStatusException):
        below = below.__cause__ or below.__context__
    if below is None:
        return None
    headers = {str(name).lower(): str(value) for name, value in (below.resp_headers or {}).items()}
    body = below.resp_body or b""
    return HttpAnswer(below.status_code, headers, body if isinstance(body, str) else body.decode(errors="replace"))


def cause_of(error: BaseException) -> str:
    """The cause below the exceptions of python-socketio, in a few words."""
    below = error.__cause__ or error.__context__
    if below is not None and type(error).__module__.partition(".")[0] in ("socketio", "engineio"):
        return cause_of(below)
    if isinstance(error, ConnectionRefusedError) or "Connection refused" in str(error):  # polling has the text alone
        return "refused"
    if isinstance(error, socket.gaierror | websocket.WebSocketAddressException):
        return "no such host"
    if isinstance(error, TimeoutError | websocket.WebSocketTimeoutException):
        return "timed out"
    if isinstance(error, websocket.WebSocketBadStatusException):
        return f"HTTP {error.status_code}: not a hub"
    return getattr(error, "strerror", None) or str(error)
