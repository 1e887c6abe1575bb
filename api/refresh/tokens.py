"""Makes the verifier of tokens from the settings, and the loop that reads its public keys."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from api.access.authenticator import TokenVerifier
from api.access.tokens.claims import TokenRules
from config.access.fields import SYMMETRIC
from config.secrets import mask_url
from config.settings import Settings

if TYPE_CHECKING:
    from api.access.tokens.keys import PublicKeys, SecretKey
    from api.refresh.jwks import JwksRefresh


class Tokens(NamedTuple):
    """The verifier, None if JWT is off; and the loop of its public keys, None with a secret."""

    verifier: TokenVerifier | None
    refresh: JwksRefresh | None


def make_tokens(settings: Settings, clock: Callable[[], datetime], lock: AbstractContextManager[Any] | None) -> Tokens:
    """Return the parts for `JWT_*`. `lock` guards results if several threads serve requests.

    The keys of a file are read at once, those of a URL by the loop.
    """
    if not settings.jwt_algorithms:
        return Tokens(None, None)
    # Both load `cryptography`: a process without JWT starts without it.
    from api.access.tokens.keys import PublicKeys, SecretKey
    from api.access.tokens.verifier import JwtVerifier

    rules = TokenRules(
        issuer=settings.jwt_issuer or "",
        audience=settings.jwt_audience or "",
        claim=settings.jwt_claim,
        leeway_seconds=settings.jwt_leeway_seconds,
        max_ttl_seconds=settings.jwt_max_ttl_seconds,
    )
    refresh = None
    if SYMMETRIC in settings.jwt_algorithms:
        keys: SecretKey | PublicKeys = SecretKey(settings.jwt_secret or "")
    else:
        keys = PublicKeys()
        refresh = _refresh(settings, keys)
    return Tokens(JwtVerifier(settings.jwt_algorithms, keys, rules, clock, lock), refresh)


def _refresh(settings: Settings, keys: PublicKeys) -> JwksRefresh:
    from api.refresh.jwks import JwksRefresh
    from api.refresh.jwks_source import download, read_file

    if settings.jwt_jwks_file is not None:
        path = settings.jwt_jwks_file
        refresh = JwksRefresh(keys, settings.jwt_algorithms, partial(read_file, path), str(path))
        refresh.read()
        return refresh
    url = settings.jwt_jwks_url or ""
    return JwksRefresh(keys, settings.jwt_algorithms, partial(download, url), mask_url(url))
