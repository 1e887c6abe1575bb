"""The fixtures of this folder: a page notices what it must not do."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.pages import Chromium, require_chromium
from tests.support.sites import Site


def test_a_page_that_complains_or_leaves_its_origins_fails(chromium: Chromium, site: Site) -> None:
    with chromium.opened() as pages:
        pages.allow_origin(site.url)
        page = pages.open(f"{site.url}/health/live")
        pages.allow("favicon.ico")  # the answer is no page of ours
        pages.check()
        page.evaluate("console.log('one'); fetch('http://example.com/').catch(() => null); setTimeout(() => { throw Error('two') })")
        page.evaluate("document.body.append(Object.assign(document.createElement('img'), {src: 'http://127.0.0.1:1/x.png'}))")
        page.wait_for_timeout(1)
        found = "\n".join(pages.remaining())
        for text in ("log: one", "Error: two", "another origin: GET http://example.com/", "another origin: GET http://127.0.0.1:1/x.png"):
            assert text in found
        with pytest.raises(AssertionError):
            pages.check()
        pages.allow("one", "two", "example.com", "127.0.0.1:1/")
        pages.check()


def test_a_loop_of_another_test_runs_beside_the_browser() -> None:
    asyncio.run(asyncio.sleep(0))


def test_without_chromium_a_test_skips_and_fails_with_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception):
        require_chromium()
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception):
        require_chromium()
