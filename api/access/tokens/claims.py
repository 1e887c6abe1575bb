"""The claims of a token with a good signature become rights. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, NamedTuple

import orjson

from api.access.model import SCOPES, Access, CallerLimits
from api.access.tokens.header import bad_token
from config.access.keys import MAX_BOTS
from config.access.patterns import PatternError, Patterns, compile_patterns

_KNOWN_SCOPES = frozenset(SCOPES)
_NUMBERS = (int, float)  # types of JSON's numbers: True and False are no times
_MAX_REMEMBERED = 1024  # different claims with rights
_MAX_TIME = 2**37  # seconds since 1970: the year 6325, so that sums remain valid times


@dataclass(frozen=True, slots=True)
class TokenRules:
    """The settings about claims. `claim` is the name of the claim with the rights."""

    issuer: str
    audience: str
    claim: str
    leeway_seconds: int
    max_ttl_seconds: int


def read_claims(payload: bytes, rules: TokenRules, now: float) -> Access:
    """Return the rights of a token. Raises `Unauthorized`. `now` is in seconds since 1970."""
    claims = _parse(payload)
    if claims.get("iss") != rules.issuer:
        raise bad_token("issuer")
    audience = claims.get("aud")
    if audience != rules.audience and not (isinstance(audience, list) and rules.audience in audience):
        raise bad_token("audience")
    subject, jti = claims.get("sub"), claims.get("jti")
    # Control characters of a subject would stand in logs.
    if not isinstance(subject, str) or not subject or not subject.isprintable() or not isinstance(jti, str | None):
        raise bad_token("malformed_claim")
    expires, issued = _check_times(claims, rules, now)
    rights = _rights(orjson.dumps(claims.get(rules.claim, {})))
    return Access(
        scopes=rights.scopes,
        patterns=rights.patterns,
        bots=rights.bots,
        name=subject,
        expires_at=datetime.fromtimestamp(expires, UTC),
        limits=rights.limits,
        subject=subject,
        jti=jti,
        issued_at=None if issued is None else datetime.fromtimestamp(issued, UTC),
        leeway=_leeway(rules.leeway_seconds),
    )


def _check_times(claims: Mapping[str, Any], rules: TokenRules, now: float) -> tuple[float, float | None]:
    """Return `exp` and `iat`. A clock of the issuer may differ from ours by the leeway."""
    expires, issued, begins = _time(claims, "exp"), _time(claims, "iat"), _time(claims, "nbf")
    if expires is None:
        raise bad_token("malformed_claim")
    if now >= expires + rules.leeway_seconds:
        raise bad_token("expired")
    if max(issued or 0, begins or 0) > now + rules.leeway_seconds:
        raise bad_token("not_yet_valid")
    if expires - (now if issued is None else issued) > rules.max_ttl_seconds:
        raise bad_token("lifetime")
    return expires, issued


def _time(claims: Mapping[str, Any], name: str) -> float | None:
    """Return a time in seconds since 1970; None without the claim."""
    if name not in claims:
        return None
    value = claims[name]
    if type(value) not in _NUMBERS or not 0 <= value <= _MAX_TIME:
        raise bad_token("malformed_claim")
    number: float = value
    return number


class _Rights(NamedTuple):
    """The rights of a claim; tokens with equal claims share them."""

    scopes: frozenset[str]
    patterns: Patterns
    bots: frozenset[str]
    limits: CallerLimits


@lru_cache(maxsize=_MAX_REMEMBERED)
def _rights(text: bytes) -> _Rights:
    """Return the rights of the claim, which is JSON; unknown names are ignored."""
    claim = orjson.loads(text)
    if not isinstance(claim, dict):
        raise bad_token("malformed_claim")
    bots, connections = _texts(claim, "bots"), claim.get("max_connections", 1)
    if len(bots) > MAX_BOTS or type(connections) is not int or connections < 1:
        raise bad_token("malformed_claim")
    try:
        patterns = compile_patterns(_texts(claim, "instruments"))
    except PatternError:
        raise bad_token("pattern") from None
    scopes = _KNOWN_SCOPES.intersection(_texts(claim, "scopes"))
    return _Rights(scopes, patterns, frozenset(bots), CallerLimits(connections=connections if "max_connections" in claim else None))


@lru_cache(maxsize=1)
def _leeway(seconds: int) -> timedelta:
    return timedelta(seconds=seconds)


def _texts(claim: Mapping[str, Any], name: str) -> list[str]:
    value = claim.get(name, [])
    if not isinstance(value, list):
        raise bad_token("malformed_claim")
    for each in value:
        if not isinstance(each, str):
            raise bad_token("malformed_claim")
    return value


def _parse(payload: bytes) -> dict[str, Any]:
    try:
        claims = orjson.loads(payload)
    except ValueError:
        raise bad_token("malformed") from None
    if not isinstance(claims, dict):
        raise bad_token("malformed")
    return claims
