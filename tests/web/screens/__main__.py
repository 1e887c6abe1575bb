"""Take every picture of the dashboard: `make screenshots`, or `python -m tests.web.screens NAME …`.

With `--texts FILE` the texts on the screens are written too, so that two runs can be compared.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from PIL import Image
from playwright.sync_api import Error as PlaywrightError
from playwright.sync_api import Page

from tests.support.pages import Chromium, executable
from tests.web.screens.recording import MOMENT, ROOT
from tests.web.screens.shots import SHOTS, Shot
from tests.web.screens.stage import SATURDAY, SATURDAY_PRICES, Stage, started

IMAGES = ROOT / "docs" / "images"
_COLOURS = 256
_SETTLED_MS = 1500  # for charts and what is painted once a second
_READY = '() => ![...document.querySelectorAll("[data-state=loading]")].some((each) => each.checkVisibility())'


class Stages:
    """The stage of the pictures, and those that begin with their first picture."""

    def __init__(self, main: Stage, stack: ExitStack, chromium: Chromium) -> None:
        self._main, self._stack, self._chromium = main, stack, chromium
        self._found: dict[str, Stage] = {"main": main}

    def named(self, name: str) -> Stage:
        """Return the stage of this name."""
        if name not in self._found:
            self._found[name] = self._stack.enter_context(self._begun(name))
        return self._found[name]

    @contextmanager
    def _begun(self, name: str) -> Iterator[Stage]:
        variables = {"access": {"AUTH": "required"}, "full": {"WEBSOCKET_MAX_CLIENTS": "1"}}.get(name, {})
        with self._main.at(SATURDAY if name == "saturday" else MOMENT, name, **variables) as stage:
            if name == "saturday":
                _trade_crypto(stage)
            if name == "full":
                with self._chromium.opened() as pages:
                    pages.open(stage.view()).wait_for_selector("html[data-link=live]")
                    yield stage
                return
            yield stage


def _trade_crypto(stage: Stage) -> None:
    """Publish prices of the market that is open on a Saturday."""
    for symbol, (bid, ask) in SATURDAY_PRICES.items():
        stage.bus.cache_price(symbol, bid=bid, ask=ask, time=stage.moment)


def take(shot: Shot, stage: Stage, chromium: Chromium) -> tuple[bytes, str]:
    """Return the picture as PNG, and the text on the screen."""
    width, height = shot.size
    with chromium.opened() as pages:
        page = pages.open(viewport={"width": width, "height": height}, color_scheme=shot.theme)
        for name, value in shot.storage.items():
            page.add_init_script(f"localStorage.setItem('tickwire.{name}', {json.dumps(json.dumps(value))})")
        page.clock.set_fixed_time(stage.moment)
        shot.before(page, stage)
        page.goto(stage.view(shot.address))
        page.wait_for_selector(f"html[data-link={shot.link}]")
        _await_panels(page, shot)
        shot.after(page, stage)
        if shot.ends:
            page.wait_for_selector(f"html[data-link={shot.ends}]")
        _await_panels(page, shot)
        page.wait_for_timeout(_SETTLED_MS)
        return page.screenshot(animations="disabled", caret="hide"), _text(page)


def _await_panels(page: Page, shot: Shot) -> None:
    """Wait until no panel loads, unless the page is not connected, or the picture shows loading."""
    if "loading" not in shot.name and page.evaluate("() => document.documentElement.dataset.link") == "live":
        page.wait_for_function(_READY)


def _text(page: Page) -> str:
    return str(page.evaluate("() => document.body.innerText"))


def packed(picture: bytes) -> bytes:
    """Return the picture with a palette: one third of the size."""
    image = Image.open(io.BytesIO(picture)).convert("RGB").quantize(_COLOURS, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    found = io.BytesIO()
    image.save(found, "PNG", optimize=True)
    return found.getvalue()


def main(arguments: Sequence[str]) -> None:
    """Take the pictures whose names are given, or all."""
    parser = argparse.ArgumentParser(prog="python -m tests.web.screens")
    parser.add_argument("names", nargs="*")
    parser.add_argument("--texts", type=Path)
    wanted = parser.parse_args(arguments)
    path = executable()
    if path is None:
        sys.exit("there is no Chromium on this machine: apt-get install chromium-headless-shell fonts-dejavu-core")
    texts: dict[str, str] = {}
    failed: list[str] = []
    with tempfile.TemporaryDirectory() as folder, started(Path(folder)) as main_stage, ExitStack() as stack:
        chromium = Chromium(path)
        stack.callback(chromium.close)
        stages = Stages(main_stage, stack, chromium)
        for shot in SHOTS:
            if wanted.names and shot.name not in wanted.names:
                continue
            try:
                picture, texts[shot.name] = take(shot, stages.named(shot.on), chromium)
            except PlaywrightError as error:
                failed.append(f"{shot.name}: {error.message.splitlines()[0]}")
                continue
            file = IMAGES / f"dashboard-{shot.name}.png"
            file.write_bytes(packed(picture))
            print(f"{file.relative_to(ROOT)}: {file.stat().st_size:,} bytes", flush=True)
    if wanted.texts:
        wanted.texts.write_text(json.dumps(texts, indent=1))
    if failed:
        sys.exit("\n".join(failed))


if __name__ == "__main__":
    main(sys.argv[1:])
