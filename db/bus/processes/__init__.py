"""State that the processes share over the bus: leadership, reports of processes, checks."""
