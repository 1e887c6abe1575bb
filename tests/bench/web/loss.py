"""A killed hub: the time to the banner and to the next prices, and no missing price."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import orjson

from tests.bench.bars import Bar, Measured, Part
from tests.bench.fanout import Ground
from tests.bench.web import feeder
from tests.bench.web.chromium import Watched, dashboard
from tests.bench.web.site import Site, site
from tests.bench.web.waiting import until

_CASE = "hub killed at 62 prices per second"
_KILLS, _QUICK_KILLS = 3, 1
_BEFORE_SECONDS, _AFTER_SECONDS = 5.0, 5.0
_RECORD = """() => {
    for (const symbol of tickwire.store.symbols) tickwire.hub.fullRate(symbol);
    bench.seqs = {};
    tickwire.hub.on("price", (body) => { (bench.seqs[body.instrument] ??= []).push(body.seq); });
    bench.watchLink();
}"""
_NEWEST = "() => Object.fromEntries([...tickwire.store.rows].map(([symbol, row]) => [symbol, row.seq]))"


def _run(place: Ground, quick: bool) -> Iterator[Measured]:
    banners, lives = [], []
    with site(place, 31) as running:
        with feeder.prices(place.redis_url, running.symbols, 1):
            pass
        with dashboard(running, quick) as page:
            page.page.evaluate(_RECORD)
            with feeder.prices(place.redis_url, running.symbols, 2):
                for _ in range(_QUICK_KILLS if quick else _KILLS):
                    banner, live = _kill(running, page)
                    banners.append(banner)
                    lives.append(live)
            _until_complete(running, page)
            holes, repeats = _count(page)
            gaps = page.page.evaluate("() => tickwire.store.gapCount")
    yield Measured(_CASE, max(banners), Bar("banner after the kill, s", 1))
    yield Measured(_CASE, max(lives), Bar("live after the kill, s", 10))
    yield Measured(_CASE, holes, Bar("missing prices", 0))
    yield Measured(_CASE, repeats, Bar("repeated prices", 0))
    yield Measured(_CASE, gaps, Bar("gaps shown", 0))


def _kill(running: Site, page: Watched) -> tuple[float, float]:
    """Kill the hub and start it again at once; return the seconds to the banner and to live."""
    page.page.wait_for_timeout(_BEFORE_SECONDS * 1000)
    page.page.evaluate("() => bench.reset()")
    killed = time.time()
    running.hub.kill()
    running.hub.start()
    page.page.wait_for_function("() => bench.read().links.some(([state]) => state === 'live')")
    noted: list[Any] = page.page.evaluate("() => bench.read().links")
    page.page.wait_for_timeout(_AFTER_SECONDS * 1000)
    first = {state: at / 1000 - killed for state, at in reversed(noted)}
    return first["banner"], first["live"]


def _until_complete(running: Site, page: Watched) -> None:
    bodies = running.bus.latest_prices(list(running.symbols))
    wanted = {symbol: orjson.loads(body)["seq"] for symbol, body in bodies.items()}
    until(lambda: page.page.evaluate(_NEWEST) == wanted, 30, lambda: "the newest prices")


def _count(page: Watched) -> tuple[int, int]:
    """Return the numbers of missing and of repeated prices of all instruments."""
    found: dict[str, list[int]] = page.page.evaluate("() => bench.seqs")
    steps = [later - earlier for seqs in found.values() for earlier, later in pairwise(seqs)]
    return sum(step - 1 for step in steps if step > 1), sum(step < 1 for step in steps)


PART = Part("Killed hub", _run)
