"""Metrics as text: what collectors find, its forms, and the union of several processes.

This is the only module that imports `prometheus_client`, and only when it renders: a hub imports
the library after its monkey patch.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias
from urllib.parse import parse_qs

from config.metrics import METRICS, Metric
from config.pacing import Throttle

if TYPE_CHECKING:
    from prometheus_client import Metric as ClientMetric

log = logging.getLogger(__name__)

# (suffix of the name in the table, labels, value); the suffix is one of SUFFIXES of its kind
Sample: TypeAlias = tuple[str, Mapping[str, str], float]
_SampleKey: TypeAlias = tuple[str, frozenset[tuple[str, str]]]  # suffix and labels
Families: TypeAlias = dict[str, list[Sample]]  # name as in the table -> samples

SUFFIXES = {"counter": ("",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}
FORMATS = ("json", "prometheus", "openmetrics")
_OF_ONE_PROCESS = ("prometheus", "openmetrics")  # the JSON form is about the whole system: REST has it
LE = "le"
MAX_LABEL_VALUE = 200  # characters, in the report of another process
_PROCESS = "process"
_ELECTED = ("jobs", "observer", "books")  # roles whose processes act, or have duties
_JSON, _OPENMETRICS = "application/json", "application/openmetrics-text"
# A client that names one of them takes a text form.
_TEXT_FORMS = (_OPENMETRICS, "text/plain", "text/html", "text/*", "*/*")


class Counted(Protocol):
    """Numbers by label values, such as `db.measures.Counts`."""

    def values(self) -> Mapping[tuple[str, ...], float]:
        """Label values -> number."""


class Bucketed(Protocol):
    """A histogram, such as `db.measures.Buckets`."""

    @property
    def bounds(self) -> tuple[float, ...]:
        """Upper bounds, ascending and without infinity."""

    def read(self) -> tuple[list[int], float]:
        """Counts per bucket, not cumulative, the last one above all bounds; and the sum."""


class Collected:
    """The samples that the collectors of a service add, checked against the table."""

    def __init__(self, service: str) -> None:
        self._service = service
        self.families: Families = {}

    def add(self, name: str, value: float, /, **labels: str) -> None:
        """Add one value of a counter or gauge.

        Raises `KeyError` if the table lacks the name, and `ValueError` for other labels, for a
        histogram, and for a row of another service.
        """
        row = METRICS[name]
        if row.kind == "histogram" or not math.isfinite(value):
            raise ValueError(f"{name} takes no value {value}")
        # JSON has no number for a bool, and the reader of a report would leave it out.
        self._samples(row, labels).append(("", labels, int(value) if isinstance(value, bool) else value))

    def add_counts(self, name: str, counts: Counted | Mapping[tuple[str, ...], float]) -> None:
        """Add each number; label values are in the order of the table. An empty one is kept."""
        self.families.setdefault(name, [])
        found = counts if isinstance(counts, Mapping) else counts.values()
        for values, number in found.items():
            self.add(name, number, **dict(zip(METRICS[name].labels, values, strict=True)))

    def add_buckets(self, name: str, buckets: Bucketed, /, **labels: str) -> None:
        """Add one histogram, whose bounds are those of the table."""
        row = METRICS[name]
        if row.kind != "histogram" or buckets.bounds != row.buckets:
            raise ValueError(f"{name} has other buckets")
        counts, total = buckets.read()
        samples = self._samples(row, labels)
        reached = 0
        for bound, count in zip(_bounds(row), counts, strict=True):
            reached += count
            samples.append(("_bucket", {**labels, LE: bound}, reached))
        samples.append(("_sum", labels, total))
        samples.append(("_count", labels, reached))

    def add_many(self, name: str, many: Iterable[tuple[tuple[str, ...], Bucketed]]) -> None:
        """Add each histogram of `Many.items()`; label values are in the order of the table."""
        for values, buckets in many:
            self.add_buckets(name, buckets, **dict(zip(METRICS[name].labels, values, strict=True)))

    def _samples(self, row: Metric, labels: Mapping[str, str]) -> list[Sample]:
        if len(labels) != len(row.labels) or any(label not in labels for label in row.labels):
            raise ValueError(f"{row.name} has the labels {row.labels}, not {tuple(labels)}")
        if row.services and self._service not in row.services:
            raise ValueError(f"{row.name} is no metric of {self._service}")
        return self.families.setdefault(row.name, [])


Collector: TypeAlias = Callable[[Collected], None]


class Exposition:
    """The metrics of one process: its collectors, which are called when somebody reads them.

    Collectors only read numbers. Rows of the acting process are left out unless `acting()`.
    """

    def __init__(self, service: str, *, acting: Callable[[], bool] = lambda: True) -> None:
        self._service = service
        self._acting = acting
        self._collectors: list[Collector] = []
        self._throttle = Throttle(monotonic=time.monotonic)

    def register(self, collector: Collector) -> None:
        """Call the collector for each reading from now on."""
        self._collectors.append(collector)

    def families(self) -> Families:
        """Every row of the table that this process exports now, in the order of the table.

        A collector that raises is left out as a whole; the others stay.
        """
        found: Families = {}
        for collector in list(self._collectors):
            collected = Collected(self._service)
            try:
                collector(collected)
            except Exception:
                if (suppressed := self._throttle.due(repr(collector))) is not None:
                    log.exception("metrics are left out", extra={"collector": _name(collector), "suppressed": suppressed})
                continue
            for name, samples in collected.families.items():
                found.setdefault(name, []).extend(samples)
        acting = self._acting()
        return {name: found[name] for name, row in METRICS.items() if name in found and (acting or not row.acting)}

    def report(self) -> Families:
        """The part `families` of this process's report.

        REST has one histogram for each route: those without a value are left out.
        """
        return {name: _with_values(METRICS[name], samples) for name, samples in self.families().items()}


def _name(collector: Collector) -> str:
    function = getattr(collector, "func", collector)  # of a partial
    return getattr(function, "__qualname__", type(function).__name__)


def _with_values(row: Metric, samples: list[Sample]) -> list[Sample]:
    """The samples; without those of empty histograms if only REST exports the row."""
    if row.kind != "histogram" or row.services != ("rest",):
        return samples
    size = len(row.buckets) + 3
    groups = [samples[start : start + size] for start in range(0, len(samples), size)]
    return [sample for group in groups if group[-1][2] for sample in group]


def read_families(role: str, found: object) -> Families:
    """The families of the report of a process with this role.

    Anything that such a process cannot export is left out, so that no report breaks the text.
    """
    families: Families = {}
    for name, samples in found.items() if isinstance(found, dict) else ():
        row = METRICS.get(name)
        if row is None or not isinstance(samples, list) or (row.services and role not in row.services):
            continue
        families[name] = [(each[0], each[1], each[2]) for each in samples if _is_sample(row, each)]
    return families


def _is_sample(row: Metric, found: object) -> bool:
    if not (isinstance(found, list) and len(found) == 3):
        return False
    suffix, labels, value = found
    if suffix not in SUFFIXES[row.kind] or not isinstance(labels, dict):
        return False
    names = {*row.labels, LE} if suffix == "_bucket" else set(row.labels)
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not is_number or labels.keys() != names or not all(map(_is_label_value, labels.values())):
        return False
    return LE not in names or labels[LE] in _bounds(row)


def _is_label_value(found: object) -> bool:
    return isinstance(found, str) and found.isprintable() and len(found) <= MAX_LABEL_VALUE


def _bounds(row: Metric) -> tuple[str, ...]:
    """The values of the label `le`."""
    return *map(repr, map(float, row.buckets)), "+Inf"


def merge(processes: Mapping[str, Families], *, rest: str | None = None) -> Families:
    """One block for each name, of all processes: name in the registry -> its families.

    The newest report comes first. Each sample gains the label `process`, except those of acting
    processes, and those that only REST exports, of the process `rest`. Hubs gain it always: there
    is no acting hub. Counters and histograms of several processes with the same labels are added,
    and of several gauges the first one counts.
    """
    found: Families = {}
    for name, row in METRICS.items():
        samples: list[Sample] = []
        for process, families in processes.items():
            own = _distinct(families.get(name, ()))
            bare = process == rest if row.services == ("rest",) else row.acting and process.startswith(_ELECTED)
            samples.extend(own if bare else [(suffix, {**labels, _PROCESS: process}, value) for suffix, labels, value in own])
        if samples or any(name in families for families in processes.values()):
            found[name] = _distinct(samples) if row.kind == "gauge" else _added(samples)
    return found


def _distinct(samples: Iterable[Sample]) -> list[Sample]:
    """The first sample of each suffix and labels: a second one is an error for Prometheus."""
    found: dict[_SampleKey, Sample] = {}
    for sample in samples:
        found.setdefault(_key(sample), sample)
    return list(found.values())


def _added(samples: Iterable[Sample]) -> list[Sample]:
    """One sample for each suffix and labels: the sum of all."""
    found: dict[_SampleKey, Sample] = {}
    for sample in samples:
        suffix, labels, value = found.get(key := _key(sample), (sample[0], sample[1], 0))
        found[key] = suffix, labels, value + sample[2]
    return list(found.values())


def _key(sample: Sample) -> _SampleKey:
    return sample[0], frozenset(sample[1].items())


def without_acting(families: Families) -> Families:
    """The rows that a process exports if it does not act."""
    return {name: samples for name, samples in families.items() if not METRICS[name].acting}


@dataclass(frozen=True, slots=True)
class Representation:
    """The form of an answer. `accept` selects between the text forms."""

    kind: Literal["json", "text"]
    accept: str = ""


def represent(accept: str | None, format_: str | None = None, *, formats: tuple[str, ...] = FORMATS) -> Representation:
    """The form that a request gets, from its header `Accept` and its argument `format`.

    Raises `ValueError` for another format than `formats`. An endpoint without JSON leaves it out of
    `formats` and answers every request with text.
    """
    if format_ is not None:
        if format_ not in formats:
            raise ValueError(f"Must be one of: {', '.join(formats)}.")
        return Representation("json") if format_ == "json" else Representation("text", _OPENMETRICS if format_ == "openmetrics" else "")
    wanted = _qualities(accept or "")
    quality = wanted.get(_JSON, 0.0)
    if "json" in formats and quality and quality >= max(wanted.get(form, 0.0) for form in _TEXT_FORMS):
        return Representation("json")
    return Representation("text", ",".join(part for part in (accept or "").split(",") if _quality(part)))


def represent_text(accept: str | None, query: str) -> Representation:
    """The text form that a request to one process gets; `query` is its query string.

    Raises `ValueError` for another format.
    """
    formats = parse_qs(query, keep_blank_values=True).get("format")
    return represent(accept, formats[-1] if formats else None, formats=_OF_ONE_PROCESS)


def _qualities(accept: str) -> dict[str, float]:
    """Media type -> its highest quality."""
    found: dict[str, float] = {}
    for part in accept.split(","):
        kind = part.split(";")[0].strip().lower()
        found[kind] = max(found.get(kind, 0.0), _quality(part))
    return found


def _quality(part: str) -> float:
    """The quality of one part of `Accept`; 1 if it has none, or one that is not a number."""
    for parameter in part.split(";")[1:]:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "q":
            try:
                return float(value)
            except ValueError:
                return 1.0
    return 1.0


def render(families: Families, representation: Representation) -> tuple[bytes, str]:
    """The text, and its Content-Type."""
    from prometheus_client.exposition import choose_encoder

    try:
        encode, content_type = choose_encoder(representation.accept)
    except (TypeError, ValueError):  # a version that is not a number
        encode, content_type = choose_encoder("")
    return encode(_Source(families)), content_type


class _Source:
    """Families as the registry that an encoder of the library reads."""

    def __init__(self, families: Families) -> None:
        self._families = families

    def collect(self) -> Iterable[ClientMetric]:
        from prometheus_client import Metric as Family
        from prometheus_client.samples import Sample as Line

        for name, samples in self._families.items():
            row = METRICS[name]
            # The library adds the suffix of a counter to its name.
            family = Family(name.removesuffix("_total") if row.kind == "counter" else name, row.help, row.kind)
            family.samples = [Line(name + suffix, dict(labels), value) for suffix, labels, value in samples]
            yield family
