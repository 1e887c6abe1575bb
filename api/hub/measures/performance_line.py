"""The line of the performance log about a hub."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from config.performance_log import RATE, Increase, Interval, Line, milliseconds
from db.measures import Lags

_SHARE = 0.99


class HubLine:
    """Clients, deliveries per second, and the lag of the relay that 99 % of the batches keep."""

    def __init__(self, clients: Callable[[], int], delivered: Callable[[], int], lags: Lags) -> None:
        self._clients = clients
        self._deliveries = Increase(delivered)
        self._lags = Interval(lags)

    def __call__(self, seconds: float) -> Iterable[Line]:
        """Return the line; the lag is in ms."""
        rate = round(self._deliveries.take() / seconds, 3)
        lag = self._lags.take().quantile(_SHARE)
        return [(RATE, {"clients": self._clients(), "deliveriesPerSecond": rate, "relayLag": milliseconds(lag)})]
