"""Amounts in the base currency. Their home is `db.figures.conversion`, which REST imports too."""

from __future__ import annotations

from db.figures.conversion import CROSS_ORDER as CROSS_ORDER
from db.figures.conversion import Rates as Rates
from db.figures.conversion import Total as Total
from db.figures.conversion import net_of_fees as net_of_fees
from db.figures.conversion import total as total
from db.figures.conversion import trade_pnl as trade_pnl
