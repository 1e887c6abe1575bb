"""Scenarios: their files, their checks, recordings of raw lines, and the figures of `/status`."""
