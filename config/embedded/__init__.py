"""The embedded default: real PostgreSQL and real Redis from PyPI wheels, as child processes of ours, on the loopback only."""

from config.embedded.postgres_server import postgres
from config.embedded.redis_server import redis
from config.embedded.server import Server

__all__ = ["Server", "postgres", "redis"]
