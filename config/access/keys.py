"""The form of a key, `tw_<id>_<secret>`. The id is public, the secret has 256 random bits."""

from __future__ import annotations

import hashlib
import re
import secrets
import string

MAX_BOTS = 64  # names of bots of one key or token

_ID_CHARACTERS = string.ascii_lowercase + string.digits
_ID_LENGTH = 8
_SECRET_BYTES = 32

_is_key = re.compile(r"tw_([a-z0-9]{8})_[A-Za-z0-9_-]{43}", re.ASCII).fullmatch
is_key_id = re.compile(r"[a-z0-9]{8}", re.ASCII).fullmatch


def new_key() -> tuple[str, str]:
    """Return the id of a new key, and the whole key."""
    name = "".join(secrets.choice(_ID_CHARACTERS) for _ in range(_ID_LENGTH))
    return name, f"tw_{name}_{secrets.token_urlsafe(_SECRET_BYTES)}"


def id_of(text: str) -> str | None:
    """Return the id of a text in the form of a key; None for another text."""
    match = _is_key(text)
    return match[1] if match else None


def digest_of(key: str) -> bytes:
    """Return the SHA-256 of a whole key: the store holds the digest alone."""
    return hashlib.sha256(key.encode()).digest()
