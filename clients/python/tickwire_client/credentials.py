"""The credential of the argument `auth`: a key or a JWT, as a value or from a function.

No text of this client contains it: `repr` is masked, and so are the log records of the libraries
below, which log packets.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable, Mapping
from typing import Any

from tickwire_client.errors import ConnectionFailed

Credential = str | Mapping[str, Any]
Source = Callable[[], Credential | None]
Auth = Credential | Source | None
Payload = dict[str, Any]

_MAX_LENGTH = 4096
_EXPECTED = "a key or a JWT: text, {'api_key': text}, {'token': text}, or a function that returns one of them"
_is_text = re.compile(r"[\x21-\x7e]+", re.ASCII).fullmatch
_SECRETS = re.compile(r"\b(?:(tw_[a-z0-9]{8}_)[\w-]+|ey[A-Z][\w-]*\.[\w-]*\.[\w-]*)", re.ASCII)


class Credentials:
    """The credential of one client. Any thread may use it."""

    def __init__(self, auth: Auth) -> None:
        """Raises `ValueError` if `auth` is not a credential."""
        self._source = auth if callable(auth) else None
        self._payload = None if callable(auth) else _checked(auth)
        self._calls = threading.Lock()

    def __repr__(self) -> str:
        return "Credentials(***)" if self._source or self._payload else "Credentials(None)"

    @property
    def renewable(self) -> bool:
        """Whether `renew` may return another credential."""
        return self._source is not None

    @property
    def payload(self) -> Payload | None:
        """The last payload of CONNECT: `{"api_key"}` or `{"token"}`; None without a credential."""
        return self._payload

    def renew(self, instead_of: Payload | None = None) -> Payload | None:
        """Call the function, and return the new payload.

        If `instead_of` is given and another thread has replaced it meanwhile, return that one.
        Raises `ConnectionFailed` with the code `auth_failed` if the function fails.
        """
        if self._source is None:
            return self._payload
        with self._calls:
            if instead_of is not None and self._payload != instead_of:
                return self._payload
            try:
                self._payload = _checked(self._source())
            except Exception as error:  # noqa: BLE001 - the function belongs to the program
                cause = masked(str(error)).rstrip(".") or type(error).__name__
                raise ConnectionFailed(f"the function auth failed: {cause}", "auth_failed", details={"cause": cause}) from None
            return self._payload

    def for_rest(self) -> Payload | None:
        """The payload for a request to REST. Calls the function if that was not done before."""
        return self._payload if self._payload is not None else self.renew()


def bearer(payload: Payload | None) -> str | None:
    """The header `Authorization` for a payload; None without a credential."""
    given = payload or {}
    text = given.get("token") or given.get("api_key")
    return f"Bearer {text}" if text else None


def masked(text: str) -> str:
    """A text in which keys and JWTs are masked. The public id of a key stays."""
    return _SECRETS.sub(lambda found: f"{found[1] or ''}***", text)


def _checked(auth: Credential | None) -> Payload | None:
    """The payload of CONNECT for a credential. A text with the prefix of keys is a key."""
    if auth is None:
        return None
    if isinstance(auth, str):
        text = _checked_text(auth)
        return {"api_key" if text.startswith("tw_") else "token": text}
    if not isinstance(auth, Mapping):
        raise ValueError(f"auth must be {_EXPECTED}, not a {type(auth).__name__}")
    names = [name for name in ("api_key", "token") if auth.get(name) is not None]
    return {**auth, **{name: _checked_text(auth[name]) for name in names}}


def _checked_text(text: object) -> str:
    trimmed = text.strip() if isinstance(text, str) else ""
    if not _is_text(trimmed):
        raise ValueError(f"auth must be {_EXPECTED}, without spaces")
    if len(trimmed) > _MAX_LENGTH:
        raise ValueError(f"auth has more than {_MAX_LENGTH} characters")
    return trimmed


class _Masking(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = masked(record.getMessage()), ()
        return True


# of python-socketio and python-engineio, which log every packet at the level INFO
protocol_log = logging.getLogger("tickwire_client.protocol")
protocol_log.setLevel(logging.ERROR)
protocol_log.addFilter(_Masking())
