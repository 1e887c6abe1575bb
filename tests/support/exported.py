"""The metrics that a process exports, as a scraper reads them."""

from __future__ import annotations

import urllib.request
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

Values = dict[tuple[str, frozenset[tuple[str, str]]], float]


def read(port: int) -> Values:
    """The metrics of the endpoint on this port."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=60) as answer:
        return parsed(answer.read().decode())


def parsed(text: str) -> Values:
    """(name, labels) -> value."""
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return {(sample.name, frozenset(sample.labels.items())): sample.value for sample in samples}


def of(values: Values, name: str, *labels: str) -> dict[Any, float]:
    """Value of each label, or tuple of labels, of one name."""
    found: dict[Any, float] = {}
    for (each, pairs), value in values.items():
        if each == name:
            given = dict(pairs)
            assert set(given) == set(labels), (name, given)
            found[tuple(given[label] for label in labels) if len(labels) > 1 else given[labels[0]] if labels else ""] = value
    return found
