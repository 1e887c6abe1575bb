"""Typed routes on flask-smorest: one declaration has view, schemas, scope and document.

The schemas check requests, write answers and make the OpenAPI document. `guard` checks the scopes.
Routes refuse arguments that they do not know, and arguments that are given twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import wraps
from inspect import getdoc
from typing import Any, TypeVar

from flask import Flask, g, request
from flask_smorest import Api, Blueprint  # type: ignore[import-untyped]
from marshmallow import Schema

from api.access.model import KEPT_HEADERS, OPEN, Authenticator, Handshake
from api.errors import ErrorCode, Refusal
from api.rest.errors import ApiError, refuse_unknown_arguments
from api.rest.instruments import refuse_excluded
from api.rest.listing import EXPORTS, PAGES
from api.rest.schemas.answers import ErrorResponseSchema

View = TypeVar("View", bound=Callable[..., Any])
Documented = Mapping[str, Any]


class Routes:
    """The routes of one subject, on a Flask blueprint of the same name.

    `scopes` maps the endpoint of each route to the scope that a client needs for it.
    """

    def __init__(self, name: str, description: str) -> None:
        self.blueprint = Blueprint(name, f"api.rest.{name}", description=description)
        self.scopes: dict[str, str] = {}

    def get(
        self,
        path: str,
        answers: type[Schema],
        *,
        scope: str,
        takes: type[Schema] | None = None,
        fails: Mapping[int, type[Schema]] | None = None,
        doc: Documented | None = None,
    ) -> Callable[[View], View]:
        """Declare a GET view.

        The view is called with the result of `takes` for the query. Without `takes`, a route takes
        no arguments; a route of the scope `OPEN` ignores them. The view returns a value that
        `answers` writes, or a response. `fails` are its statuses besides 200 and the errors that
        all views share.
        """

        def declare(view: View) -> View:
            wrapped = self._checked(view, scope, answers, 200, fails)
            if takes is not None:
                wrapped = self.blueprint.arguments(takes, location="query")(wrapped)
            if takes is not None or scope != OPEN:
                wrapped = _with_known_arguments(wrapped, takes)
            return self._add(path, "GET", view, wrapped, doc)

        return declare

    def listing(self, path: str, answers: type[Schema], *, scope: str, takes: type[Schema]) -> Callable[[View], View]:
        """Declare a GET view that returns `listing.answer`: pages of JSON, or an export."""

        def declare(view: View) -> View:
            description = "\n\n".join([*_paragraphs(view)[1:], PAGES])
            fails = {404: ErrorResponseSchema}
            return self.get(path, answers, scope=scope, takes=takes, fails=fails, doc={**EXPORTS, "description": description})(view)

        return declare

    def post(
        self,
        path: str,
        answers: type[Schema],
        *,
        takes: type[Schema] | None = None,
        scope: str,
        status: int = 200,
        fails: Mapping[int, type[Schema]] | None = None,
        doc: Documented | None = None,
    ) -> Callable[[View], View]:
        """Declare a POST view, which is called with the result of `takes` for the JSON body.

        Without `takes`, the view reads the body itself, and `doc` describes it. It answers with
        `status`.
        """

        def declare(view: View) -> View:
            wrapped = self._checked(view, scope, answers, status, fails)
            if takes is not None:
                wrapped = self.blueprint.arguments(takes, location="json")(wrapped)
            return self._add(path, "POST", view, _with_known_arguments(wrapped), doc)

        return declare

    def delete(
        self, path: str, answers: type[Schema], *, scope: str, status: int = 200, fails: Mapping[int, type[Schema]] | None = None
    ) -> Callable[[View], View]:
        """Declare a DELETE view, which takes the arguments of its path and no body.

        It answers with `status`.
        """

        def declare(view: View) -> View:
            return self._add(path, "DELETE", view, _with_known_arguments(self._checked(view, scope, answers, status, fails)))

        return declare

    def _checked(self, view: View, scope: str, answers: type[Schema], status: int, fails: Mapping[int, type[Schema]] | None) -> Any:
        """Note the scope, and return the view behind the check of its instruments."""
        self.scopes[f"{self.blueprint.name}.{view.__name__}"] = scope

        @wraps(view)
        def checked(*arguments: Any, **path_arguments: Any) -> Any:
            for each in (*arguments, path_arguments):
                refuse_excluded(each)
            return view(*arguments, **path_arguments)

        wrapped = self.blueprint.response(status, answers)(checked)
        for code, schema in (fails or {}).items():
            wrapped = self.blueprint.alt_response(code, schema=schema)(wrapped)
        return wrapped

    def _add(self, path: str, method: str, view: View, wrapped: Any, doc: Documented | None = None) -> View:
        if doc is not None:
            wrapped = self.blueprint.doc(**doc)(wrapped)
        self.blueprint.route(path, methods=[method])(wrapped)
        return view


def _with_known_arguments(view: Any, takes: type[Schema] | None = None) -> Any:
    """Return a view that refuses queries with other arguments than the fields of `takes`."""
    names = sorted(takes().fields) if takes is not None else []

    @wraps(view)
    def checked(*arguments: Any, **path_arguments: Any) -> Any:
        refuse_unknown_arguments(names)
        return view(*arguments, **path_arguments)

    return checked


def _paragraphs(view: Callable[..., Any]) -> list[str]:
    """Return the paragraphs of the view's docstring; the first is its summary."""
    return (getdoc(view) or "").split("\n\n")


def make_api(app: Flask, version: str, routes: Iterable[Routes]) -> Any:
    """Register the routes; return the API, whose `spec` is the OpenAPI document."""
    app.config["API_TITLE"] = "Tickwire"
    app.config["API_VERSION"] = version
    app.config["OPENAPI_VERSION"] = "3.1.0"
    app.config["API_SPEC_OPTIONS"] = {"servers": [{"url": "."}]}  # relative to the document: a proxy may add a path
    api = Api()
    api.ERROR_SCHEMA = ErrorResponseSchema
    api.init_app(app)
    for each in routes:
        api.register_blueprint(each.blueprint)
    return api


def guard(app: Flask, authenticator: Authenticator, scopes: Mapping[str, str]) -> None:
    """Make an `Access` of each request, and answer 403 if it lacks the scope of the route.

    `scopes` maps every endpoint of the app to its scope. A route of the scope `OPEN` needs no
    client.
    """
    if undeclared := {rule.endpoint for rule in app.url_map.iter_rules()} - set(scopes):
        raise ValueError("routes without a scope: " + ", ".join(sorted(undeclared)))

    def admit() -> None:
        scope = scopes[request.endpoint] if request.endpoint is not None else OPEN
        if scope == OPEN:
            return
        try:
            g.access = authenticator.authenticate(handshake())
        except Refusal as refusal:
            raise ApiError(401, refusal.code, str(refusal), refusal.details) from refusal
        if not g.access.allows(scope):
            raise ApiError(403, ErrorCode.FORBIDDEN, f"no right to the scope: {scope}", {"scope": [scope]})

    app.before_request(admit)


def handshake() -> Handshake:
    """Return the facts that identify the client of the current request."""
    headers = {name: value for name in KEPT_HEADERS if (value := request.headers.get(name)) is not None}
    return Handshake("rest", request.remote_addr or "", headers)
