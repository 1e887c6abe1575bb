"""What the services know of the past: trades by id, candles by time. Pages of rows that the store takes as they are."""
