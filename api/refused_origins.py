"""Lines in the log about pages of foreign origins, with the setting that allows them."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from config.fields import origin_of

log = logging.getLogger(__name__)

PERIOD_SECONDS = 60.0
MAX_ORIGINS = 20  # different ones in a period: an origin is a text of a client
_MAX_CHARACTERS = 200


class RefusedOrigins:
    """Logs one warning for each origin in a period, of at most `MAX_ORIGINS` origins.

    Any thread may call it. `monotonic` is a clock in seconds.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._logged: dict[str, float] = {}  # origin -> monotonic time of its line

    def note(self, origin: str) -> None:
        """Log that the origin was refused, if a line is due."""
        origin = origin[:_MAX_CHARACTERS]
        if not self._is_due(origin):
            return
        if (named := origin_of(origin)) is not None:
            log.warning("origin %s refused; CORS_ORIGINS=%s allows it", origin, named)
        else:
            log.warning("origin %s refused; serve the page by http or https, and name its origin in CORS_ORIGINS", origin or "''")

    def _is_due(self, origin: str) -> bool:
        with self._lock:
            now = self._monotonic()
            self._logged = {each: at for each, at in self._logged.items() if now - at < PERIOD_SECONDS}
            if origin in self._logged or len(self._logged) >= MAX_ORIGINS:
                return False
            self._logged[origin] = now
            return True
