"""The books of the process before, which a kill has ended."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from db.bus import BusError
from db.bus.books import Books
from db.timestamps import format_time
from jobs.books.keeping.outlet import Outlet
from jobs.books.parts.states import Reason, State, StateChange
from jobs.books.tops import state_body

_SERVED = (State.LIVE, State.GAP, State.RESYNCING)


def disconnect_former(bus: Books, outlet: Outlet, clock: Callable[[], datetime]) -> None:
    """Publish that the books of the process before are disconnected, unless it has done so itself.

    A hub that hears nothing for three heartbeats announces the same. A quick restart takes less.
    """
    try:
        rows = bus.book_rows()
    except BusError:
        return  # the hub does not reach the bus either, or has announced it
    for instrument, row in rows.items():
        if row.get("state") in _SERVED:
            change = StateChange(State.STALE, State(row["state"]), Reason.DISCONNECTED, row.get("update_id"))
            outlet.publish_state(state_body(instrument, change, format_time(clock())))
