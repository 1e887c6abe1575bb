"""Answers of our processes to GET. A busy machine may pause a process for seconds."""

from __future__ import annotations

from ops import running


def get(url: str, path: str, seconds: float = 30.0) -> tuple[int, bytes]:
    """Return status and body as `ops.running.get` does; status 0 if there is no answer."""
    return running.get(url, path, seconds)
