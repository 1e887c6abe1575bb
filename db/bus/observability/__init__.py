"""Parts of the bus for reports of bots, snapshots of the metrics and log records."""
