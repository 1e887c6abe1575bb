"""Playing: recordings through faults and queue, the run that they are, its shadow books."""
