"""The route `/ws/metrics`."""
