"""Makes the rights of a caller: the mode, the table of keys, the verifier of tokens. Pure."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Protocol

from api.access.audit import Audit
from api.access.credentials import Credential, read_credential, two_credentials
from api.access.model import Access, Handshake, Presented
from api.access.table import AccessTable, Tables
from api.errors import ErrorCode, Refusal, Unauthorized
from config.access.modes import OFF, REQUIRED, AuthMode

RETRY_SECONDS = 2
JWT_FAILURES = "JWT failures"  # the name of the limit in the log of access


class TokenVerifier(Protocol):
    """Verifies JSON Web Tokens. Revocation is checked by the caller, after each call."""

    def verify(self, token: str, address: str, digest: bytes | None = None) -> Access:
        """Return the rights of a token.

        `address` is the client's, `digest` the SHA-256 of the token if it is known. Raises
        `Unauthorized`, and `Refusal` (`too_many_requests`) after too many failures of the address.
        """


class NoTokens:
    """The verifier of an installation without `JWT_ALGORITHMS`."""

    def verify(self, token: str, address: str, digest: bytes | None = None) -> Access:
        """Raise `Unauthorized`."""
        raise Unauthorized("tokens_are_off", sent=True)


class CallerAuthenticator:
    """The `Authenticator` of an installation.

    `anonymous` are the rights without a credential, if `mode` is `optional` or `off`. `clock`
    returns aware UTC. `audit` receives each refusal and each use of a key.
    """

    def __init__(
        self,
        mode: AuthMode,
        anonymous: Access,
        tables: Tables,
        clock: Callable[[], datetime],
        audit: Audit,
        verifier: TokenVerifier | None = None,
    ) -> None:
        self.mode = mode
        self._anonymous = anonymous
        self._tables = tables
        self._clock = clock
        self._audit = audit
        self._verifier = verifier or NoTokens()

    def authenticate(self, handshake: Handshake) -> Access:
        """Return the rights of the caller. Raises `Refusal`, as `Authenticator` describes it."""
        if self.mode == OFF:
            return self._anonymous
        if (usual := self._of_usual_key(handshake)) is not None:
            self._audit.used(usual, handshake.address)
            return usual
        try:
            credential = handshake.credential or read_credential(handshake.headers, handshake.auth)
            if handshake.presented is not None:
                access = self._renew(handshake.presented, credential)
            elif credential is None:
                return self._without_credential()
            elif credential.key_id is not None:
                access = self._read_table().find(credential, self._clock())
            else:
                access = self._check_token(credential, handshake.address)
        except Refusal as refusal:
            self._note(refusal, handshake.address)
            raise
        self._audit.used(access, handshake.address)
        return access

    def _of_usual_key(self, handshake: Handshake) -> Access | None:
        """Return the rights of a key in `X-API-Key` alone; None if the longer way must decide."""
        key, table = handshake.headers.get("x-api-key"), self._tables.table
        if key is None or table is None or "authorization" in handshake.headers:
            return None
        if handshake.auth or handshake.presented is not None or handshake.credential is not None:
            return None
        return table.find_lasting(key)

    def _check_token(self, credential: Credential, address: str) -> Access:
        """Return the rights of a token. Raises `Refusal`."""
        table = self._read_table()
        access = self._verifier.verify(credential.text, address, credential.digest)
        if table.revokes(access):
            raise Unauthorized("revoked", sent=True)
        return access

    def _renew(self, presented: Presented, credential: Credential | None) -> Access:
        """Return the present rights of a session's credential. Raises `Refusal`."""
        if credential is not None and credential.digest != presented.digest:
            raise two_credentials()
        return self._read_table().renew(presented.access, self._clock())

    def _note(self, refusal: Refusal, address: str) -> None:
        if isinstance(refusal, Unauthorized):
            self._audit.refused(refusal, address)
        elif refusal.code == ErrorCode.TOO_MANY_REQUESTS:
            self._audit.limited(None, address, JWT_FAILURES)

    def _without_credential(self) -> Access:
        if self.mode == REQUIRED:
            self._read_table()
            raise Unauthorized("no_credential", sent=False)
        return self._anonymous

    def _read_table(self) -> AccessTable:
        if (table := self._tables.table) is None:
            details = {"retry_after": RETRY_SECONDS}
            raise Refusal(ErrorCode.UNAVAILABLE, "The keys have not been read yet; try again.", details)
        return table
