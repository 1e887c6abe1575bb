"""A page in a real browser, driven through its debugging protocol."""

from __future__ import annotations

import json
import shutil
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

from tests.conftest import until
from tests.support.processes import Running, free_port

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
MISSING = "there is no Chromium on this machine"  # the reason to skip a test if `BROWSER` is None

_OPTIONS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--disable-sync",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--remote-debugging-port=0",
]


class Page:
    """An open page. `complaints` has the errors of its console and its scripts."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._number = 0
        self.complaints: list[str] = []
        for domain in ("Runtime", "Log", "Page"):
            self._command(f"{domain}.enable")

    def go(self, url: str) -> None:
        answer = self._command("Page.navigate", url=url)
        assert "errorText" not in answer, answer

    def evaluate(self, expression: str) -> Any:
        """Return the value of a JavaScript expression; None for undefined."""
        return self._command("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    def _command(self, method: str, **params: Any) -> Any:
        self._number += 1
        self._socket.send(json.dumps({"id": self._number, "method": method, "params": params}))
        while (answer := json.loads(self._socket.recv(120))).get("id") != self._number:
            if answer.get("method") in ("Runtime.exceptionThrown", "Log.entryAdded"):
                self.complaints.append(json.dumps(answer["params"])[:1000])
        return answer["result"]


@contextmanager
def opened(folder: Path, path: str, profile: Path) -> Iterator[Page]:
    """Serve the folder and open its page `path`."""
    assert BROWSER is not None, MISSING
    port = free_port()
    served = [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1", "--directory", str(folder)]
    browser = Running([BROWSER, *_OPTIONS, f"--user-data-dir={profile}", "about:blank"], {}, profile.with_suffix(".log"))
    with Running(served, {}, profile.with_suffix(".http.log")), browser:
        until(lambda: _answers(f"http://127.0.0.1:{port}/{path}"), 30, "the page's server")
        until((profile / "DevToolsActivePort").exists, 60, lambda: f"the browser: {browser.output()[-2000:]}")
        debugger = until(lambda: _debugger((profile / "DevToolsActivePort").read_text().split("\n")[0]), 30, "the browser's page")
        with connect(str(debugger), max_size=None) as socket:
            page = Page(socket)
            page.go(f"http://127.0.0.1:{port}/{path}")
            yield page


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):  # noqa: S310
            return True
    except OSError:
        return False


def _debugger(port: str) -> str | None:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/json", timeout=5) as answer:
            return next((str(each["webSocketDebuggerUrl"]) for each in json.load(answer) if each["type"] == "page"), None)
    except OSError:
        return None
