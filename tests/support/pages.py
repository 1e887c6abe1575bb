"""Pages in Chromium, driven by Playwright. They fail their test if they do anything unexpected.

Playwright marks its event loop as the running one of the thread for as long as it lives, so that
`asyncio.run` of later tests would fail. `Chromium` takes the mark away between its tests.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, expect, sync_playwright

from tests.support.network import unchanged
from tests.support.polling import PATIENCE

TIMEOUT_MS = 30_000 * PATIENCE
expect.set_options(timeout=TIMEOUT_MS)
VIEWPORT = {"width": 1440, "height": 900}
# All hosts but this machine's are unreachable. HTTP/3 and updates would try others.
_ARGUMENTS = [
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost, EXCLUDE *.localhost, EXCLUDE ::1",
    "--disable-quic",
    "--no-proxy-server",
]
_LIKE_WEB = {"ws": "http", "wss": "https"}
# A violation of the content security policy becomes a message of the console.
_VIOLATIONS = """document.addEventListener("securitypolicyviolation", (event) =>
    console.error(`CSP: ${event.violatedDirective} ${event.blockedURI} ${event.sample}`));"""


def executable() -> str | None:
    """Return the path of Chromium; None if the machine has none.

    The headless shell comes first: it has no interface of its own, which costs `chromium` a third
    of its CPU.
    """
    return shutil.which("chromium-headless-shell") or shutil.which("chromium")


def require_chromium() -> str:
    """Return the path of Chromium. Without one, skip the test, or fail it if CI is `true`."""
    if found := executable():
        return found
    if os.environ.get("CI") == "true":
        pytest.fail("there is no Chromium on this machine: .ci/run installs it")
    pytest.skip("there is no Chromium on this machine")


class Chromium:
    """One browser. `used` encloses every use of it."""

    def __init__(self, path: str) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        with self.used():
            self._playwright = sync_playwright().start()
            self._browser: Browser = self._playwright.chromium.launch(executable_path=path, args=_ARGUMENTS)

    @contextmanager
    def used(self) -> Iterator[None]:
        """Mark Playwright's loop as the running one for the block."""
        before = asyncio._get_running_loop()
        asyncio._set_running_loop(self._loop)
        try:
            yield
        finally:
            self._loop = asyncio._get_running_loop()
            asyncio._set_running_loop(before)

    @contextmanager
    def opened(self, **options: Any) -> Iterator[Pages]:
        """Yield the pages of one test, and close them. `options` are those of their contexts."""
        with unchanged(), self.used():
            pages = Pages(self._browser, options)
            try:
                yield pages
            finally:
                pages.close()

    def close(self) -> None:
        """End the browser and the driver."""
        with self.used():
            self._browser.close()
            self._playwright.stop()


class Pages:
    """The pages of one test, each in a context of its own unless it shares one.

    `complaints` are the messages of all consoles, uncaught errors, violations of the content
    security policy, and requests to other origins than `origins`. `check` fails if there is one
    that no pattern of `allow` matches.
    """

    def __init__(self, browser: Browser, options: dict[str, Any]) -> None:
        self._browser, self._options = browser, options
        self._contexts: list[BrowserContext] = []
        self._allowed: list[re.Pattern[str]] = []
        self.origins: set[str] = set()
        self.complaints: list[str] = []
        self.requests: list[str] = []  # "METHOD URL", WebSockets included

    def allow(self, *patterns: str) -> None:
        """Except complaints that a pattern matches somewhere: those which the test causes."""
        self._allowed += [re.compile(pattern) for pattern in patterns]

    def allow_origin(self, *urls: str) -> None:
        """Let pages send requests to the origins of these URLs."""
        self.origins.update(_origin(url) for url in urls)

    def open(self, url: str | None = None, *, context: BrowserContext | None = None, **options: Any) -> Page:
        """Return a new page that shows the URL; `options` are those of its context."""
        if context is None:
            context = self._make_context(options)
        page = context.new_page()
        if url is not None:
            page.goto(url)
        return page

    def _make_context(self, options: dict[str, Any]) -> BrowserContext:
        defaults = {"viewport": VIEWPORT, "color_scheme": "dark", "locale": "en-GB", "timezone_id": "UTC"}
        context = self._browser.new_context(**{**defaults, **self._options, **options})
        self._contexts.append(context)
        context.set_default_timeout(TIMEOUT_MS)
        context.add_init_script(_VIOLATIONS)
        context.on("console", self._note_console)
        context.on("weberror", lambda error: self.complaints.append(f"uncaught: {error.error.stack or error.error}"))
        context.on("request", lambda request: self._note_request(request.method, request.url))
        context.on("page", lambda page: page.on("websocket", lambda socket: self._note_request("WS", socket.url)))
        return context

    def _note_console(self, message: ConsoleMessage) -> None:
        place = message.location.get("url", "")
        self.complaints.append(f"{message.type}: {message.text} ({place})")

    def _note_request(self, method: str, url: str) -> None:
        self.requests.append(f"{method} {url}")
        if urlsplit(url).scheme not in ("data", "blob", "about") and _origin(url) not in self.origins:
            self.complaints.append(f"request to another origin: {method} {url}")

    def remaining(self) -> list[str]:
        """Return the complaints that are not allowed."""
        return [text for text in self.complaints if not any(pattern.search(text) for pattern in self._allowed)]

    def check(self, server_log: Callable[[], str] = str) -> None:
        """Fail if there is a complaint that is not allowed; `server_log` may name its cause."""
        self._receive_events()
        if remaining := self.remaining():
            raise AssertionError("the page complained:\n" + "\n".join([*remaining, server_log()]))

    def _receive_events(self) -> None:
        for context in self._contexts:
            for page in context.pages:
                page.title()  # a request to the browser: its events so far arrive before the answer

    def close(self) -> None:
        """Close every page."""
        for context in self._contexts:
            context.close()
        self._contexts.clear()


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{_LIKE_WEB.get(parts.scheme, parts.scheme)}://{parts.netloc}"


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve the files of a folder; yield its URL without a slash at the end."""

    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args, directory=str(folder))

        def log_message(self, *_: Any) -> None:
            """Print nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
