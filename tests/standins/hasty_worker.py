"""REST's worker with shorter times, so that tests see their ends."""

from __future__ import annotations

from config.gunicorn.connection import SECONDS, State
from config.gunicorn.rest_worker import GuardedRestWorker


class HastyWorker(GuardedRestWorker):
    """Closes slow connections after 1 s, uploads after 3 s, stalled answers after 5 s."""

    seconds = {**{state: seconds / 10 for state, seconds in SECONDS.items()}, State.SENDING: 5.0, State.UPLOAD: 3.0}  # noqa: RUF012 - a constant
