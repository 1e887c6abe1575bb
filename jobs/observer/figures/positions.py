"""Positions at average cost. Their home is `db.figures.positions`, which REST imports too."""

from __future__ import annotations

from db.figures.positions import BUY as BUY
from db.figures.positions import FLAT as FLAT
from db.figures.positions import NO_FEES as NO_FEES
from db.figures.positions import ONE as ONE
from db.figures.positions import SELL as SELL
from db.figures.positions import ZERO as ZERO
from db.figures.positions import Applied as Applied
from db.figures.positions import FillTerms as FillTerms
from db.figures.positions import Position as Position
from db.figures.positions import PositionFill as PositionFill
from db.figures.positions import apply_fill as apply_fill
from db.figures.positions import daily_pnl as daily_pnl
from db.figures.positions import in_order as in_order
from db.figures.positions import mark as mark
from db.figures.positions import notional as notional
from db.figures.positions import unrealised as unrealised
