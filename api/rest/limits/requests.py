"""The limit of requests: one budget per caller, in the headers of each answer."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from flask import Flask, Response, g, request

from api.access.audit import Audit
from api.access.limits import EXPORT_COST, PRICES_PER_TOKEN, RATE_REQUESTS, REQUEST_COST, ROWS_PER_TOKEN, Budget, Budgets, limited_caller
from api.access.model import Access, Authenticator, Handshake
from api.access.peers import Peers
from api.errors import ErrorCode, Refusal, Unauthorized
from config.fields import Rate

# Name of an `Admission` in the environment of WSGI: of a request that was checked before Flask.
ADMISSION = "tickwire.admission"
_RETRY_SECONDS = 2  # if an answer has no time of its own


@dataclass(slots=True)
class _Caller:
    """The caller of the current request, in `g.limited`, and its budget after the last cost."""

    name: str
    rate: Rate
    limits: RequestLimits
    access: Access | None
    address: str
    budget: Budget | None = None


@dataclass(frozen=True, slots=True)
class Admission:
    """The decision about one request. `caller` is None if no limit counts the caller."""

    decision: Access | Refusal
    caller: _Caller | None

    def headers(self) -> list[tuple[str, str]]:
        """Return the headers of the limit; none without a limit."""
        return [] if self.caller is None else _headers_of(self.caller)


class RequestLimits:
    """Takes the cost of each request from the budget of its caller.

    It is the `Authenticator` of limited routes: each caller that `inner` accepts takes a token. One
    that it refuses takes a token of its address, so that guesses are limited too. `default` is the
    limit of callers without their own.
    """

    def __init__(self, inner: Authenticator, budgets: Budgets, default: Rate, peers: Peers, audit: Audit) -> None:
        self._inner = inner
        self._budgets = budgets
        self._default = default
        self._peers = peers
        self._audit = audit

    def authenticate(self, handshake: Handshake) -> Access:
        """Return the rights of the client. Raises `Refusal`, also `too_many_requests`.

        A request that was checked before has its decision, and costs nothing again.
        """
        admission: Admission = request.environ.pop(ADMISSION, None) or self.admit(handshake)
        g.limited = admission.caller
        if isinstance(admission.decision, Refusal):
            raise admission.decision
        return admission.decision

    def admit(self, handshake: Handshake) -> Admission:
        """Return the decision about a request, and take its cost."""
        callers: list[_Caller] = []
        decision: Access | Refusal
        try:
            decision = self._access(handshake, callers)
        except Refusal as refusal:
            decision = refusal
        return Admission(decision, callers[0] if callers else None)

    def _access(self, handshake: Handshake, callers: list[_Caller]) -> Access:
        address = handshake.address
        try:
            access = self._inner.authenticate(handshake)
        except Unauthorized:
            if not self._peers.exempt(address):
                self._begin(_Caller(f"ip:{address}", self._default, self, None, address), callers)
            raise
        if (name := access.caller or limited_caller(access, address, self._peers)) is not None:
            self._begin(_Caller(name, access.limits.requests or self._default, self, access, address), callers)
        return access

    def _begin(self, caller: _Caller, callers: list[_Caller]) -> None:
        callers.append(caller)  # before `take`, so that a refusal has its headers too
        self.take(caller, REQUEST_COST)

    def take(self, caller: _Caller, cost: int) -> None:
        """Take the cost of work that begins. Raises `Refusal`."""
        caller.budget = budget = self._budgets.take(caller.name, caller.rate, cost)
        if budget.retry_after is not None:
            self._audit.limited(caller.access, caller.address, RATE_REQUESTS)
            details = {"retry_after": seconds(budget.retry_after), "rate": str(caller.rate)}
            raise Refusal(ErrorCode.TOO_MANY_REQUESTS, f"More than {caller.rate} requests; see Retry-After.", details)

    def spend(self, caller: _Caller, cost: int) -> None:
        """Take the cost of work that is done."""
        caller.budget = self._budgets.spend(caller.name, caller.rate, cost)


def register(app: Flask) -> None:
    """Add the headers of limits to each answer."""
    app.after_request(_add_headers)


def _add_headers(response: Response) -> Response:
    caller: _Caller | None = g.get("limited")
    if caller is not None:
        # No other function sets these headers, so that none is searched for and replaced.
        for name, value in _headers_of(caller):
            response.headers.add(name, value)
    if response.status_code in (429, 503):
        response.headers.setdefault("Retry-After", str(_RETRY_SECONDS))
    return response


def _headers_of(caller: _Caller) -> list[tuple[str, str]]:
    if (budget := caller.budget) is None:
        return []
    return [
        ("X-RateLimit-Limit", str(budget.limit)),
        ("X-RateLimit-Remaining", str(budget.remaining)),
        ("X-RateLimit-Reset", str(ceil(budget.reset))),
    ]


def seconds(retry_after: float) -> int:
    """Return whole seconds, at least 1."""
    return max(1, ceil(retry_after))


# costs that views add to the token of their request


def take_export() -> None:
    """Take the rest of the cost of an export. Raises `Refusal`."""
    _take(EXPORT_COST - REQUEST_COST)


def take_prices(count: int) -> None:
    """Take the cost of a batch of prices. Raises `Refusal`."""
    _take(count // PRICES_PER_TOKEN)


def spend_rows(count: int) -> None:
    """Take the cost of the rows of a page, which have been read."""
    caller: _Caller | None = g.get("limited")
    if caller is not None and count >= ROWS_PER_TOKEN:
        caller.limits.spend(caller, count // ROWS_PER_TOKEN)


def _take(cost: int) -> None:
    caller: _Caller | None = g.get("limited")
    if caller is not None and cost:
        caller.limits.take(caller, cost)
