"""The statement of a position. Their home is `db.figures.statement`, which REST imports too."""

from __future__ import annotations

from db.figures.statement import Lot as Lot
from db.figures.statement import Lots as Lots
from db.figures.statement import Method as Method
from db.figures.statement import StatementRow as StatementRow
from db.figures.statement import statement as statement
