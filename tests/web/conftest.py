"""The site that all tests of the dashboard share, and pages on it.

`site` is one for all of them: list a new file that uses it in `tests/support/order.py`, so that one
worker runs all such files. A module that needs another one overrides it:

    @pytest.fixture(scope="module")
    def site(start_site: StartSite) -> Site:
        return start_site(AUTH="required")

`page` is a new page, empty at first: `page.goto(site.view("#/alerts"))`. `pages` opens further ones
and accepts what a test causes: `pages.allow("503")`. Tests that only read share `module_page`: each
new page costs most of a second of CPU.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.conftest import Servers
from tests.support.sites import Site, started
from tests.web.whole import SNAPSHOT_SECONDS, whole_site

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from tests.support.pages import Chromium, Pages

StartSite = Callable[..., Site]


@pytest.fixture(scope="package")
def shared_site(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The site of these tests. It ends with them, because an idle site costs processor time."""
    with started(servers, tmp_path_factory.mktemp("site"), VOLATILITY_THRESHOLDS="EUR_USD=0.004/0.005") as site:
        yield site


@pytest.fixture(scope="package")
def observed_site(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A site with an observer, for the tests of alerts and of bots."""
    with started(servers, tmp_path_factory.mktemp("observed"), "observer", METRIC_COLLECTION_INTERVAL=SNAPSHOT_SECONDS) as site:
        yield site


@pytest.fixture(scope="module")
def start_site(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartSite]:
    """Start a site that ends with the module; the arguments are those of `sites.started`."""
    with ExitStack() as stack:

        def start(*parts: str, **options: object) -> Site:
            return stack.enter_context(started(servers, tmp_path_factory.mktemp("site"), *parts, **options))  # type: ignore[arg-type]

        yield start


@pytest.fixture(scope="module")
def site(chromium: Chromium, shared_site: Site) -> Site:
    """The shared site, unless the module overrides this fixture."""
    return shared_site


@pytest.fixture
def pages(chromium: Chromium, site: Site) -> Iterator[Pages]:
    """Pages on the site. Their consoles stay empty, and requests reach REST and the hub alone."""
    with _checked(chromium, site) as pages:
        yield pages


@contextmanager
def _checked(chromium: Chromium, site: Site) -> Iterator[Pages]:
    with chromium.opened() as pages:
        pages.allow_origin(site.url, site.hub_url)
        pages.allow(r"status of 503 .*/health\)$")  # a site without jobs is not healthy
        yield pages
        pages.check(lambda: "\n".join(line for line in site.rest.output().splitlines() if '"ERROR"' in line))


@pytest.fixture
def page(pages: Pages) -> Page:
    """A new page of 1440×900, dark, in English and UTC."""
    return pages.open()


@pytest.fixture(scope="module")
def module_page(chromium: Chromium, site: Site) -> Iterator[Page]:
    """A page for all tests of the module that leave it as they found it."""
    with _checked(chromium, site) as pages:
        yield pages.open()


@pytest.fixture(scope="package")
def whole(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A site in which every view has content: see `tests.web.whole`."""
    with whole_site(servers, tmp_path_factory.mktemp("whole")) as site:
        yield site
