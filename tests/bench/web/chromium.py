"""A page in a browser of its own, measured at its renderer process and by a probe inside."""

from __future__ import annotations

import re
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil
from playwright.sync_api import Browser, Page, Route, sync_playwright

from tests.bench.servers import ROOT, BenchError
from tests.bench.web.site import Site
from tests.bench.web.waiting import seconds_of, warm_seconds_of

VIEWPORT = {"width": 1440, "height": 900}
EMPTY = "bench-empty"  # path of the page with the client and no views
_HERE = Path(__file__).parent
_TIMEOUT_MS = 60_000
_ARGUMENTS = [
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    "--disable-quic",
    "--no-proxy-server",
]  # as the tests of the page: nothing outside this machine is reachable
# Without jobs the product is not healthy, and a hub is killed.
_EXPECTED = re.compile(r"503 .*/health\)$|WebSocket connection to .* failed")
_IMPORT_MAP = re.compile(r'<script type="importmap">.*?</script>', re.DOTALL)


@dataclass(frozen=True, slots=True)
class Window:
    """The measurement of some seconds."""

    seconds: float
    cpu: float  # of the renderer, seconds
    probe: dict[str, Any]

    @property
    def percent(self) -> float:
        """CPU of the renderer in percent of a core."""
        return self.cpu / self.seconds * 100

    @property
    def frames(self) -> list[float]:
        """The times between frames in ms."""
        return [later - earlier for earlier, later in pairwise(self.probe["stamps"])]

    @property
    def paints(self) -> list[float]:
        """The times of the page's painters in ms."""
        return list(self.probe["paints"])

    @property
    def long_tasks(self) -> list[float]:
        return list(self.probe["tasks"])

    @property
    def received(self) -> float:
        """Prices per second."""
        return float(self.probe["received"]) / self.seconds


class Watched:
    """A page, and the process that renders it."""

    def __init__(self, browser: Browser, page: Page) -> None:
        self.page = page
        self._browser = browser.new_browser_cdp_session()
        self._cdp = page.context.new_cdp_session(page)
        self._cdp.send("Performance.enable")
        self._process: psutil.Process | None = None
        page.on("pageerror", lambda error: _warn(str(error)))
        page.on("console", lambda message: _warn(f"{message.text} ({message.location.get('url', '')})"))

    def warm_up(self, quick: bool) -> None:
        """Let the page run; its process is the renderer that uses the most CPU meanwhile."""
        before = self._renderers()
        self.page.wait_for_timeout(warm_seconds_of(quick) * 1000)
        used = {pid: cpu - before.get(pid, 0.0) for pid, cpu in self._renderers().items()}
        self._process = psutil.Process(max(used, key=lambda pid: used[pid]))

    def _renderers(self) -> dict[int, float]:
        """Return pid -> seconds of CPU."""
        found = self._browser.send("SystemInfo.getProcessInfo")["processInfo"]
        return {each["id"]: _cpu_of(psutil.Process(each["id"])) for each in found if each["type"] == "renderer"}

    @property
    def renderer(self) -> psutil.Process:
        assert self._process is not None
        return self._process

    def private_mb(self) -> float:
        """Private memory of the renderer, from /proc/PID/smaps_rollup."""
        return float(self.renderer.memory_full_info().uss / 1e6)

    def heap_mb(self) -> float:
        """The heap of JavaScript after a collection of garbage."""
        self._cdp.send("HeapProfiler.collectGarbage")
        return self._metric("JSHeapUsedSize") / 1e6

    def nodes(self) -> float:
        """Nodes of all documents, after a collection of garbage."""
        self._cdp.send("HeapProfiler.collectGarbage")
        return self._metric("Nodes")

    def throttle(self, rate: float) -> None:
        self._cdp.send("Emulation.setCPUThrottlingRate", {"rate": rate})

    def _metric(self, name: str) -> float:
        found = {each["name"]: each["value"] for each in self._cdp.send("Performance.getMetrics")["metrics"]}
        return float(found[name])

    def watch(self, seconds: float, *, frames: bool = False) -> Window:
        """Measure for some seconds. `frames`: every frame is requested, so that all are counted."""
        if frames:
            self.page.evaluate("() => bench.follow()")
        self.page.evaluate("() => bench.reset()")
        cpu, began = _cpu_of(self.renderer), time.monotonic()
        self.page.wait_for_timeout(seconds * 1000)
        taken, cpu = time.monotonic() - began, _cpu_of(self.renderer) - cpu
        probe: dict[str, Any] = self.page.evaluate("() => { bench.frames = false; return bench.read(); }")
        return Window(taken, cpu, probe)

    def wrong(self, wanted: dict[str, tuple[str, str]]) -> tuple[int, int]:
        """Return the number of instruments with other prices in the store, and of such rows."""
        stored, shown = self.page.evaluate("(wanted) => bench.wrong(wanted)", wanted)
        return int(stored), int(shown)


def _warn(text: str) -> None:
    if not _EXPECTED.search(text):
        print(f"the page complained: {text}", file=sys.stderr)


def _cpu_of(process: psutil.Process) -> float:
    used = process.cpu_times()
    return float(used.user + used.system)


def executable() -> str:
    """Return the path of Chromium. Raises `BenchError` if the machine has none."""
    if found := shutil.which("chromium") or shutil.which("chromium-headless-shell"):
        return found
    raise BenchError("there is no Chromium on this machine: install the package chromium")


@contextmanager
def watched() -> Iterator[Watched]:
    """Start a browser with one empty page."""
    path = executable()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=_ARGUMENTS)
        context = browser.new_context(viewport=VIEWPORT, color_scheme="dark", locale="en-GB", timezone_id="UTC")  # type: ignore[arg-type]
        context.set_default_timeout(_TIMEOUT_MS)
        context.add_init_script(path=_HERE / "probe.js")
        yield Watched(browser, context.new_page())
        browser.close()


@contextmanager
def dashboard(site: Site, quick: bool, address: str = "#/") -> Iterator[Watched]:
    """Open a view, and wait until its list has prices and the page is warm."""
    with watched() as page:
        page.page.goto(f"{site.url}/{address}")
        page.page.wait_for_function("() => document.documentElement.dataset.link === 'live' && bench.priced()")
        page.page.evaluate("() => bench.count()")
        page.warm_up(quick)
        yield page


def empty_percent(site: Site, quick: bool) -> float:
    """CPU of the renderer of the empty page, in percent of a core."""
    [import_map] = _IMPORT_MAP.findall((ROOT / "clients/web/index.html").read_text())
    body = (_HERE / "empty.html").read_text().replace("IMPORT_MAP", import_map)

    def fulfil(route: Route) -> None:
        route.fulfill(body=body, content_type="text/html")

    with watched() as page:
        page.page.context.grant_permissions(["local-network-access"])  # a fulfilled document has no address
        page.page.route(f"**/{EMPTY}", fulfil)
        page.page.goto(f"{site.url}/{EMPTY}")
        page.page.wait_for_function("() => document.documentElement.dataset.link === 'live' && bench.received > 0")
        page.warm_up(quick)
        window = page.watch(seconds_of(quick))
    return window.percent
