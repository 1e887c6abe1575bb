"""The header of a token, read before its signature is verified. Pure."""

from __future__ import annotations

from base64 import urlsafe_b64decode
from collections.abc import Container
from dataclasses import dataclass
from typing import Any

import orjson

from api.errors import Unauthorized

TYPES = ("JWT", "tickwire+jwt")


@dataclass(frozen=True, slots=True)
class Header:
    """The algorithm and the key id of a token; both are claims of its sender."""

    algorithm: str
    kid: str | None


def bad_token(reason: str) -> Unauthorized:
    """Return the refusal of a token; `reason` is for the log alone."""
    return Unauthorized(reason, sent=True)


def read_header(token: str, algorithms: Container[str]) -> Header:
    """Return the header of a token, which is ASCII text. Raises `Unauthorized`.

    Keys come from the settings alone: `jku`, `x5u` and `jwk` are not read.
    """
    if token.count(".") != 2:
        raise bad_token("malformed")
    header = _parse(token.partition(".")[0])
    algorithm, kid = header.get("alg"), header.get("kid")
    if not isinstance(algorithm, str) or algorithm not in algorithms:
        raise bad_token("algorithm")
    if header.get("typ", TYPES[0]) not in TYPES:
        raise bad_token("type")
    if "crit" in header:
        raise bad_token("critical_header")
    if kid is not None and not isinstance(kid, str):
        raise bad_token("malformed")
    return Header(algorithm, kid)


def _parse(part: str) -> dict[str, Any]:
    try:
        header = orjson.loads(urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except ValueError:
        raise bad_token("malformed") from None
    if not isinstance(header, dict):
        raise bad_token("malformed")
    return header
