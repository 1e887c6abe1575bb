"""The embedded default: real PostgreSQL and real Redis from PyPI wheels, as child processes of ours, on the loopback only."""

from ops.embedded.postgres import postgres
from ops.embedded.redis import redis
from ops.embedded.server import Server

__all__ = ["Server", "postgres", "redis"]
