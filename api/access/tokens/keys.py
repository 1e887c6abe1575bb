"""The keys of tokens: one secret, or a set of public keys (RFC 7517). Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import orjson
from jwt import PyJWK
from jwt.algorithms import HMACAlgorithm
from jwt.exceptions import InvalidKeyError, PyJWTError

from api.access.tokens.header import Header, bad_token
from api.errors import ErrorCode, Refusal

if TYPE_CHECKING:
    from jwt.algorithms import AllowedPublicKeys

MAX_KEYS = 50
RETRY_SECONDS = 2
_hmac = HMACAlgorithm(HMACAlgorithm.SHA256)
# algorithm -> type of its keys, their curve, and the members of their public half
_KINDS: Mapping[str, tuple[str, str | None, tuple[str, ...]]] = {
    "RS256": ("RSA", None, ("n", "e")),
    "ES256": ("EC", "P-256", ("crv", "x", "y")),
    "EdDSA": ("OKP", "Ed25519", ("crv", "x")),
}


class JwksError(Exception):
    """A set of public keys cannot be read; the text is for an operator."""


class TokenKeys(Protocol):
    """The keys of an installation."""

    @property
    def generation(self) -> int:
        """A number that changes when a key is withdrawn."""

    def find(self, header: Header) -> AllowedPublicKeys | bytes:
        """Return the key for a header.

        Raises `Unauthorized`, and `Refusal` (`unavailable`) before the first read of the keys.
        """


class SecretKey:
    """The secret of `HS256`. There is one, so that a key id is not read."""

    generation = 0

    def __init__(self, secret: str) -> None:
        """Raise `ValueError` for a secret that is too short, or is a key of another kind."""
        try:
            self._secret = _hmac.prepare_key(secret)
        except InvalidKeyError as error:
            raise ValueError(str(error)) from None
        if (problem := _hmac.check_key_length(self._secret)) is not None:
            raise ValueError(problem)

    def find(self, header: Header) -> bytes:
        """Return the secret."""
        return self._secret


@dataclass(frozen=True, slots=True)
class PublicKey:
    """One key for one algorithm. `members` are its public members in the set."""

    algorithm: str
    kid: str | None
    members: tuple[str, ...] = field(repr=False)
    key: AllowedPublicKeys = field(repr=False, compare=False)


class PublicKeys:
    """The present public keys of this process. One loop reads them and calls `take`.

    `wanted` is True after a token had an unknown key id, or came before the first read.
    """

    def __init__(self) -> None:
        self.generation = 0
        self.wanted = False
        self._known: frozenset[PublicKey] | None = None
        self._by_header: dict[Header, AllowedPublicKeys] = {}

    def take(self, keys: Iterable[PublicKey]) -> bool:
        """Replace the keys; return True if they differ from the last ones.

        Of several keys with one id, the first counts. A token without a key id needs a set with
        one key for its algorithm.
        """
        listed = tuple(keys)
        before, self._known = self._known, frozenset(listed)
        found: dict[Header, AllowedPublicKeys] = {}
        for each in listed:
            if each.kid is not None:
                found.setdefault(Header(each.algorithm, each.kid), each.key)
        for algorithm in _KINDS:
            only = [each.key for each in listed if each.algorithm == algorithm]
            if len(only) == 1:
                found[Header(algorithm, None)] = only[0]
        self._by_header = found
        if before and not before <= self._known:
            self.generation += 1
        return before != self._known

    def find(self, header: Header) -> AllowedPublicKeys:
        """Return the key for a header."""
        if (key := self._by_header.get(header)) is not None:
            return key
        if self._known is None:
            self.wanted = True
            details = {"retry_after": RETRY_SECONDS}
            raise Refusal(ErrorCode.UNAVAILABLE, "The keys of tokens have not been read yet; try again.", details)
        self.wanted = self.wanted or header.kid is not None
        raise bad_token("unknown_kid")


def parse_jwks(data: bytes, algorithms: Iterable[str]) -> tuple[PublicKey, ...]:
    """Return the usable keys of a JWK Set, which is JSON. Raises `JwksError`.

    Keys of other algorithms or uses, and keys that are too short, are left out. Private members
    are not read.
    """
    try:
        document = orjson.loads(data)
    except ValueError:
        raise JwksError("it is not JSON") from None
    listed = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(listed, list):
        raise JwksError("it has no list `keys`")
    if len(listed) > MAX_KEYS:
        raise JwksError(f"it has {len(listed)} keys: at most {MAX_KEYS} are read")
    names = tuple(algorithms)
    keys = tuple(key for each in listed if isinstance(each, dict) for key in _usable(each, names))
    if not keys:
        raise JwksError(f"it has no usable key for {', '.join(names)}")
    return keys


def _usable(jwk: Mapping[str, Any], algorithms: Iterable[str]) -> Iterator[PublicKey]:
    """Yield the key for its algorithm, if that is one of `algorithms`."""
    operations, kid = jwk.get("key_ops", ["verify"]), jwk.get("kid")
    for_signatures = jwk.get("use", "sig") == "sig" and isinstance(operations, list) and "verify" in operations
    if not for_signatures or not isinstance(kid, str | None):
        return
    for algorithm in algorithms:
        kind, curve, names = _KINDS[algorithm]
        members = {name: jwk.get(name) for name in names}
        if jwk.get("kty") != kind or members.get("crv") != curve or jwk.get("alg", algorithm) != algorithm:
            continue
        try:
            made = PyJWK({"kty": kind, **members}, algorithm)
        except PyJWTError:
            continue
        if made.Algorithm.check_key_length(made.key) is None:
            yield PublicKey(algorithm, kid, tuple(map(str, members.values())), made.key)
