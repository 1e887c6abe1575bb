"""Prices at a steady rate in the market view: CPU, frames, painters, nodes and memory."""

from __future__ import annotations

import math
from collections.abc import Iterator

from tests.bench.bars import Bar, Measured, Part
from tests.bench.fanout import Ground
from tests.bench.web import feeder
from tests.bench.web.chromium import Window, dashboard, empty_percent
from tests.bench.web.site import site
from tests.bench.web.waiting import percentile, seconds_of

_NO_LONG_TASK = Bar("long tasks", 0)
_LONG_FRAME_MS = 50.0
_IDLE_SECONDS = 5.0


def _small(place: Ground, quick: bool) -> Iterator[Measured]:
    case = "31 × 1 Hz"
    with site(place, 31) as running, feeder.prices(place.redis_url, running.symbols, 1):
        empty = empty_percent(running, quick)
        with dashboard(running, quick) as page:
            window = page.watch(seconds_of(quick))
            yield from costs(case, window, empty, Bar("renderer, % of a core", 12))
            yield Measured(case, len(window.long_tasks), _NO_LONG_TASK)
            yield Measured(case, percentile(window.paints, 0.99), text="paint p99, ms")
            yield Measured(case, page.nodes(), text="DOM nodes")
    yield from _idle(place, quick)


def _idle(place: Ground, quick: bool) -> Iterator[Measured]:
    """Frames are requested only when something is dirty: the ages of rows, once a second."""
    with site(place, 31) as running:
        with feeder.prices(place.redis_url, running.symbols, 1):
            pass
        with dashboard(running, quick) as page:
            window = page.watch(_IDLE_SECONDS)
    yield Measured("31 instruments, no prices", len(window.paints) / window.seconds, Bar("frames per second", 2))


def _fast(place: Ground, quick: bool) -> Iterator[Measured]:
    case = "500 × 5 Hz"
    with site(place, 500) as running, feeder.prices(place.redis_url, running.symbols, 5):
        empty = empty_percent(running, quick)
        with dashboard(running, quick) as page:
            window = page.watch(seconds_of(quick))
            yield from costs(case, window, empty, Bar("renderer, % of a core", 40), Bar("renderer ÷ the empty page", 1.5))
            yield Measured(case, len(window.long_tasks), _NO_LONG_TASK)
            yield Measured(case, percentile(window.paints, 0.99), Bar("paint p99, ms", 2))
            yield Measured(case, page.nodes(), text="DOM nodes")
            yield Measured(case, page.private_mb(), text="private memory, MB")
            window = page.watch(seconds_of(quick), frames=True)
    yield from _frames(case, window, Bar("frame p95, ms", 17), Bar("frame p99, ms", 34))
    late = sum(each > _LONG_FRAME_MS for each in window.frames)
    yield Measured(case, late / max(1, len(window.frames)) * 100, Bar("frames above 50 ms, %", 0.2))


def _scroll(place: Ground, quick: bool) -> Iterator[Measured]:
    case = "5,000 × 0.5 Hz, scrolling"
    with site(place, 5000) as running, feeder.prices(place.redis_url, running.symbols, 0.5):
        empty = empty_percent(running, quick)
        with dashboard(running, quick) as page:
            page.page.evaluate("() => { bench.scrolling = true; }")
            window = page.watch(seconds_of(quick), frames=True)
            yield from _frames(case, window, None, Bar("frame p99, ms", 34))
            yield from costs(case, window, empty)
            yield Measured(case, len(window.long_tasks), text="long tasks")
            yield Measured(case, page.private_mb(), Bar("private memory, MB", 80))
            yield Measured(case, page.nodes(), Bar("DOM nodes", 1500))
            yield Measured(case, page.heap_mb(), text="heap after a collection, MB")
            yield Measured(case, page.private_mb(), text="private memory after a collection, MB")


def _many(place: Ground, quick: bool) -> Iterator[Measured]:
    case = "5,000 × 0.5 Hz, `max_rate` 1"
    with site(place, 5000) as running, feeder.prices(place.redis_url, running.symbols, 0.5), dashboard(running, quick) as page:
        window = page.watch(seconds_of(quick), frames=True)
    yield from _frames(case, window, None, Bar("frame p99, ms", 50))
    yield Measured(case, window.percent, text="renderer with a frame loop, % of a core")
    yield Measured(case, window.received, text="prices received per second")
    yield Measured(case, len(window.long_tasks), text="long tasks")


def costs(case: str, window: Window, empty: float, most: Bar | None = None, ratio: Bar | None = None) -> Iterator[Measured]:
    """The CPU of the renderer, beside that of the empty page with the same prices."""
    yield Measured(case, window.received, text="prices received per second")
    yield Measured(case, len(window.paints) / window.seconds, text="painted frames per second")
    yield Measured(case, empty, text="renderer of the empty page, % of a core")
    yield Measured(case, window.percent, most, text="renderer, % of a core")
    yield Measured(case, window.percent / empty if empty else math.inf, ratio, text="renderer ÷ the empty page")


def _frames(case: str, window: Window, p95: Bar | None, p99: Bar) -> Iterator[Measured]:
    yield Measured(case, percentile(window.frames, 0.95), p95, text="frame p95, ms")
    yield Measured(case, percentile(window.frames, 0.99), p99)
    yield Measured(case, percentile(window.frames, 1.0), text="longest frame, ms")


SMALL_PART = Part("31 instruments at 1 Hz", _small)
FAST_PART = Part("500 instruments at 5 Hz", _fast)
SCROLL_PART = Part("5,000 instruments, scrolling", _scroll)
MANY_PART = Part("5,000 instruments with a rate", _many)
