"""The figures of the view `#/trading` as the page shows them, and reports of bots for it."""

from __future__ import annotations

import json
import urllib.request
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from tests.support.sites import Site

if TYPE_CHECKING:
    from playwright.sync_api import Page

_CELLS = """(elements) => elements.map((row) => Object.fromEntries(
    [...row.querySelectorAll("[data-name]")].map((cell) => [cell.dataset.name, cell.textContent])))"""


def panel(title: str) -> str:
    """Return the selector of a panel by its title."""
    return f'section.panel[aria-label="{title}"]'


def rows(page: Page, title: str) -> list[dict[str, str]]:
    """Return the rows of a panel's table: name of the column -> text."""
    found: list[dict[str, str]] = page.locator(f"{panel(title)} tbody tr").evaluate_all(_CELLS)
    return found


def figures(page: Page, title: str) -> dict[str, str]:
    """Return the named figures of a panel: name -> text."""
    found: list[dict[str, str]] = page.locator(f"{panel(title)} dl").evaluate_all(_CELLS)
    return found[0] if found else {}


def state(page: Page, title: str) -> str | None:
    """Return the state of a panel: `loading`, `ready`, `empty`, `error`, `forbidden`, `limited`."""
    return page.locator(panel(title)).get_attribute("data-state")


def value(text: str) -> Decimal | None:
    """Return the number in a text of the page; None if the page has no value."""
    plain = text.replace("\u2212", "-").replace("incomplete ", "").lstrip("!+ ")
    return None if plain == "–" else Decimal(plain.split(" ")[0])


def exact(site: Site, path: str) -> Any:
    """Return the JSON of REST with all digits of its numbers."""
    request = urllib.request.Request(site.url + path, headers={"Accept": "application/json"})  # noqa: S310
    with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
        return json.loads(answer.read(), parse_float=Decimal)


def equal(text: str, given: Any) -> bool:
    """Return whether the text of the page is the value of the API, digit by digit."""
    found = value(text)
    return found is None if given is None else found == Decimal(str(given))


def moment(seconds_ago: float) -> str:
    return (datetime.now(UTC) - timedelta(seconds=seconds_ago)).isoformat().replace("+00:00", "Z")


def filled(number: int, bot: str, strategy: str, symbol: str, side: str, quantity: str, price: str, fee: str) -> list[dict[str, Any]]:
    """Return the reports of order `number` and of the fill that completes it."""
    common = {"bot": bot, "strategy": strategy, "symbol": symbol, "side": side, "quantity": quantity, "order_id": f"o-{number}"}
    begun, done = moment(100 - number), moment(100 - number - 0.03)
    return [
        {
            **common, "kind": "order", "id": f"o-{number}-new", "time": begun, "order_type": "market", "status": "new",
            "arrival_price": price,
        },
        {
            **common, "kind": "fill", "id": f"f-{number}", "fill_id": f"f-{number}", "time": done, "price": price, "fee": fee,
            "fee_currency": "USD", "liquidity": "taker",
        },
        {**common, "kind": "order", "id": f"o-{number}-end", "time": done, "order_type": "market", "status": "filled"},
    ]  # fmt: skip
