"""Plain subscribers of a Redis channel that read and drop everything.

python -m tests.scale.subscribers HOST PORT COUNT CHANNEL
"""

from __future__ import annotations

import selectors
import socket
import sys


def main(host: str, port: int, count: int, channel: str) -> None:
    """Subscribe, print `subscribed`, read until the process is killed."""
    with selectors.DefaultSelector() as selector:
        for _ in range(count):
            connection = socket.create_connection((host, port))
            connection.sendall(f"SUBSCRIBE {channel}\r\n".encode())
            connection.recv(1000)
            selector.register(connection, selectors.EVENT_READ)
        sys.stdout.write("subscribed\n")
        sys.stdout.flush()
        while True:
            for key, _ in selector.select():
                connection = key.fileobj  # type: ignore[assignment]
                if not connection.recv(1 << 18):
                    return


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
