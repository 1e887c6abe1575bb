"""Stock Flask-SocketIO on eventlet, emitting from a Redis listener, as its documentation shows."""

# ruff: noqa: E402
import eventlet

eventlet.monkey_patch()

import json
import os
import sys
from typing import Any

import redis
from flask import Flask
from flask_socketio import SocketIO, emit, join_room

app = Flask(__name__)
socketio = SocketIO(app, async_mode="eventlet")


@socketio.on("subscribe")  # type: ignore[untyped-decorator]
def subscribe(request: dict[str, Any]) -> None:
    for pair in request["pairs"]:
        join_room(f"price_{pair}")
    emit("subscription_confirmed", {"pairs": request["pairs"]})


def listen() -> None:
    pubsub = redis.Redis.from_url(os.environ["REDIS_URL"]).pubsub()  # type: ignore[no-untyped-call]
    pubsub.subscribe("price_updates")
    for message in pubsub.listen():
        if message["type"] == "message":
            body = json.loads(message["data"])
            socketio.emit("price_update", body, to=f"price_{body['instrument']}")


if __name__ == "__main__":
    socketio.start_background_task(listen)
    socketio.run(app, host="127.0.0.1", port=int(sys.argv[1]), max_size=10_000)  # connections; eventlet's default is 1,024
