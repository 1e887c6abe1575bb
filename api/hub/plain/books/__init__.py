"""The route `/ws`."""
