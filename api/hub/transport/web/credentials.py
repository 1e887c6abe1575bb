"""The credentials of HTTP requests of Engine.IO: checked before a session exists."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from api.access.audit import Audit, NoAudit
from api.access.credentials import CREDENTIAL_HEADERS, Credential, read_credential
from api.access.model import Authenticator, Handshake, Presented
from api.errors import Refusal, Unauthorized
from api.hub.transport.session import Session
from api.hub.transport.web.http_requests import credential_headers, refused
from api.hub.transport.web.opening import Opening


class RequestCredentials:
    """Checks the headers of requests; with None, credentials are not checked.

    `audit` receives refusals that the authenticator does not see. `present` and `check` raise
    `http_requests.Refused`.
    """

    def __init__(self, authenticator: Authenticator | None, audit: Audit | None = None) -> None:
        self._authenticator = authenticator
        self._audit = audit or NoAudit()

    def present(self, opening: Opening, address: str) -> Presented | None:
        """Return the credential of the request that opens a session; None if it has none."""
        if opening.presented is not None:
            return opening.presented
        headers = {name: opening.headers[name] for name in CREDENTIAL_HEADERS if name in opening.headers}
        if not headers:
            return None
        try:
            return self.authenticate(opening.transport, address, headers)
        except Refusal as refusal:
            raise refused(refusal) from None

    def authenticate(self, transport: str, address: str, headers: Mapping[str, str]) -> Presented | None:
        """Return the credential of the headers; None if there is none. Raises `Refusal`."""
        if self._authenticator is None:
            return None
        credential = _read(headers)
        access = self._authenticator.authenticate(Handshake(transport, address, headers, credential=credential))
        return None if credential is None else Presented(credential.digest, access)

    def check(self, environ: Mapping[str, Any], session: Session) -> None:
        """Refuse a later request of a session that carries another credential than the session."""
        headers = credential_headers(environ)
        if not headers or self._authenticator is None:
            return
        try:
            credential = read_credential(headers)
            if credential is not None and not session.has(credential.digest):
                raise Unauthorized("another_credential", sent=True, key_id=credential.key_id)
        except Refusal as refusal:
            if isinstance(refusal, Unauthorized):
                self._audit.refused(refusal, session.address)
            raise refused(refusal) from None


def _read(headers: Mapping[str, str]) -> Credential | None:
    """Return the credential; None for one that the authenticator must refuse, and record."""
    try:
        return read_credential(headers)
    except Refusal:
        return None
