"""Embedded PostgreSQL and Redis from PyPI wheels.

They are child processes. PostgreSQL listens on the loopback interface, Redis on a Unix socket.
"""

from ops.embedded.environment import check, no_room
from ops.embedded.postgres import postgres
from ops.embedded.redis import redis
from ops.embedded.server import Server

__all__ = ["Server", "check", "no_room", "postgres", "redis"]
