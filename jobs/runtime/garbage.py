"""The search for garbage of processes with large batches."""

from __future__ import annotations

import gc

# New objects between two searches. A batch makes 10,000 and more without cycles; Python's default
# of 700 costs a sixth of the process's CPU time.
OBJECTS_PER_COLLECTION = 50_000


def collect_rarely() -> None:
    """Search for garbage less often than Python does by default, and not among the modules.

    An entry point stops the search while it imports its modules. This function starts it again.
    """
    gc.freeze()
    gc.set_threshold(OBJECTS_PER_COLLECTION)
    gc.enable()
