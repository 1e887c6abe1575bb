"""REST's worker with a tenth of its times, so that tests see their ends."""

from __future__ import annotations

from config.gunicorn.connection import SECONDS
from config.gunicorn.rest_worker import RestWorker


class HastyWorker(RestWorker):
    """Closes slow connections after 1 s, stalled answers after 3 s."""

    seconds = {state: seconds / 10 for state, seconds in SECONDS.items()}  # noqa: RUF012 - a constant
