"""flask-smorest, typed: a view is declared once, with the schemas that check, write and document it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from flask import Flask
from flask_smorest import Api, Blueprint  # type: ignore[import-untyped]
from marshmallow import Schema

from api.rest.schemas.answers import ErrorResponseSchema

View = TypeVar("View", bound=Callable[..., Any])


class Routes:
    """The routes of one subject, a Flask blueprint beneath."""

    def __init__(self, name: str, description: str) -> None:
        self.blueprint = Blueprint(name, f"api.rest.{name}", description=description)

    def get(
        self,
        path: str,
        answers: type[Schema],
        *,
        takes: type[Schema] | None = None,
        fails: Mapping[int, type[Schema]] | None = None,
        doc: Mapping[str, Any] | None = None,
    ) -> Callable[[View], View]:
        """Declare a GET view. It is called with what `takes` read from the query, and returns what `answers` writes or a response;
        `fails` are the statuses it may answer besides 200 and the errors that every view shares."""

        def declare(view: View) -> View:
            wrapped: Any = self.blueprint.response(200, answers)(view)
            for status, schema in (fails or {}).items():
                wrapped = self.blueprint.alt_response(status, schema=schema)(wrapped)
            if takes is not None:
                wrapped = self.blueprint.arguments(takes, location="query")(wrapped)
            if doc is not None:
                wrapped = self.blueprint.doc(**doc)(wrapped)
            self.blueprint.route(path, methods=["GET"])(wrapped)
            return view

        return declare


def make_api(app: Flask, version: str, routes: list[Routes]) -> Any:
    """Register the routes and return what holds their OpenAPI document (`.spec`)."""
    app.config["API_TITLE"] = "Tickwire"
    app.config["API_VERSION"] = version
    app.config["OPENAPI_VERSION"] = "3.1.0"
    api = Api()
    api.ERROR_SCHEMA = ErrorResponseSchema
    api.init_app(app)
    for each in routes:
        api.register_blueprint(each.blueprint)
    return api
