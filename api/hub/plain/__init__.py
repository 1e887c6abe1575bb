"""Clients of plain WebSockets: `/ws/metrics`."""
