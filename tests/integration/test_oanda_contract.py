"""The contract of all sources for the OANDA source, with the tests of test_sources.py."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from config.settings import SourceSpec
from jobs.feeds.base import Source
from jobs.venues import build
from tests.standins.oanda import OandaStandIn
from tests.unit.test_sources import (
    source_context,
    test_nothing_is_fetched_after_stop,
    test_parse_is_pure,
    test_stop_ends_a_source_that_was_started,
    test_stop_is_honoured_while_waiting,
    test_ticks_are_in_contract_form,
)

__all__ = [
    "test_nothing_is_fetched_after_stop",
    "test_parse_is_pure",
    "test_stop_ends_a_source_that_was_started",
    "test_stop_is_honoured_while_waiting",
    "test_ticks_are_in_contract_form",
]

QUOTES = Path(__file__).parents[2] / "data" / "recordings" / "EUR_USD_20140505.csv.gz"


@pytest.fixture
def source() -> Iterator[Source[Any]]:
    with OandaStandIn(quotes={"EUR_USD": QUOTES}) as oanda:
        yield build(
            SourceSpec("oanda"),
            source_context(oanda_stream_url=oanda.url, oanda_account_id=oanda.account, oanda_api_token=oanda.token),
        )
