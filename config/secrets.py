"""Scrubbing: replaces passwords, tokens and keys in texts by `***`. Pure.

A process teaches `SCRUBBER` its secrets at its start (`config.logs`). Log lines, errors of sources
and errors of jobs are scrubbed when they are made.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from urllib.parse import quote, quote_plus, unquote

MASK = "***"
_SHORTEST_VALUE = 4  # characters; a shorter value would mask parts of words

# Each expression needs time in proportion to the text, because clients may have sent it.
# Of URLs with a password, wherever they stand in a text.
_USER_INFO = re.compile(r"(//[^/@\s:]*+:)([^/@\s]*+)@")
_PASSWORD_ARGUMENT = re.compile(r"(?i)(password=)([^&\s'\"]*)")
_BEARER = re.compile(r"(?i)(bearer(?:\s|%20|\+)+)[^\s\"'&,;<>(){}\[\]]+")
# Keys of clients, and JSON Web Tokens.
_KEY = re.compile(r"tw_[a-z0-9]{8}_[A-Za-z0-9_-]++|(?<![A-Za-z0-9_-])eyJ[A-Za-z0-9_-]++\.[A-Za-z0-9_-]++\.[A-Za-z0-9_-]*+")

# Names of fields, headers and arguments whose values are secrets.
_SECRET_NAME = re.compile(r"(?i)password|secret|token|key|authorization|cookie")
_HEADER = re.compile(r"""(?i)((?:authorization|cookie)["']?\s{0,3}[=:]\s{0,3}["']?)[^"'\r\n]++""")
_NAMED = re.compile(r"""(?i)((?:password|secret|token|key)[\w-]{0,30}+["']?\s{0,3}[=:]\s{0,3})(?:"[^"]*+"?|'[^']*+'?|[^\s&,;)}\]"']++)""")


class Scrubber:
    """Replaces the values that it has been taught, and everything that has the form of a secret."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._values: frozenset[str] = frozenset()
        self._known: re.Pattern[str] | None = None
        self.learn(secrets)

    def learn(self, secrets: Iterable[str]) -> None:
        """Add secrets. Of URLs the passwords count too; values below 4 characters are left out."""
        self._values |= {form for secret in secrets for form in _forms(secret)}
        if self._values:
            # A value may be a part of another one: the longest is replaced.
            self._known = re.compile("|".join(map(re.escape, sorted(self._values, key=len, reverse=True))))

    def __call__(self, text: str) -> str:
        """The text with `***` in place of every secret."""
        if self._known is not None:
            text = self._known.sub(MASK, text)
        return _KEY.sub(MASK, _BEARER.sub(rf"\1{MASK}", mask_url(text)))


SCRUBBER = Scrubber()  # of this process


def scrub(text: str) -> str:
    """The text without the secrets of this process."""
    return SCRUBBER(text)


def is_secret_name(name: str) -> bool:
    """Return True if the values of a field, header or argument of this name are secrets."""
    return _SECRET_NAME.search(name) is not None


def mask_named(text: str) -> str:
    """The text with `***` in place of values of secret names: `token=…`, `"api_key": "…"`.

    A header `Authorization` or `Cookie` is masked up to a quote, or to the end of its line.
    """
    return _NAMED.sub(rf"\1{MASK}", _HEADER.sub(rf"\1{MASK}", text))


def mask_url(text: str) -> str:
    """The text with `***` in place of passwords in URLs, before the `@` or in the query."""
    return _PASSWORD_ARGUMENT.sub(rf"\1{MASK}", _USER_INFO.sub(rf"\1{MASK}@", text))


def _forms(secret: str) -> set[str]:
    """The secret as it stands in a text, in a URL and in JSON; of a URL also its passwords."""
    found = {secret, *(match[2] for each in (_USER_INFO, _PASSWORD_ARGUMENT) for match in each.finditer(secret) if "://" in secret)}
    found |= {unquote(each) for each in found}
    found |= {form for each in found for form in (quote(each, safe=""), quote(each), quote_plus(each))}
    found |= {re.sub("%[0-9A-F]{2}", lambda match: match[0].lower(), each) for each in found}
    found |= {form for each in found for form in (json.dumps(each)[1:-1], json.dumps(each, ensure_ascii=False)[1:-1], repr(each)[1:-1])}
    return {each for each in found if len(each) >= _SHORTEST_VALUE}
