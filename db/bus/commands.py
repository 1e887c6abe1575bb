"""The commands of Redis that the bus sends: the rights of its user in the embedded Redis.

Redis checks the commands inside a script too. The embedded Redis 6.2 refuses a user with a command
that it does not have.
"""

from __future__ import annotations

# `COMMAND|SUBCOMMAND` allows one subcommand.
COMMANDS = (
    # the connection
    "AUTH", "HELLO", "PING", "SELECT", "INFO", "TIME",
    # keys and hashes
    "EXISTS", "GET", "SET", "DEL", "INCRBY", "RENAME", "PTTL", "PEXPIRE",
    "HGET", "HSET", "HGETALL", "HMGET", "HINCRBY", "HDEL",
    # sorted sets
    "ZADD", "ZCARD", "ZMSCORE", "ZRANGEBYSCORE", "ZREM", "ZREMRANGEBYRANK", "ZREMRANGEBYSCORE",
    # streams
    "XADD", "XDEL", "XACK", "XLEN", "XRANGE", "XREVRANGE", "XREADGROUP", "XPENDING", "XGROUP|CREATE", "XINFO|GROUPS",
    # scripts and transactions
    "EVALSHA", "SCRIPT|LOAD", "MULTI", "EXEC",
    # pub/sub
    "PUBLISH", "SUBSCRIBE", "UNSUBSCRIBE",
)  # fmt: skip

# Sent at a start, with an answer or without: the embedded Redis refuses them to our user.
REFUSABLE = ("CONFIG|GET",)

# Sent by a restore or a change of the shards alone. The embedded Redis permits them meanwhile.
OF_RESTORE = ("XGROUP|DESTROY", "SCAN")

# Sent to a cluster, to sentinels, or to a Redis with replicas: to servers of the operator alone.
OF_OPERATORS = ("SPUBLISH", "SSUBSCRIBE", "SUNSUBSCRIBE", "CLUSTER|MYID", "CLUSTER|SLOTS", "SENTINEL", "WAIT")
