"""Growth of the heap and of the private memory of the renderer."""

from __future__ import annotations

from collections.abc import Iterator

from tests.bench.bars import Bar, Measured, Part
from tests.bench.fanout import Ground
from tests.bench.web import feeder
from tests.bench.web.chromium import dashboard
from tests.bench.web.site import site

_SECONDS, _QUICK_SECONDS = 300.0, 15.0
_SETTLE_SECONDS, _QUICK_SETTLE_SECONDS = 30.0, 8.0  # in which code is compiled and caches are filled
_HEAP = Bar("growth of the heap after a collection, MB", 1)
_PRIVATE = Bar("growth of the private memory, MB", 10)


def _run(place: Ground, quick: bool) -> Iterator[Measured]:
    seconds = _QUICK_SECONDS if quick else _SECONDS
    case = f"{seconds:g} s of 500 × 5 Hz"
    with site(place, 500) as running, feeder.prices(place.redis_url, running.symbols, 5), dashboard(running, quick) as page:
        page.page.wait_for_timeout((_QUICK_SETTLE_SECONDS if quick else _SETTLE_SECONDS) * 1000)
        heap, nodes, private = page.heap_mb(), page.nodes(), page.private_mb()
        page.page.wait_for_timeout(seconds * 1000)
        yield Measured(case, page.heap_mb() - heap, _HEAP)
        yield Measured(case, page.private_mb() - private, _PRIVATE)
        yield Measured(case, page.nodes() - nodes, text="growth of the DOM nodes")
        yield Measured(case, heap, text="heap after a collection, MB")
        yield Measured(case, private, text="private memory, MB")


PART = Part("Memory", _run)
