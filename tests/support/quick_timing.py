"""Short periods of health, for tests."""

from __future__ import annotations

import os
from dataclasses import replace

from health.timing import Timing

QUICK = Timing(
    beat=0.1, large_report=0.3, check=0.2, limit=0.4, unhealthy=1.0, down=1.0, settle=0.5, backing_off=1.0, unstored=1.0, silent_relay=1.0
)
# With this variable, a process counts as down later: its tests need a system that stays healthy.
PATIENT = "PATIENT_HEALTH"
if os.environ.get(PATIENT):
    QUICK = replace(QUICK, limit=1.5, unhealthy=3.0, down=3.0, settle=2.0, unstored=10.0)
