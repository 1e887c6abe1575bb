"""Tokens for tests: PyJWT makes them, with keys that `cryptography` generates."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

SECRET = "a-secret-of-an-identity-service-1"
ISSUER, AUDIENCE = "https://id.example.com", "tickwire"
PUBLIC = ("RS256", "ES256", "EdDSA")
_TO_JWK: dict[str, Callable[[Any], str]] = {"RS256": RSAAlgorithm.to_jwk, "ES256": ECAlgorithm.to_jwk, "EdDSA": OKPAlgorithm.to_jwk}
RIGHTS = {"scopes": ["read"], "instruments": ["EUR_*"], "bots": [], "max_connections": 5}


def private_key(algorithm: str, number: int = 0, bits: int = 2048) -> Any:
    """Return a private key; the same one for the same arguments."""
    return _private_key(algorithm, number, bits)


@cache
def _private_key(algorithm: str, number: int, bits: int) -> Any:
    if algorithm == "RS256":
        return rsa.generate_private_key(65537, bits)
    return ed25519.Ed25519PrivateKey.generate() if algorithm == "EdDSA" else ec.generate_private_key(ec.SECP256R1())


def jwk(algorithm: str, kid: str | None = None, number: int = 0, **members: Any) -> dict[str, Any]:
    """Return the public key as a JWK. `kid` is the name of the algorithm by default."""
    public = private_key(algorithm, number).public_key()
    made = _TO_JWK[algorithm](public)
    return {**json.loads(made), "use": "sig", "kid": kid or algorithm, **members}


def jwks(*keys: Mapping[str, Any]) -> bytes:
    """Return a JWK Set; by default of one key per algorithm."""
    return json.dumps({"keys": list(keys) or [jwk(each) for each in PUBLIC]}).encode()


def claims(now: float, **changes: Any) -> dict[str, Any]:
    """Return the claims of a good token; a change to `...` removes a claim."""
    good = {"iss": ISSUER, "aud": AUDIENCE, "sub": "ada", "exp": now + 600, "iat": now, "jti": "7c1", "tickwire": RIGHTS}
    return {name: value for name, value in {**good, **changes}.items() if value is not ...}


def token(algorithm: str, body: Mapping[str, Any], headers: Mapping[str, Any] | None = None, *, key: Any = None) -> str:
    """Return a token. Its `kid` is the name of the algorithm by default."""
    signer = key or (SECRET if algorithm == "HS256" else private_key(algorithm))
    return jwt.encode(dict(body), signer, algorithm, headers={"kid": algorithm, **(headers or {})})


def part(value: Any) -> str:
    """Return one part of a token: base64url of bytes, or of a value as JSON."""
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
