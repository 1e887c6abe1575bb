"""Fields of the settings; REST shares some of them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from marshmallow import ValidationError
from marshmallow.fields import Field, Int, Str

from config import urls
from config.venues import parse_source

MAX_DIGITS = 9
_UNITS = {1: "s", 60: "m", 3600: "h"}
_SECONDS = {unit: seconds for seconds, unit in _UNITS.items()}


class WholeNumber(Int):
    """A whole number as text: 1 to `digits` ASCII digits."""

    def __init__(self, *, digits: int = MAX_DIGITS, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._digits = digits
        self._matches = re.compile(f"[0-9]{{1,{digits}}}").fullmatch

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> int:
        if not isinstance(value, str) or not self._matches(value):
            raise ValidationError(f"Not a whole number: use 1 to {self._digits} digits, without sign, separator or blank.")
        return int(value)


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


class RateText(Field[Rate]):
    """A rate as text: `50/s`, `600/m`, `5000/h`."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Rate:
        try:
            return parse_rate(value)
        except ValueError as error:
            raise ValidationError(str(error)) from None


class Networks(Field[tuple[str, ...]]):
    """A comma list of addresses and networks: `127.0.0.1,10.0.0.0/8`, each as a network."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        try:
            return tuple(str(ip_network(item.strip())) for item in value.split(",") if item.strip())
        except ValueError as error:
            raise ValidationError(f"{error}.") from None


class Origins(Field[tuple[str, ...]]):
    """A comma list of origins as browsers send them: `https://app.example:8443`; `*` for all."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        items = [item.strip() for item in value.split(",") if item.strip()]
        problems = [f"{item!r} is not an origin such as {_similar_origin(item)}" for item in items if item != "*" and not origin_of(item)]
        if problems:
            raise ValidationError("; ".join(problems))
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


class Items(Field[tuple[str, ...]]):
    """A comma list."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        return tuple(item.strip() for item in value.split(",") if item.strip())


class Sources(Items):
    """A comma list of sources, such as `synthetic` and `replay:FILE@60`."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        try:
            return tuple(parse_source(item) for item in super()._deserialize(value, attr, data, **kwargs))
        except ValueError as error:
            raise ValidationError(str(error)) from None


class Thresholds(Items):
    """Thresholds of single instruments, warning/critical: `EUR_USD=0.01/0.02,BTCUSDT=0.05/0.1`."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        found = {}
        for item in super()._deserialize(value, attr, data, **kwargs):
            match = re.fullmatch(r"([A-Za-z0-9_]+)=(\d+(?:\.\d+)?)/(\d+(?:\.\d+)?)", item)
            if match is None:
                raise ValidationError(f"{item!r} is not of the form EUR_USD=0.01/0.02.")
            warning, critical = float(match[2]), float(match[3])
            if not 0 < warning <= critical:
                raise ValidationError(f"{item!r}: needs 0 < warning <= critical.")
            found[match[1]] = (warning, critical)
        return found


class Url(Str):
    """A URL of the given schemes.

    The error text never contains the value, which may hold a password.
    """

    def __init__(self, *schemes: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.schemes = schemes

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        if not value.startswith(tuple(f"{scheme}://" for scheme in self.schemes)):
            raise ValidationError("must be a URL starting with " + " or ".join(f"{name}://" for name in self.schemes))
        if (problem := urls.fault(value)) is not None:
            raise ValidationError(problem)
        return str(value)


class Seeds(Url):
    """The URL of a server, or a comma list of URLs or hosts: `redis://one:7000,redis://two:7000`.

    The value is the list of the URLs.
    """

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        return ",".join(super(Seeds, self)._deserialize(seed, attr, data, **kwargs) for seed in urls.seeds_of(value))


_PUBLIC_HOST = re.compile(r"[\w.\-\[\]:]*\w[\w.\-\[\]:]*", re.ASCII)  # at least one letter or digit


class PublicUrl(Url):
    """The address of a server as clients reach it. It may have a path; a last `/` is dropped."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        url = super()._deserialize(value, attr, data, **kwargs)
        parts = urlsplit(url)
        # The host goes into a header of the dashboard's page.
        if _PUBLIC_HOST.fullmatch(parts.netloc) is None or "?" in url:
            raise ValidationError("must be an address such as https://hub.example.com, without user, query and fragment")
        return url.rstrip("/")


class PathText(Field[Path]):
    """A path; `~` is the home of a user."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Path:
        try:
            return Path(value).expanduser()
        except RuntimeError:
            raise ValidationError("names a user that does not exist.") from None
