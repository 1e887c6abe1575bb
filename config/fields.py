"""Kinds of settings that several parts have; REST shares some of their values."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from config import urls
from config.process.kinds import Kind, PlainText
from config.venues import SourceSpec, parse_source

_UNITS = {1: "s", 60: "m", 3600: "h"}
_SECONDS = {unit: seconds for seconds, unit in _UNITS.items()}


@dataclass(frozen=True, slots=True)
class Rate:
    """A limit of `count` in `seconds`."""

    count: int
    seconds: int

    def __str__(self) -> str:
        return f"{self.count}/{_UNITS[self.seconds]}"

    @property
    def per_second(self) -> float:
        """The limit per second."""
        return self.count / self.seconds


def parse_rate(text: str) -> Rate:
    """Return the rate of a text: `50/s`, `600/m`, `5000/h`. Raises `ValueError`."""
    match = re.fullmatch(r"([1-9][0-9]{0,6})/([smh])", text)
    if match is None:
        raise ValueError(f"{text!r:.40} is not a rate such as 50/s, 600/m or 5000/h.")
    return Rate(int(match[1]), _SECONDS[match[2]])


class RateText(Kind[Rate]):
    """A rate as text: `50/s`, `600/m`, `5000/h`."""

    def _value(self, text: str) -> Rate:
        return parse_rate(text)


def items_of(text: str) -> tuple[str, ...]:
    """Return the items of a comma list."""
    return tuple(item.strip() for item in text.split(",") if item.strip())


class Networks(Kind[tuple[str, ...]]):
    """A comma list of addresses and networks: `127.0.0.1,10.0.0.0/8`, each as a network."""

    def _value(self, text: str) -> tuple[str, ...]:
        try:
            return tuple(str(ip_network(item)) for item in items_of(text))
        except ValueError as error:
            raise ValueError(f"{error}.") from None


class Origins(Kind[tuple[str, ...]]):
    """A comma list of origins as browsers send them: `https://app.example:8443`; `*` for all."""

    def _value(self, text: str) -> tuple[str, ...]:
        items = items_of(text)
        problems = [f"{item!r} is not an origin such as {_similar_origin(item)}" for item in items if item != "*" and not origin_of(item)]
        if problems:
            raise ValueError("; ".join(problems))
        return tuple(origin_of(item) or item for item in items)


_DEFAULT_PORTS = {"http": 80, "https": 443}
_ORIGIN = re.compile(r"(https?)://(\[[0-9a-f:.]+\]|[^\s/?#@:\[\]\\,;'\"<>]+)(?::([0-9]{1,5}))?", re.IGNORECASE)


def origin_of(text: str) -> str | None:
    """Return an origin as a browser sends it: in lower case, without a default port; else None."""
    match = _ORIGIN.fullmatch(text)
    if match is None or (match[3] and not 0 < int(match[3]) < 65536):
        return None
    scheme, host = match[1].lower(), match[2].lower()
    return f"{scheme}://{host}" if not match[3] or int(match[3]) == _DEFAULT_PORTS[scheme] else f"{scheme}://{host}:{int(match[3])}"


def _similar_origin(text: str) -> str:
    """Return a valid origin near to a wrong one."""
    for candidate in (text, f"https://{text}"):
        try:
            parts = urlsplit(candidate)
            near = origin_of(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}")
        except ValueError:
            continue
        if near is not None:
            return near
    return "https://app.example.com"


class Items(Kind[tuple[str, ...]]):
    """A comma list."""

    def _value(self, text: str) -> tuple[str, ...]:
        return items_of(text)


class Sources(Kind[tuple[SourceSpec, ...]]):
    """A comma list of sources, such as `synthetic` and `replay:FILE@60`."""

    def _value(self, text: str) -> tuple[SourceSpec, ...]:
        return tuple(parse_source(item) for item in items_of(text))


class Thresholds(Kind[Mapping[str, tuple[float, float]]]):
    """Thresholds of single instruments, warning/critical: `EUR_USD=0.01/0.02,BTCUSDT=0.05/0.1`."""

    def _value(self, text: str) -> dict[str, tuple[float, float]]:
        found = {}
        for item in items_of(text):
            match = re.fullmatch(r"([A-Za-z0-9_]+)=(\d+(?:\.\d+)?)/(\d+(?:\.\d+)?)", item)
            if match is None:
                raise ValueError(f"{item!r} is not of the form EUR_USD=0.01/0.02.")
            warning, critical = float(match[2]), float(match[3])
            if not 0 < warning <= critical:
                raise ValueError(f"{item!r}: needs 0 < warning <= critical.")
            found[match[1]] = (warning, critical)
        return found


class Url(PlainText):
    """A URL of the given schemes.

    The error text never contains the value, which may hold a password.
    """

    def __init__(self, *schemes: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.schemes = schemes

    def _value(self, text: str) -> str:
        if not text.startswith(tuple(f"{scheme}://" for scheme in self.schemes)):
            raise ValueError("must be a URL starting with " + " or ".join(f"{name}://" for name in self.schemes))
        if (problem := urls.fault(text)) is not None:
            raise ValueError(problem)
        return text


class Seeds(Url):
    """The URL of a server, or a comma list of URLs or hosts: `redis://one:7000,redis://two:7000`.

    The value is the list of the URLs.
    """

    def _value(self, text: str) -> str:
        return ",".join(super(Seeds, self)._value(seed) for seed in urls.seeds_of(text))


_PUBLIC_HOST = re.compile(r"[\w.\-\[\]:]*\w[\w.\-\[\]:]*", re.ASCII)  # at least one letter or digit


class PublicUrl(Url):
    """The address of a server as clients reach it. It may have a path; a last `/` is dropped."""

    def _value(self, text: str) -> str:
        url = super()._value(text)
        parts = urlsplit(url)
        # The host goes into a header of the dashboard's page.
        if _PUBLIC_HOST.fullmatch(parts.netloc) is None or "?" in url:
            raise ValueError("must be an address such as https://hub.example.com, without user, query and fragment")
        return url.rstrip("/")


class PathText(Kind[Path]):
    """A path; `~` is the home of a user."""

    def _value(self, text: str) -> Path:
        try:
            return Path(text).expanduser()
        except RuntimeError:
            raise ValueError("names a user that does not exist.") from None
