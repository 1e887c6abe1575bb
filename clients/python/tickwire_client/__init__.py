"""Python client of Tickwire.

It has live prices, candles, order books, alerts, the stored history, reports and metrics.

After a reconnection, each missed message arrives once and in order, or a `Gap` reports it.

with Client() as client:
    for tick in client.prices("EUR_USD"):
        print(tick.instrument, tick.bid, tick.ask)
"""

from tickwire_client.aio import AsyncClient, AsyncStream
from tickwire_client.book_messages import Book, BookLevel, BookState, BookWindow, ScenarioChanged, ServerHeartbeat
from tickwire_client.client import DEFAULT_URL, Client
from tickwire_client.credentials import Auth
from tickwire_client.errors import Closed, ConnectionFailed, Refused, RequestTimeout, TickwireError, Unauthorized
from tickwire_client.messages import (
    Alert,
    AlertTriggered,
    CandleUpdate,
    Connected,
    CorrelationAlert,
    CredentialsExpiring,
    DataReady,
    Disconnected,
    Gap,
    InstrumentsChanged,
    MetricsSnapshot,
    Position,
    Problem,
    Quote,
    Refreshed,
    Tick,
    VolatilityAlert,
)
from tickwire_client.observing import Acknowledgement
from tickwire_client.publishing import PublishResult
from tickwire_client.reports import Correction, Fill, Heartbeat, OpenPosition, Order, Report, ReportResult, Signal
from tickwire_client.stream import Stream

__all__ = [
    "DEFAULT_URL",
    "Acknowledgement",
    "Alert",
    "AlertTriggered",
    "AsyncClient",
    "AsyncStream",
    "Auth",
    "Book",
    "BookLevel",
    "BookState",
    "BookWindow",
    "CandleUpdate",
    "Client",
    "Closed",
    "Connected",
    "ConnectionFailed",
    "Correction",
    "CorrelationAlert",
    "CredentialsExpiring",
    "DataReady",
    "Disconnected",
    "Fill",
    "Gap",
    "Heartbeat",
    "InstrumentsChanged",
    "MetricsSnapshot",
    "OpenPosition",
    "Order",
    "Position",
    "Problem",
    "PublishResult",
    "Quote",
    "Refreshed",
    "Refused",
    "Report",
    "ReportResult",
    "RequestTimeout",
    "ScenarioChanged",
    "ServerHeartbeat",
    "Signal",
    "Stream",
    "Tick",
    "TickwireError",
    "Unauthorized",
    "VolatilityAlert",
]
