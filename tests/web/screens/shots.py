"""The pictures: for each one a view, a size, a theme, and what happens before it is taken."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from datetime import timedelta

from playwright.sync_api import Page, Route, WebSocketRoute

from db.timestamps import format_time
from db.topics import PRICES
from tests.support.access import UNKNOWN_KEY
from tests.support.polling import until
from tests.web.screens import content
from tests.web.screens.stage import Stage

WIDE, MEDIUM, NARROW = (1440, 900), (1024, 768), (390, 844)
_QUIET_MS = 1500
Action = Callable[[Page, Stage], None]


def nothing(page: Page, stage: Stage) -> None:
    """Cause nothing."""


@dataclass(frozen=True, slots=True)
class Shot:
    """One picture. `before` acts on the empty page, `after` when it is live. `on` names a stage."""

    name: str
    address: str = "#/"
    size: tuple[int, int] = WIDE
    theme: str = "dark"
    before: Action = nothing
    after: Action = nothing
    on: str = "main"
    link: str = "live"  # `data-link` before `after`
    ends: str = ""  # `data-link` of the picture, if it is another one
    storage: dict[str, object] = field(default_factory=dict)


# causes


def _route(pattern: str, handler: Callable[[Route], object]) -> Action:
    def act(page: Page, stage: Stage) -> None:
        page.route(re.compile(pattern), handler)

    return act


def _answer(status: int, code: str, **details: object) -> Callable[[Route], object]:
    error = {"code": code, "message": "A cause of this picture.", "details": details}
    return lambda route: route.fulfill(status=status, json={"error": error}, headers={"Retry-After": "20"})


def _no_alerts(route: Route) -> None:
    route.fulfill(json={"alerts": [], "count": 0, "next_page_token": None})


def _sockets(allowed: Callable[[int], bool]) -> Action:
    """Let the connections to the hub through whose number is allowed, and close the others."""

    def before(page: Page, stage: Stage) -> None:
        sockets: list[WebSocketRoute] = []

        def connect(socket: WebSocketRoute) -> None:
            if allowed(len(sockets)):
                socket.connect_to_server()
            else:
                socket.close()
            sockets.append(socket)

        page.route_web_socket(lambda url: url.startswith("ws"), connect)
        vars(page)["sockets"] = sockets

    return before


def _silence(page: Page, stage: Stage) -> None:
    """Accept connections to the hub and answer none, WebSocket or long-polling."""
    page.route_web_socket(lambda url: url.startswith("ws"), lambda socket: None)
    page.route(re.compile(r"/socket\.io/"), lambda route: None)


def _lose(page: Page, stage: Stage) -> None:
    """End the connection that `_sockets` made."""
    vars(page)["sockets"][0].close()


def _lose_and_change_version(page: Page, stage: Stage) -> None:
    """Another version runs after the connection was lost and restored."""
    page.route(re.compile(r"/config\.json"), lambda route: route.fulfill(json={**stage.get("/config.json"), "version": "0.2.0"}))
    _lose(page, stage)
    page.get_by_text("A new version is running").wait_for()


def _emit(name: str, body: object) -> Action:
    """Let the page handle a message of the hub."""
    return lambda page, stage: page.evaluate("([name, body]) => { tickwire.hub.emit(name, body) }", [name, body])


def _pause(page: Page, stage: Stage) -> None:
    page.wait_for_timeout(_QUIET_MS)  # what is painted once a second is there
    page.keyboard.press("f")
    page.wait_for_selector("html[data-link=paused]")
    stage.bus.cache_price("EUR_USD", bid="1.38741", ask="1.38755", time=stage.moment)  # as before
    until(lambda: not stage.bus.unstored(PRICES), what="the price in the store")


def _dialog(page: Page, stage: Stage) -> None:
    page.get_by_role("button", name=re.compile("^Acknowledge")).first.click()
    page.wait_for_selector("dialog[open]")


def _heartbeats(page: Page, stage: Stage) -> None:
    """Ten minutes of a scenario, one heartbeat in five seconds; each one reaches the page."""
    page.evaluate("() => { globalThis.beats = 0; tickwire.hub.on('heartbeat', () => { beats += 1; }); }")
    with stage.beating:
        page.wait_for_timeout(_QUIET_MS)  # the last regular one is under way
        page.evaluate("() => { globalThis.beats = 0; }")
        for count, number in enumerate(range(4, 600, 5), 1):
            moment = stage.moment - timedelta(seconds=599 - number)
            with closing(stage.bus_at(moment)) as bus:
                content.publish_heartbeat(bus, moment, number)
            page.wait_for_function("(count) => globalThis.beats >= count", arg=count)


def _sign_in(make: Callable[[Stage], str], after: Action = nothing) -> Action:
    """Sign in with the key that `make` returns."""

    def act(page: Page, stage: Stage) -> None:
        field = page.locator("input[type=password]").first
        field.fill(make(stage))
        field.press("Enter")
        after(page, stage)

    return act


def _reader(stage: Stage) -> str:
    return stage.new_key("read")


def _revoke(page: Page, stage: Stage) -> None:
    """Revoke the key after it was used."""
    page.wait_for_selector("html[data-link=live]")
    key = str(page.evaluate("() => sessionStorage.getItem('tickwire.credential')"))
    stage.keys.revoke(key)
    page.wait_for_selector("html[data-link=signed-out]")


def _expire(page: Page, stage: Stage) -> None:
    """Let the page handle `credentials_expiring` of the hub: 90 seconds remain."""
    page.wait_for_selector("html[data-link=live]")
    body = {"expires_at": format_time(stage.moment + timedelta(seconds=90))}
    page.evaluate("(body) => { tickwire.hub.emit('expiring', body) }", body)


def _refused(page: Page, stage: Stage) -> None:
    page.get_by_text("was refused").wait_for()


def _wait_for_no_hub(page: Page, stage: Stage) -> None:
    page.get_by_text("No hub at").wait_for()


VIEWS = {
    "market": "#/",
    "instrument": "#/i/EUR_USD?interval=5m",
    "ladder": "#/book/BTCUSDT?depth=20",
    "analytics": "#/analytics",
    "alerts": "#/alerts",
    "trading": "#/trading",
    "scenarios": "#/scenarios",
    "system": "#/system",
}
_OTHER = {"scenarios": _heartbeats}
SHOTS = [
    *(Shot(name, address, after=_OTHER.get(name, nothing)) for name, address in VIEWS.items()),
    *(Shot(f"{name}-light", VIEWS[name], theme="light") for name in ("market", "instrument", "analytics", "trading")),
    Shot("instrument-green-red", VIEWS["instrument"], storage={"palette": "green-red"}),
    *(Shot(f"{name}-medium", VIEWS[name], MEDIUM) for name in ("market", "instrument")),
    *(Shot(f"{name}-narrow", VIEWS[name], NARROW) for name in ("market", "instrument", "alerts", "trading")),
    Shot("acknowledge", VIEWS["alerts"], after=_dialog),
    Shot("state-loading", before=_route(r":\d+/(market|alerts)(\?|$)", lambda route: None)),
    Shot("state-empty", VIEWS["alerts"], before=_route(r":\d+/alerts", _no_alerts)),
    Shot("state-paused", after=_pause),
    Shot("state-unavailable", VIEWS["analytics"], before=_route(r":\d+/(volatility|correlation)", _answer(503, "unavailable"))),
    Shot("state-limited", VIEWS["analytics"], before=_route(r":\d+/(volatility|correlation)", _answer(429, "too_many_requests"))),
    Shot("state-forbidden", VIEWS["scenarios"], before=_route(r":\d+/scenarios", _answer(403, "forbidden", scope="operate"))),
    Shot("state-epoch", after=_emit("epoch", {})),
    Shot("state-slow", after=_emit("gap_notice", {"dropped": {"EUR_USD": 210, "GBP_USD": 164}})),
    Shot("state-gap", after=_emit("gap", {"event": "price_update", "instrument": "USD_JPY", "missed": 12, "reason": "log"})),
    Shot("state-reconnecting", before=_sockets(lambda number: number == 0), after=_lose, ends="reconnecting"),
    Shot("state-new-version", before=_sockets(lambda number: True), after=_lose_and_change_version),
    Shot("state-no-hub", before=_silence, link="connecting", after=_wait_for_no_hub, ends="connecting"),
    Shot("state-refused", on="full", link="refused"),
    Shot("state-expiring", on="access", link="signed-out", after=_sign_in(_reader, _expire)),
    Shot("state-signed-out", on="access", link="signed-out"),
    Shot("state-refused-key", on="access", link="signed-out", after=_sign_in(lambda _: UNKNOWN_KEY, _refused)),
    Shot("state-revoked", on="access", link="signed-out", after=_sign_in(_reader, _revoke)),
    Shot("state-no-scope", VIEWS["alerts"], on="access", link="signed-out", after=_sign_in(_reader), ends="live"),
    # the last one, because its prices are newer
    Shot("state-closed", on="saturday"),
]
