"""Functions of the user's that are told what comes: in order, in one thread of their own, so that they may make requests."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from tickwire_client.messages import (
    AlertTriggered,
    CandleUpdate,
    Connected,
    CorrelationAlert,
    DataReady,
    Disconnected,
    Gap,
    Item,
    Problem,
    Tick,
    VolatilityAlert,
)
from tickwire_client.stream import Stream

log = logging.getLogger("tickwire_client")

Handler = Callable[[Any], object]
PriceT = TypeVar("PriceT", bound=Callable[[Tick], object])
GapT = TypeVar("GapT", bound=Callable[[Gap], object])
CandleT = TypeVar("CandleT", bound=Callable[[CandleUpdate], object])
AlertT = TypeVar("AlertT", bound=Callable[[AlertTriggered], object])
VolatilityT = TypeVar("VolatilityT", bound=Callable[[VolatilityAlert], object])
CorrelationT = TypeVar("CorrelationT", bound=Callable[[CorrelationAlert], object])
ReadyT = TypeVar("ReadyT", bound=Callable[[DataReady], object])
ConnectT = TypeVar("ConnectT", bound=Callable[[Connected], object])
DisconnectT = TypeVar("DisconnectT", bound=Callable[[Disconnected], object])
ErrorT = TypeVar("ErrorT", bound=Callable[[Problem], object])


class Handlers:
    """`client.on_…(function)`, or `@client.on_…` above it. Each kind may have several."""

    def __init__(self, limit: int) -> None:
        self._handlers: dict[type[Item], list[Handler]] = {}  # kind of item -> functions
        self._stream: Stream[Item] | None = None
        self._limit = limit
        self._starting = threading.Lock()

    def on_price(self, handler: PriceT) -> PriceT:
        """A price of an instrument that is subscribed to."""
        self._add(Tick, handler)
        return handler

    def on_gap(self, handler: GapT) -> GapT:
        """Messages that will not come."""
        self._add(Gap, handler)
        return handler

    def on_candle(self, handler: CandleT) -> CandleT:
        """A candle has changed."""
        self._add(CandleUpdate, handler)
        return handler

    def on_alert(self, handler: AlertT) -> AlertT:
        """An alert of this client's own has fired."""
        self._add(AlertTriggered, handler)
        return handler

    def on_volatility_alert(self, handler: VolatilityT) -> VolatilityT:
        """An instrument moves much; comes where its prices are subscribed to."""
        self._add(VolatilityAlert, handler)
        return handler

    def on_correlation_alert(self, handler: CorrelationT) -> CorrelationT:
        """Two instruments move together otherwise than before; comes where either's prices are subscribed to."""
        self._add(CorrelationAlert, handler)
        return handler

    def on_data_ready(self, handler: ReadyT) -> ReadyT:
        """New analytics can be read over REST."""
        self._add(DataReady, handler)
        return handler

    def on_connect(self, handler: ConnectT) -> ConnectT:
        """Connected, for the first time or again; what was subscribed to is being subscribed to again."""
        self._add(Connected, handler)
        return handler

    def on_disconnect(self, handler: DisconnectT) -> DisconnectT:
        """The connection was lost, or an attempt to renew it failed; the client goes on trying."""
        self._add(Disconnected, handler)
        return handler

    def on_error(self, handler: ErrorT) -> ErrorT:
        """The hub tells a problem, such as that it stops (`unavailable`)."""
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
                    log.exception("a handler failed")
