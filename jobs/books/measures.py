"""Measures of the best proven levels: spread, imbalance, weighted mid-prices. Pure.

Amounts are decimal strings with at most 16 decimals; `spread` and `mid` are exact. Imbalances and
basis points are floats. A measure over k levels is None if a side has fewer than k.
"""

from __future__ import annotations

from decimal import Context, Decimal, localcontext
from typing import Any

from db.decimals import middle
from db.figures.output import decimal_text, rounded
from jobs.books.book import Levels

IMBALANCE_LEVELS = (1, 5, 20)
WEIGHTED_LEVELS = (5, 20)
_PRECISE = Context(prec=60)  # digits: sums of decimals are never rounded
_BASIS_POINTS = Decimal(10_000)
Side = list[tuple[Decimal, Decimal]]  # (price, quantity), best first


def measures(bids: Levels, asks: Levels) -> dict[str, Any]:
    """All measures of the levels, best first; each is None if a side is empty."""
    with localcontext(_PRECISE):
        buyers, sellers = _decimals(bids), _decimals(asks)
        if not buyers or not sellers:
            best: dict[str, Any] = dict.fromkeys(("spread", "spread_bps", "mid", "weighted_mid"))
        else:
            best = _best_measures(bids[0][0], asks[0][0], buyers, sellers)
        return {
            **{name: best[name] for name in ("spread", "spread_bps", "mid")},
            "imbalance": {str(levels): _imbalance(buyers, sellers, levels) for levels in IMBALANCE_LEVELS},
            "weighted_mid": best["weighted_mid"],
            "depth_weighted_mid": {str(levels): _depth_weighted_mid(buyers, sellers, levels) for levels in WEIGHTED_LEVELS},
        }


def _best_measures(bid_text: str, ask_text: str, bids: Side, asks: Side) -> dict[str, Any]:
    (bid, bid_quantity), (ask, ask_quantity) = bids[0], asks[0]
    spread = ask - bid
    weighted = (ask * bid_quantity + bid * ask_quantity) / (bid_quantity + ask_quantity)
    return {
        "spread": decimal_text(spread),
        "spread_bps": float(_BASIS_POINTS * spread / ((ask + bid) / 2)),
        "mid": middle(bid_text, ask_text),
        "weighted_mid": _text(weighted),
    }


def _imbalance(bids: Side, asks: Side, levels: int) -> float | None:
    """(ΣQb - ΣQa) / (ΣQb + ΣQa). M. Gould and J. Bonart, "Queue imbalance", 2016."""
    if min(len(bids), len(asks)) < levels:
        return None
    bought = sum((quantity for _, quantity in bids[:levels]), Decimal(0))
    sold = sum((quantity for _, quantity in asks[:levels]), Decimal(0))
    return float((bought - sold) / (bought + sold))


def _depth_weighted_mid(bids: Side, asks: Side, levels: int) -> str | None:
    """The mean of the volume-weighted average prices of both sides."""
    if min(len(bids), len(asks)) < levels:
        return None
    return _text((_average(bids[:levels]) + _average(asks[:levels])) / 2)


def _average(side: Side) -> Decimal:
    return sum((price * quantity for price, quantity in side), Decimal(0)) / sum((quantity for _, quantity in side), Decimal(0))


def _decimals(levels: Levels) -> Side:
    return [(Decimal(price), Decimal(quantity)) for price, quantity in levels]


def _text(value: Decimal) -> str | None:
    short = rounded(value)
    return None if short is None else decimal_text(short)
