"""The first load of the page: time to rows with prices, requests, bytes."""

from __future__ import annotations

from collections.abc import Iterator

from tests.bench.bars import Bar, Measured, Part
from tests.bench.fanout import Ground
from tests.bench.web import feeder
from tests.bench.web.chromium import watched
from tests.bench.web.site import Site, site

_LOADS, _QUICK_LOADS = 5, 2
_CASE = "cold load, 31 instruments"
_SECONDS = Bar("rows with prices, s", 1.5)
_REQUESTS = Bar("requests until then", 30)
_KILOBYTES = Bar("raw KB until then", 400)
_UNTIL_PRICED = """(() => {
    const request = window.requestAnimationFrame.bind(window);
    const look = () => {
        if (!document.body || !bench.priced()) return void request(look);
        const entries = [...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource")];
        const sent = new PerformanceObserver(() => {});
        sent.disconnect();
        bench.loaded = {
            seconds: performance.now() / 1000,
            requests: entries.length + 1, // and the WebSocket
            raw: entries.reduce((sum, each) => sum + each.decodedBodySize, 0) / 1000,
            packed: entries.reduce((sum, each) => sum + each.transferSize, 0) / 1000,
        };
    };
    request(look);
})()"""


def _run(place: Ground, quick: bool) -> Iterator[Measured]:
    with site(place, 31) as running, feeder.prices(place.redis_url, running.symbols, 1):
        for _ in range(_QUICK_LOADS if quick else _LOADS):
            yield from _load(running)


def _load(running: Site) -> Iterator[Measured]:
    with watched() as page:
        page.page.add_init_script(_UNTIL_PRICED)
        page.page.goto(f"{running.url}/#/")
        page.page.wait_for_function("() => bench.loaded")
        found = page.page.evaluate("() => bench.loaded")
    yield Measured(_CASE, found["seconds"], _SECONDS)
    yield Measured(_CASE, found["requests"], _REQUESTS)
    yield Measured(_CASE, found["raw"], _KILOBYTES)
    yield Measured(_CASE, found["packed"], text="transferred KB until then")


PART = Part("Cold load", _run)
