"""Parts of the bus for reports of bots and for log records."""
