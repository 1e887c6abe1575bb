"""A hidden tab, and a slow CPU."""

from __future__ import annotations

import time
from collections.abc import Iterator

from tests.bench.bars import Bar, Measured, Part
from tests.bench.fanout import Ground
from tests.bench.web import feeder
from tests.bench.web.chromium import Watched, dashboard
from tests.bench.web.site import Site, site
from tests.bench.web.waiting import percentile, seconds_of, until

_CASE = "500 × 5 Hz"
_SLOWER = 6
_KEY_MS = 250
_SETTLE_SECONDS = 60.0  # until the page has handled all prices
# Chromium without a window shows every page: the state is set as the browser would set it.
_SET_HIDDEN = """(hidden) => {
    Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
    Object.defineProperty(document, "visibilityState", { value: hidden ? "hidden" : "visible", configurable: true });
    document.dispatchEvent(new Event("visibilitychange"));
}"""
_SHOW = """(wanted) => new Promise((resolve) => {
    const begun = performance.now();
    const look = () => {
        if (bench.wrong(wanted)[1] === 0) resolve(performance.now() - begun);
        else if (performance.now() - begun > 10000) resolve(NaN);
        else setTimeout(look, 1);
    };
    (SET_HIDDEN)(false);
    look();
})""".replace("SET_HIDDEN", _SET_HIDDEN)


def _hidden(place: Ground, quick: bool) -> Iterator[Measured]:
    case = f"{_CASE}, hidden"
    with site(place, 500) as running:
        _publish_once(running)
        with dashboard(running, quick) as page:
            with feeder.prices(place.redis_url, running.symbols, 5):
                page.page.evaluate(_SET_HIDDEN, True)
                page.page.wait_for_timeout(500)
                window = page.watch(seconds_of(quick))
            _until_stored(running, page)
            shown = page.page.evaluate(_SHOW, running.newest())
    yield Measured(case, len(window.paints), Bar("paints", 0))
    yield Measured(case, shown, Bar("right prices after showing, ms", 200))
    yield Measured(case, window.received, text="prices received per second")
    yield Measured(case, window.percent, text="renderer, % of a core")


def _throttled(place: Ground, quick: bool) -> Iterator[Measured]:
    for count, rate in ((31, 1), (500, 5)):
        case = f"{count} × {rate} Hz, CPU {_SLOWER} times slower"
        with site(place, count) as running:
            _publish_once(running)
            with dashboard(running, quick) as page:
                page.throttle(_SLOWER)
                with feeder.prices(place.redis_url, running.symbols, rate):
                    page.page.locator(".grid-body").focus()
                    delays = _press_keys(page, seconds_of(quick))
                taken = _until_stored(running, page)
                page.page.wait_for_timeout(2000)
                wrong = page.wrong(running.newest())
        yield Measured(case, sum(wrong), Bar("wrong prices in the store and on screen", 0))
        yield Measured(case, percentile(delays, 0.98), text="input delay p98, ms")
        yield Measured(case, percentile(delays, 1.0), Bar("longest input delay, ms", 200))
        yield Measured(case, taken, text="newest prices after the end of the load, s")


def _publish_once(running: Site) -> None:
    with feeder.prices(running.place.redis_url, running.symbols, 1):
        pass


def _press_keys(page: Watched, seconds: float) -> list[float]:
    """Press the down key again and again; return the milliseconds to its listeners."""
    page.page.evaluate("() => bench.reset()")
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        page.page.keyboard.press("ArrowDown")
        page.page.wait_for_timeout(_KEY_MS)
    found: list[float] = page.page.evaluate("() => bench.read().inputs")
    return found


def _until_stored(running: Site, page: Watched) -> float:
    """Wait until the page has all prices of the bus; return the seconds."""
    began, wanted = time.monotonic(), running.newest()
    until(lambda: page.wrong(wanted)[0] == 0, _SETTLE_SECONDS, lambda: f"the newest prices of {page.wrong(wanted)[0]} instruments")
    return time.monotonic() - began


HIDDEN_PART = Part("Hidden tab", _hidden)
THROTTLED_PART = Part("Slow CPU", _throttled)
