"""The only way to a client: its waiting frames, its socket and its limit."""

from api.hub.transport.outbox.outbox import NO_DESCRIPTOR, Outbox, gap_notice

__all__ = ["NO_DESCRIPTOR", "Outbox", "gap_notice"]
