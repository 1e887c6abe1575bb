"""The rights of connected clients: broadcasts by rights, expiry, revocation, new tokens."""
