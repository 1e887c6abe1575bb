"""The pages /docs and /redoc in a browser: they take a key, and keep it in their memory alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest
from playwright.sync_api import Page

from config.access.keys import digest_of, new_key
from config.settings import Settings
from db.access_changes import lock_access
from db.api_keys import ApiKey, insert_key
from db.postgres import Store
from db.timestamps import utc_now
from tests.conftest import until
from tests.support.pages import Pages
from tests.support.processes import Web

SHOWN = {"docs": "#reader .opblock-summary-path", "redoc": "#reader h1"}
STATE = "document.querySelector('#key output').textContent"


@pytest.fixture(scope="module")
def key(shared_settings: Settings) -> str:
    key_id, text = new_key()
    with closing(Store(str(shared_settings.database_url))) as store, store.transaction() as cursor:
        lock_access(cursor)
        insert_key(cursor, ApiKey(key_id, "reader", digest_of(text), ("read",), ("*",), (), None, None, None, utc_now(), "ada"))
    return text


@pytest.fixture(scope="module")
def rest(shared_settings: Settings, key: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    with Web("rest", shared_settings, tmp_path_factory.mktemp("rest") / "rest.log", AUTH="required") as process:
        yield process


def enter(page: Page, key: str) -> None:
    page.evaluate(f"document.querySelector('#key input').value = '{key}'; document.querySelector('#key button').click()")


@pytest.mark.parametrize("name", SHOWN)
def test_reader_shows_the_document_for_a_key(pages: Pages, rest: Web, key: str, name: str) -> None:
    # refusals of keys; the icon; Redoc's logo, which the policy refuses; advice
    pages.allow("401", "favicon.ico", "cdn.redoc.ly", "^verbose")
    pages.allow_origin(rest.url)
    page = pages.open(f"{rest.url}/{name}")

    def shown() -> int:
        return int(page.evaluate(f"document.querySelectorAll('{SHOWN[name]}').length") or 0)

    until(lambda: page.evaluate(STATE) == "Callers need a key with the scope read.", 30, "the request for a key")
    enter(page, new_key()[1])
    until(lambda: page.evaluate(STATE) == "A valid credential is needed.", 30, "the refusal of a key")
    assert shown() == 0
    enter(page, key)
    until(shown, 60, lambda: f"the document; complaints: {pages.complaints}")
    field = "document.querySelector('#key input').value"
    kept = f"JSON.stringify([location.href, document.cookie, {{...localStorage}}, {{...sessionStorage}}, {field}])"
    assert page.evaluate(kept) == f'["{rest.url}/{name}","",{{}},{{}},""]'
    pages.check()
    if name == "docs":
        request_with_the_key(page)
    page.goto(f"{rest.url}/{name}")
    until(lambda: page.evaluate(STATE) == "Callers need a key with the scope read.", 30, "a page without a key")


def request_with_the_key(page: Page) -> None:
    """Let Swagger UI request /sessions."""
    for selector in (
        "#operations-sessions-get_sessions .opblock-summary-control",
        "#operations-sessions-get_sessions .try-out__btn",
        "#operations-sessions-get_sessions .execute",
    ):
        until(lambda selector=selector: page.evaluate(f"document.querySelector('{selector}') !== null"), 30, selector)  # type: ignore[misc]
        page.evaluate(f"document.querySelector('{selector}').click()")
    status = (
        "document.querySelector('#operations-sessions-get_sessions .live-responses-table tbody .response-col_status')?.textContent ?? ''"
    )
    until(lambda: str(page.evaluate(status)).startswith("200"), 30, "the answer with the key")
