"""Reads from other servers, each with a limit of time and a circuit breaker."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import wait
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, Literal, TypeVar

from pybreaker import CircuitBreaker, CircuitBreakerError, CircuitBreakerListener, CircuitBreakerState

from health.probe import CheckFailed, HealthProbe

FAIL_MAX = 5  # failures in a row that open a circuit
RESET_SECONDS = 10.0  # from the opening of a circuit to the next attempt
LIMIT_SECONDS = 1.5  # of one read
_MOST_EVENTS = 100

Circuit = Literal["closed", "open", "half_open"]
Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class ConnectionEvent:
    """The circuit of a read has opened (`connection_lost`) or closed (`connection_restored`)."""

    event_type: Literal["connection_lost", "connection_restored"]
    time: datetime
    component: str
    status: Circuit
    message: str
    details: dict[str, Any] = field(default_factory=dict)


class ConnectionEvents(CircuitBreakerListener):
    """Listens to circuit breakers and keeps their newest events, at most 100."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._lost: dict[str, str] = {}  # component -> reason, of the circuits that are not closed
        self._reasons: dict[str, str] = {}  # component -> reason of its last failure
        self._events: deque[ConnectionEvent] = deque(maxlen=_MOST_EVENTS)

    def take(self) -> list[ConnectionEvent]:
        """Remove and return the events, the oldest first."""
        found: list[ConnectionEvent] = []
        while self._events:
            found.append(self._events.popleft())
        return found

    def failure(self, cb: CircuitBreaker, exc: BaseException) -> None:
        """Keep the reason, which the event of an opening circuit shows."""
        self._reasons[str(cb.name)] = str(exc)

    def state_change(self, cb: CircuitBreaker, old_state: CircuitBreakerState | None, new_state: CircuitBreakerState) -> None:
        """Note a circuit that leaves `closed` or returns to it; an attempt between is no news."""
        name = str(cb.name)
        if new_state.name == "open" and name not in self._lost:
            self._lost[name] = self._reasons.get(name, "")
            details = {"reason": self._lost[name], "failures": FAIL_MAX}
            self._add("connection_lost", name, "open", f"The connection to {name} is lost.", details)
        elif new_state.name == "closed" and name in self._lost:
            del self._lost[name]
            self._add("connection_restored", name, "closed", f"The connection to {name} is restored.", {})

    def _add(
        self, kind: Literal["connection_lost", "connection_restored"], name: str, status: Circuit, message: str, details: dict[str, Any]
    ) -> None:
        self._events.append(ConnectionEvent(kind, self._clock(), name, status, message, details))


class RemoteRead(Generic[Value]):
    """One read behind a circuit breaker. Call `refresh` from one thread; any thread may read.

    `value` is None if the last attempt failed, or if there was none. `read` may raise `BusError` or
    `StoreError`. It runs in a thread of its own, so that a hung server costs `limit` seconds. An
    open circuit is tried again after `reset` seconds.
    """

    def __init__(
        self, name: str, read: Callable[[], Value], events: ConnectionEvents, *, limit: float = LIMIT_SECONDS, reset: float = RESET_SECONDS
    ) -> None:
        self.name = name
        self.value: Value | None = None
        self.failure: str | None = None  # reason of the last failure, until a read succeeds
        self._read = read
        self._limit = limit
        self._found: Value | None = None
        self._probe = HealthProbe(name, self._run)
        self._breaker = CircuitBreaker(fail_max=FAIL_MAX, reset_timeout=reset, listeners=[events], name=name, throw_new_error_on_trip=False)

    def refresh(self) -> Value | None:
        """Read now, unless the circuit is open; return the new value."""
        try:
            self.value = self._breaker.call(self._ask)
        except CircuitBreakerError:
            self.value = None
        except CheckFailed as error:
            self.value, self.failure = None, str(error)
        else:
            self.failure = None
        return self.value

    @property
    def circuit(self) -> Circuit:
        """The state of the circuit breaker."""
        state = self._breaker.current_state
        return "closed" if state == "closed" else "open" if state == "open" else "half_open"

    def _run(self) -> None:
        self._found = self._read()

    def _ask(self) -> Value | None:
        """Wait for the running read, or for a new one. Raises `CheckFailed`."""
        answer = self._probe.ask()
        done, _ = wait([answer], timeout=self._limit)
        if not done:
            raise CheckFailed("disconnected", f"no answer within {self._limit:g} s")
        if (failure := answer.result()) is not None:
            raise failure
        return self._found
