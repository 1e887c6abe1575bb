"""The programs of the README miss and repeat no price when the hub is killed."""

from __future__ import annotations

import signal
from datetime import UTC, datetime
from pathlib import Path

import pytest

from config.settings import Settings
from db.bus import Bus
from tests.conftest import until
from tests.examples.blocks import Block, blocks, substituted
from tests.examples.program import javascript, python
from tests.support.clients import PythonClient
from tests.support.processes import Web

JS, PYTHON = (next(block for block in blocks(language) if block.file.name == "README.md") for language in ("js", "python"))


@pytest.mark.slow
@pytest.mark.parametrize("block", [JS, PYTHON], ids=["js", "python"])
def test_readme_program_misses_and_repeats_no_price_when_the_hub_is_killed(
    block: Block, settings: Settings, bus: Bus, tmp_path: Path
) -> None:
    with Web("hub", settings, tmp_path / "hub.log") as hub:
        text = substituted(block.text, {"127.0.0.1:5001": hub.url.removeprefix("http://")})
        with (javascript if block is JS else python)(text, tmp_path) as program:
            until(lambda: subscribers(hub) == 1, what="the subscription")
            publish(bus, 0, 3)
            until(lambda: len(program.lines) >= 3, what="the first prices")
            hub.kill(signal.SIGKILL)
            publish(bus, 3, 40)
            hub.start()
            until(lambda: len(program.lines) >= 40, 40, "what was missed")
            publish(bus, 40, 41)
            until(lambda: len(program.lines) >= 41, what="a price after it")
    bids = [line.split()[1] for line in program.lines]
    # python-socketio handles each message in a thread of its own, so that two may change places.
    assert (bids if block is JS else sorted(bids)) == [f"1.{number:05}" for number in range(41)]


def subscribers(hub: Web) -> int:
    """Return the number of clients that are subscribed to EUR_USD."""
    with PythonClient(hub.url) as client:
        return int(client.stats()["subscriptions_by_pair"].get("EUR_USD", 0))


def publish(bus: Bus, first: int, end: int) -> None:
    for number in range(first, end):
        bus.cache_price("EUR_USD", bid=f"1.{number:05}", ask="2.5", mid="2", time=datetime.now(UTC))
