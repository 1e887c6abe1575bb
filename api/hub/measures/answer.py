"""The answer of `/hub/metrics`, for callers with `observe`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from api.access.audit import Audit
from api.access.model import OBSERVE, Authenticator
from api.access.peers import Peers
from api.errors import HTTP_STATUS, ErrorCode, Refusal, forbidden_scope
from api.hub.transport.web.http_requests import refusal_headers, request_handshake
from config.exposition import Exposition, Representation, render, represent_text
from config.http_errors import http_error_body

Answer = tuple[bytes, int, list[tuple[str, str]]]  # body, status, headers


class MetricsAnswer:
    """Answers with the metrics of this hub."""

    def __init__(self, exposition: Exposition, authenticator: Authenticator, peers: Peers, audit: Audit) -> None:
        self._exposition = exposition
        self._authenticator = authenticator
        self._peers = peers
        self._audit = audit

    def answer(self, environ: Mapping[str, Any]) -> Answer:
        """Return body, status and headers of the answer to a request."""
        try:
            self._check(environ)
            representation = _representation(environ)
        except Refusal as refusal:
            self._audit.forbidden(refusal)
            status = 422 if refusal.code == ErrorCode.INVALID_PAYLOAD else HTTP_STATUS[refusal.code]
            body = http_error_body(refusal.code.value, str(refusal), refusal.details)
            return orjson.dumps(body), status, [("Content-Type", "application/json"), *refusal_headers(refusal)]
        text, content_type = render(self._exposition.families(), representation)
        return text, 200, [("Content-Type", content_type), ("Vary", "Accept"), ("Cache-Control", "no-store")]

    def _check(self, environ: Mapping[str, Any]) -> None:
        """Raise `Refusal` unless the caller has `observe`."""
        if not self._authenticator.authenticate(request_handshake(environ, self._peers)).allows(OBSERVE):
            raise forbidden_scope(OBSERVE)


def _representation(environ: Mapping[str, Any]) -> Representation:
    """Return the form of the answer. Raises `Refusal` for an unknown format."""
    try:
        return represent_text(environ.get("HTTP_ACCEPT"), environ.get("QUERY_STRING", ""))
    except ValueError as error:
        raise Refusal(ErrorCode.INVALID_PAYLOAD, "format is invalid.", {"format": [str(error)]}) from None
