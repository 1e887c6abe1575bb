"""Hubs, Redis nodes and clients on hosts of their own: `make scale`. Needs root."""
