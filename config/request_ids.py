"""Ids of the request that a thread serves: its request id, and its trace by W3C Trace Context.

A context variable holds them, so that each log record of the request has them as fields.
https://www.w3.org/TR/trace-context/#traceparent-header
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from config.secrets import scrub

HEADER = "X-Request-ID"

_REQUEST_ID = re.compile(r"[A-Za-z0-9_.:-]{1,64}")
# Version 00 ends after the flags; a later version may have further fields, and ff is invalid.
_TRACEPARENT = re.compile(r"(?!ff|00.{54})[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(?:-.*)?")
_NO_TRACE, _NO_SPAN = "0" * 32, "0" * 16
_NO_FIELDS: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class RequestIds:
    """The ids of one request, and the fields of its log records.

    `fields` has `request_id`, `trace_id` (32 hexadecimal digits) and `span_id` (16). A request id
    in the form of a secret is masked there.
    """

    request_id: str
    fields: Mapping[str, str]


_current: ContextVar[RequestIds | None] = ContextVar("tickwire_request_ids", default=None)


def make_ids(request_id: str | None = None, traceparent: str | None = None) -> RequestIds:
    """Return the ids of a request with the values of both headers.

    A missing or invalid value is replaced by a new one. The span is new in any case.
    """
    made = os.urandom(24).hex()
    if request_id is None or not _REQUEST_ID.fullmatch(request_id):
        request_id = logged = made[:32]
    else:
        logged = scrub(request_id)
    trace_id = _trace_id(traceparent) or made[:32]
    return RequestIds(request_id, {"request_id": logged, "trace_id": trace_id, "span_id": made[32:]})


def ids_of(environ: Mapping[str, Any]) -> RequestIds:
    """Return the ids of a request of WSGI, from its headers `X-Request-ID` and `traceparent`."""
    return make_ids(environ.get("HTTP_X_REQUEST_ID"), environ.get("HTTP_TRACEPARENT"))


def _trace_id(traceparent: str | None) -> str | None:
    """Return the trace of a valid `traceparent`, else None."""
    if traceparent is None or (found := _TRACEPARENT.fullmatch(traceparent)) is None:
        return None
    trace, span = found.groups()
    return None if trace == _NO_TRACE or span == _NO_SPAN else trace


def begin(ids: RequestIds) -> None:
    """Add the ids to each log record of this thread, until `end`."""
    _current.set(ids)


def end() -> None:
    """Add no ids any longer: a thread serves many requests."""
    _current.set(None)


@contextmanager
def during(ids: RequestIds) -> Iterator[None]:
    """Add the ids to the log records of the block."""
    begin(ids)
    try:
        yield
    finally:
        end()


def current() -> RequestIds | None:
    """Return the ids of the request that this thread serves, or None."""
    return _current.get()


def fields() -> Mapping[str, str]:
    """Return the fields for a log record of this thread; none outside of a request."""
    ids = _current.get()
    return _NO_FIELDS if ids is None else ids.fields
