"""Amounts in the base currency: direct, inverse or one cross; never estimated. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal

from db.figures.positions import ONE, ZERO, Applied, FillTerms

LIVE_PRICE_AGE = timedelta(seconds=60)  # up to which a price is live
# A cross prefers these, because their prices are the most liquid; then the alphabet decides.
CROSS_ORDER = ("USD", "EUR")


class Rates:
    """Conversion between currencies with the live prices of FX pairs and declared parities.

    `prices` is (base, quote) -> price of 1 base in quote, at least one side greater than 0; pass
    live prices only. `parity` is the mapping of `OBS_CURRENCY_PARITY`: `{"USDT": "USD"}` declares
    1 USDT equal to 1 USD.
    """

    def __init__(self, prices: Mapping[tuple[str, str], Decimal], parity: Mapping[str, str] | None = None) -> None:
        self._parity = dict(parity or {})
        self._rates: dict[str, dict[str, Decimal]] = {}  # from -> {to: rate}
        usable = [(self._name(base), self._name(quote), price) for (base, quote), price in prices.items() if price > 0]
        for base, quote, price in usable:
            self._rates.setdefault(quote, {})[base] = ONE / price
        for base, quote, price in usable:  # a direct price wins over an inverse one
            self._rates.setdefault(base, {})[quote] = price

    def rate(self, source: str, target: str) -> Decimal | None:
        """Price of 1 `source` in `target`: 1 if equal, direct, inverse, one cross; else None."""
        source, target = self._name(source), self._name(target)
        if source == target:
            return ONE
        from_source = self._rates.get(source, {})
        if target in from_source:
            return from_source[target]
        crosses = [middle for middle in from_source if target in self._rates.get(middle, {})]
        if not crosses:
            return None
        middle = min(crosses, key=_preference)
        return from_source[middle] * self._rates[middle][target]

    def convert(self, amount: Decimal, source: str, target: str) -> Decimal | None:
        """The amount in `target`; None if it cannot be converted. 0 needs no rate."""
        if not amount:
            return ZERO
        rate = self.rate(source, target)
        return None if rate is None else amount * rate

    def _name(self, currency: str) -> str:
        """One name for all currencies that are declared equal."""
        seen = {currency}
        while (other := self._parity.get(currency)) is not None and other not in seen:
            currency = other
            seen.add(currency)
        return currency


def _preference(currency: str) -> tuple[int, str]:
    return (CROSS_ORDER.index(currency) if currency in CROSS_ORDER else len(CROSS_ORDER)), currency


@dataclass(frozen=True, slots=True)
class Total:
    """A sum in one currency.

    `amount` is None if there are amounts and none of them could be converted. `by_currency` has the
    amounts that could not be converted: currency -> sum.
    """

    amount: Decimal | None
    currency: str
    by_currency: Mapping[str, Decimal]

    @property
    def incomplete(self) -> bool:
        """True if a part could not be converted; for a strategy, `pnl_complete` is the opposite."""
        return bool(self.by_currency)


def total(amounts: Iterable[tuple[str, Decimal]], currency: str, rates: Rates) -> Total:
    """Add (currency, amount) in `currency`; without amounts the sum is 0."""
    sums: dict[str, Decimal] = {}
    for name, amount in amounts:
        sums[name] = sums.get(name, ZERO) + amount
    converted = {name: rates.convert(amount, name, currency) for name, amount in sums.items()}
    known = [amount for amount in converted.values() if amount is not None]
    missing = {name: sums[name] for name, amount in converted.items() if amount is None}
    return Total(sum(known, ZERO) if known or not sums else None, currency, missing)


def net_of_fees(gross: Decimal, currency: str, fees: Mapping[str, Decimal], rates: Rates) -> Total:
    """`realized_pnl`: gross less all fees (currency -> amount), in `currency`.

    Fees that cannot be converted are in `by_currency`, as positive costs, and not in the amount.
    """
    paid = total(fees.items(), currency, rates)
    return Total(gross - (paid.amount or ZERO), currency, paid.by_currency)


def trade_pnl(applied: Applied, fill: FillTerms, rates: Rates) -> Decimal | None:
    """`pnl` of a Trade: the realised gross less the fee of the closed quantity.

    In the fill's currency; None if the fill closed nothing or if the fee cannot be converted.
    """
    fee = rates.convert(applied.closing_fee, fill.fee_currency or fill.currency, fill.currency)
    return None if applied.gross is None or fee is None else applied.gross - fee
