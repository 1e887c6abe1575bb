"""Settings of access control that are valid one by one, but not together."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from config.access.fields import SYMMETRIC
from config.access.modes import OFF, is_loopback

MIN_SECRET_BYTES = 32  # RFC 7518, section 3.2
# Beginnings of PEM, of public keys of OpenSSH, and of JSON. PyJWT accepts none of them for HS256.
_NO_SECRETS = ("-----BEGIN ", "ssh-", "ecdsa-sha2-", "{", "[")
_SERVING = (None, "up", "hub", "rest")  # processes that open a port
_SECRET = ("jwt_secret", "jwt_secret_file")
_PUBLIC = ("jwt_jwks_file", "jwt_jwks_url")


def read_secret(values: Mapping[str, Any]) -> str | None:
    """Return the secret of JWT, from its file if that is set. Raises `ValueError`."""
    file: Path | None = values["jwt_secret_file"]
    if file is None:
        secret: str | None = values["jwt_secret"]
        return secret
    try:
        return file.read_text(encoding="utf-8").rstrip("\r\n")
    except OSError as error:
        raise ValueError(f"{file} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise ValueError(f"{file} is not UTF-8 text.") from None


def problems_of(values: Mapping[str, Any], service: str | None) -> dict[str, str]:
    """Return variable -> problem. Texts have no secret."""
    return {**_open(values, service), **(_tokens(values) if values["jwt_algorithms"] else {})}


def _open(values: Mapping[str, Any], service: str | None) -> dict[str, str]:
    hosts = [values[name] for name in ("websocket_host", "api_host") if not is_loopback(values[name])]
    if service not in _SERVING or values["auth"] != OFF or not hosts or values["auth_allow_open"]:
        return {}
    text = f"off would let everyone who reaches {hosts[0]} read all data: use auto or required, or set AUTH_ALLOW_OPEN=true."
    return {"AUTH": text}


def _tokens(values: Mapping[str, Any]) -> dict[str, str]:
    names = _SECRET if SYMMETRIC in values["jwt_algorithms"] else _PUBLIC
    given = [name for name in names if values[name] is not None]
    problems = {name.upper(): "Needed, because JWT_ALGORITHMS is set." for name in ("jwt_issuer", "jwt_audience") if not values[name]}
    if not given:
        problems[names[0].upper()] = f"Needed for {','.join(values['jwt_algorithms'])}: set this or {names[1].upper()}."
    elif len(given) > 1:
        problems[names[1].upper()] = f"Set this or {names[0].upper()}, not both."
    elif (text := _CHECKS[given[0]](values)) is not None:
        problems[given[0].upper()] = text
    return problems


def _secret_problem(values: Mapping[str, Any]) -> str | None:
    try:
        secret = read_secret(values) or ""
    except ValueError as error:
        return str(error)
    if secret.lstrip().startswith(_NO_SECRETS):
        return "This is a key, a certificate or a JWK, which others may know: create a random secret."
    found = len(secret.encode())
    return None if found >= MIN_SECRET_BYTES else f"{found} bytes are too short for {SYMMETRIC}: at least {MIN_SECRET_BYTES} are needed."


def _file_problem(values: Mapping[str, Any]) -> str | None:
    file: Path = values["jwt_jwks_file"]
    return None if file.is_file() else f"{file} does not exist."


def _url_problem(values: Mapping[str, Any]) -> str | None:
    parts = urlsplit(values["jwt_jwks_url"])
    return None if parts.scheme == "https" or is_loopback(parts.hostname or "") else "http is for the loopback only: use https."


_CHECKS = {
    "jwt_secret": _secret_problem,
    "jwt_secret_file": _secret_problem,
    "jwt_jwks_file": _file_problem,
    "jwt_jwks_url": _url_problem,
}
