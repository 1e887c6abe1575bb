"""The fan-out loop of the unit tests: FANOUT_LOOP of the environment, as in the hub."""

from __future__ import annotations

import os

from api.hub.transport import send_many
from config.process.fanout_loop import AUTO

send_many.choose(os.environ.get("FANOUT_LOOP") or AUTO)
