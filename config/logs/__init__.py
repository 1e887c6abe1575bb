"""Logs of a process: their start, their shape, their buffer for Redis."""
