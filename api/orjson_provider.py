"""orjson as the JSON module of python-socketio and of Flask."""

from __future__ import annotations

from typing import Any

import orjson
from flask.json.provider import JSONProvider


class Json:
    """The two functions that python-socketio calls on its `json` option.

    `dumps` writes an `orjson.Fragment` unchanged, so that clients receive the bytes of the bus.
    """

    @staticmethod
    def dumps(value: Any, *_: Any, **__: Any) -> str:
        return orjson.dumps(value).decode()

    @staticmethod
    def loads(text: str | bytes, *_: Any, **__: Any) -> Any:
        return orjson.loads(text)


class OrjsonProvider(JSONProvider):
    """Flask's JSON provider on orjson instead of the standard library."""

    def dumps(self, obj: Any, **kwargs: Any) -> str:
        return orjson.dumps(obj).decode()

    def loads(self, s: str | bytes, **kwargs: Any) -> Any:
        return orjson.loads(s)
