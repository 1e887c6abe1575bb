"""User callbacks, called in order in a thread of their own, so that they may send requests."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from tickwire_client.book_messages import Book, BookState, ScenarioChanged, ServerHeartbeat
from tickwire_client.messages import (
    AlertTriggered,
    CandleUpdate,
    Connected,
    CorrelationAlert,
    CredentialsExpiring,
    DataReady,
    Disconnected,
    Gap,
    InstrumentsChanged,
    Item,
    Problem,
    Refreshed,
    Tick,
    VolatilityAlert,
)
from tickwire_client.stream import Stream

log = logging.getLogger("tickwire_client")

Handler = Callable[[Any], object]
PriceT = TypeVar("PriceT", bound=Callable[[Tick], object])
GapT = TypeVar("GapT", bound=Callable[[Gap], object])
CandleT = TypeVar("CandleT", bound=Callable[[CandleUpdate], object])
BookT = TypeVar("BookT", bound=Callable[[Book], object])
BookStateT = TypeVar("BookStateT", bound=Callable[[BookState], object])
HeartbeatT = TypeVar("HeartbeatT", bound=Callable[[ServerHeartbeat], object])
ScenarioT = TypeVar("ScenarioT", bound=Callable[[ScenarioChanged], object])
AlertT = TypeVar("AlertT", bound=Callable[[AlertTriggered], object])
VolatilityT = TypeVar("VolatilityT", bound=Callable[[VolatilityAlert], object])
CorrelationT = TypeVar("CorrelationT", bound=Callable[[CorrelationAlert], object])
ReadyT = TypeVar("ReadyT", bound=Callable[[DataReady], object])
ChangeT = TypeVar("ChangeT", bound=Callable[[InstrumentsChanged], object])
ConnectT = TypeVar("ConnectT", bound=Callable[[Connected], object])
DisconnectT = TypeVar("DisconnectT", bound=Callable[[Disconnected], object])
ExpiringT = TypeVar("ExpiringT", bound=Callable[[CredentialsExpiring], object])
RefreshedT = TypeVar("RefreshedT", bound=Callable[[Refreshed], object])
ErrorT = TypeVar("ErrorT", bound=Callable[[Problem], object])


class Handlers:
    """Registers callbacks: `client.on_…(function)` or the decorator `@client.on_…`.

    Each event may have several callbacks.
    """

    def __init__(self, limit: int) -> None:
        self._handlers: dict[type[Item], list[Handler]] = {}  # class of item -> callbacks
        self._stream: Stream[Item] | None = None
        self._limit = limit
        self._starting = threading.Lock()

    def on_price(self, handler: PriceT) -> PriceT:
        """Called with each price of a subscribed instrument."""
        self._add(Tick, handler)
        return handler

    def on_gap(self, handler: GapT) -> GapT:
        """Called with each gap: messages that were missed for good."""
        self._add(Gap, handler)
        return handler

    def on_candle(self, handler: CandleT) -> CandleT:
        """Called when a subscribed candle changes."""
        self._add(CandleUpdate, handler)
        return handler

    def on_book(self, handler: BookT) -> BookT:
        """Called with a subscribed book after each of its messages."""
        self._add(Book, handler)
        return handler

    def on_book_state(self, handler: BookStateT) -> BookStateT:
        """Called when the state of a subscribed book changes."""
        self._add(BookState, handler)
        return handler

    def on_heartbeat(self, handler: HeartbeatT) -> HeartbeatT:
        """Called with each heartbeat, after `subscribe(heartbeat=True)`."""
        self._add(ServerHeartbeat, handler)
        return handler

    def on_scenario_changed(self, handler: ScenarioT) -> ScenarioT:
        """Called when another scenario begins, after `subscribe(heartbeat=True)`."""
        self._add(ScenarioChanged, handler)
        return handler

    def on_alert(self, handler: AlertT) -> AlertT:
        """Called when an own alert of this client fires."""
        self._add(AlertTriggered, handler)
        return handler

    def on_volatility_alert(self, handler: VolatilityT) -> VolatilityT:
        """Called with each volatility alert of a subscribed instrument."""
        self._add(VolatilityAlert, handler)
        return handler

    def on_correlation_alert(self, handler: CorrelationT) -> CorrelationT:
        """Called with each correlation alert, if one of its two instruments is subscribed."""
        self._add(CorrelationAlert, handler)
        return handler

    def on_data_ready(self, handler: ReadyT) -> ReadyT:
        """Called when new analytics are available over REST."""
        self._add(DataReady, handler)
        return handler

    def on_instruments_changed(self, handler: ChangeT) -> ChangeT:
        """Called when instruments were added or removed."""
        self._add(InstrumentsChanged, handler)
        return handler

    def on_connect(self, handler: ConnectT) -> ConnectT:
        """Called after each connection. The client then renews its subscriptions itself."""
        self._add(Connected, handler)
        return handler

    def on_disconnect(self, handler: DisconnectT) -> DisconnectT:
        """Called when the connection is lost, or when an attempt to reconnect fails."""
        self._add(Disconnected, handler)
        return handler

    def on_credentials_expiring(self, handler: ExpiringT) -> ExpiringT:
        """Called before the credential expires. The client calls the function `auth` itself."""
        self._add(CredentialsExpiring, handler)
        return handler

    def on_refreshed(self, handler: RefreshedT) -> RefreshedT:
        """Called when the hub has accepted another token on this connection."""
        self._add(Refreshed, handler)
        return handler

    def on_error(self, handler: ErrorT) -> ErrorT:
        """Called with each error that answers no request: `unavailable`, `unauthorized`, …"""
        self._add(Problem, handler)
        return handler

    def _add(self, kind: type[Item], handler: Handler) -> None:
        with self._starting:
            self._handlers.setdefault(kind, []).append(handler)
            if self._stream is None:
                self._stream = Stream(lambda item: type(item) in self._handlers, self._limit)
                threading.Thread(target=self._serve, args=(self._stream,), name="tickwire-handlers", daemon=True).start()

    def _notify(self, item: Item) -> None:
        if self._stream is not None:
            self._stream.put(item)

    def _close_handlers(self) -> None:
        if self._stream is not None:
            self._stream.close()

    def _serve(self, stream: Stream[Item]) -> None:
        for item in stream:
            for handler in self._handlers.get(type(item), ()):
                try:
                    handler(item)
                except Exception:
                    log.exception("handler failed")
