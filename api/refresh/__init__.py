"""Loops of access control, in the hub and in REST: the table of keys, and the log of access."""
