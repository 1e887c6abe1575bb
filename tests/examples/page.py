"""A page in a real browser, watched through its debugging protocol."""

from __future__ import annotations

import json
import sys
import urllib.request
from pathlib import Path

from websockets.asyncio.client import connect

from tests.conftest import until
from tests.processes import Running, free_port


async def texts(browser: str, folder: Path, page: str, element: str, lines: int) -> list[str]:
    """The lines of the element with that id of `folder`/`page`, as soon as it has so many."""
    port, profile = free_port(), folder / "profile"
    url = f"http://127.0.0.1:{port}/{page}"
    server = Running(
        [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1", "--directory", str(folder)], {}, folder / "http.log"
    )
    options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0", f"--user-data-dir={profile}", "about:blank"]
    with server, Running([browser, *options], {}, folder / "browser.log"):
        until(lambda: _is_there(url), 30, "the page's server")
        until((profile / "DevToolsActivePort").exists, 30, "the browser")
        debugger = until(lambda: _debugger((profile / "DevToolsActivePort").read_text().split("\n")[0]), 30, "the browser's page")
        async with connect(str(debugger), max_size=None) as socket:
            await socket.send(json.dumps({"id": 1, "method": "Page.navigate", "params": {"url": url}}))
            for number in range(2, 10_000):
                text = f"document.getElementById('{element}')?.textContent ?? ''"
                await socket.send(json.dumps({"id": number, "method": "Runtime.evaluate", "params": {"expression": text}}))
                while (answer := json.loads(await socket.recv())).get("id") != number:
                    pass
                if len(found := str(answer["result"]["result"].get("value", "")).splitlines()) >= lines:
                    return found
    raise AssertionError(f"never {lines} lines in {element}")


def _is_there(url: str) -> bool:
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
