"""Samples of a text for Prometheus, as the client library reads them."""

from __future__ import annotations

from typing import Any, cast

from prometheus_client import parser

Sample = tuple[str, dict[str, str], float]


def samples(text: str) -> list[Sample]:
    """All samples of a text, as the client library reads them."""
    return [(each.name, dict(each.labels), each.value) for family in _families(text) for each in family.samples]


def of(found: list[Sample], name: str) -> list[dict[str, str]]:
    return [labels for each, labels, _ in found if each == name]


def _families(text: str) -> Any:
    return cast(Any, parser).text_string_to_metric_families(text)
