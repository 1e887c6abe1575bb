"""Verifies tokens, cheap checks first. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime
from typing import TYPE_CHECKING, Any

from jwt import PyJWS

from api.access.credentials import MAX_CREDENTIAL_BYTES
from api.access.model import Access
from api.access.tokens.claims import TokenRules, read_claims
from api.access.tokens.header import bad_token, decode_part, read_header
from api.access.tokens.keys import TokenKeys
from api.access.tokens.verified import FailureCounts, VerifiedTokens
from api.errors import Unauthorized
from config.access.keys import digest_of

if TYPE_CHECKING:
    from jwt.algorithms import AllowedPublicKeys


class JwtVerifier:
    """The `TokenVerifier` of an installation with `JWT_ALGORITHMS`.

    `clock` returns aware UTC. `lock` guards the results if several threads verify tokens; the
    verification itself runs outside of it.
    """

    def __init__(
        self,
        algorithms: Sequence[str],
        keys: TokenKeys,
        rules: TokenRules,
        clock: Callable[[], datetime],
        lock: AbstractContextManager[Any] | None = None,
    ) -> None:
        self._algorithms = frozenset(algorithms)
        self._keys = keys
        self._rules = rules
        self._clock = clock
        jws = PyJWS(algorithms)
        self._signatures = {name: jws.get_algorithm_by_name(name) for name in algorithms}
        self._verified = VerifiedTokens(lock or nullcontext())
        self._failures = FailureCounts(lock or nullcontext())

    def verify(self, token: str, address: str, digest: bytes | None = None) -> Access:
        """Return the rights of a token; `digest` is its SHA-256, if it is known.

        Raises `Unauthorized`, and `Refusal`: `too_many_requests` after 10 failures of the address
        within a minute, `unavailable` before the first read of the public keys.
        """
        if len(token) > MAX_CREDENTIAL_BYTES or not token.isascii():
            raise bad_token("malformed")
        now = self._clock().timestamp()
        generation = self._keys.generation
        digest = digest or digest_of(token)
        if (known := self._verified.find(digest, generation, now)) is not None:
            return known
        header = read_header(token, self._algorithms)
        key = self._keys.find(header)
        self._failures.check(address, now)
        try:
            access = read_claims(self._payload(token, key, header.algorithm), self._rules, now)
        except Unauthorized:
            self._failures.add(address, now)
            raise
        if access.expires_at is not None:
            self._verified.add(digest, access, generation, access.expires_at.timestamp())
        return access

    def _payload(self, token: str, key: AllowedPublicKeys | bytes, algorithm: str) -> bytes:
        """Return the payload after the check of the signature. Raises `Unauthorized`.

        PyJWT's algorithm checks the signature alone: `PyJWS.decode_complete` would prepare the key
        and read the header again, which costs several times as much as HMAC.
        """
        signed, _, signature = token.rpartition(".")
        payload, expected = decode_part(signed.partition(".")[2]), decode_part(signature)
        if not self._signatures[algorithm].verify(signed.encode(), key, expected):
            raise bad_token("bad_signature")
        return payload
