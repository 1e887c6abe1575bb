"""Problems of arguments that are valid one by one, but not together: 409, not 422."""

from __future__ import annotations

NO_SUCH_PAGE = "No page of this query: use it with all other arguments unchanged."
EARLY_END = "Must not be before start."
BOTH_GIVEN = "Not together with symbol."
NEITHER_GIVEN = "Missing: use symbol or symbols."
SAME_SYMBOL = "Must be another than symbol1."

CONFLICTS = frozenset({NO_SUCH_PAGE, EARLY_END, BOTH_GIVEN, NEITHER_GIVEN, SAME_SYMBOL})
