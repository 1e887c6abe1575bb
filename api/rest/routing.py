"""Typed routes on flask-smorest: one declaration has view, schemas, scope and document.

The schemas check requests, write answers and make the OpenAPI document. `api/rest/access.py` checks
the scopes. Routes refuse arguments that they do not know, and arguments that are given twice.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from inspect import getdoc
from typing import Any, TypeVar

import orjson
from flask import Flask, Request
from flask_smorest import Blueprint  # type: ignore[import-untyped]
from marshmallow import Schema, missing
from webargs.flaskparser import FlaskParser

from api.access.model import OPEN, READ
from api.rest.errors import refuse_other_types, refuse_unknown_arguments
from api.rest.instruments import refuse_excluded
from api.rest.listing import EXPORTS, PAGES
from api.rest.schemas.answers import ErrorResponseSchema
from api.rest.schemas.document import Document, RoutesFirst
from api.rest.schemas.security import Security


class _JsonParser(FlaskParser):
    """Reads JSON with orjson: NaN, lone surrogates and deep nesting are invalid."""

    def _raw_load_json(self, req: Request) -> Any:
        if not req.is_json:
            return missing
        return orjson.loads(req.get_data(cache=True).decode())  # webargs answers for bytes that are no UTF-8


View = TypeVar("View", bound=Callable[..., Any])
Documented = Mapping[str, Any]


class Routes:
    """The routes of one subject, on a Flask blueprint of the same name.

    `scopes` maps the endpoint of each route to the scope that a caller needs for it, `others` to
    another scope that suffices, `details` that of an open route to the scope for its details.
    `aliases` maps more paths to endpoints.
    """

    def __init__(self, name: str, description: str) -> None:
        self.blueprint = Blueprint(name, f"api.rest.{name}", description=description)
        self.blueprint.ARGUMENTS_PARSER = _JsonParser()
        self.scopes: dict[str, str] = {}
        self.others: dict[str, str] = {}
        self.details: dict[str, str] = {}
        self.aliases: dict[str, str] = {}

    def get(
        self,
        path: str,
        answers: type[Schema],
        *,
        scope: str,
        details: str | None = None,
        takes: type[Schema] | None = None,
        fails: Mapping[int, type[Schema]] | None = None,
        doc: Documented | None = None,
    ) -> Callable[[View], View]:
        """Declare a GET view.

        The view is called with the result of `takes` for the query. Without `takes`, a route takes
        no arguments; a route of the scope `OPEN` ignores them. The view returns a value that
        `answers` writes, or a response. `fails` are its statuses besides 200 and the errors that
        all views share. `details` is the scope for the details of an open route (`sees_details`).
        """

        def declare(view: View) -> View:
            wrapped = self._checked(view, scope, answers, 200, fails)
            if details is not None:
                self.details[self._endpoint(view)] = details
            if takes is not None:
                wrapped = self.blueprint.arguments(takes, location="query")(wrapped)
            if takes is not None or scope != OPEN:
                wrapped = _with_known_arguments(wrapped, takes)
            return self._add(path, "GET", view, wrapped, doc)

        return declare

    def listing(self, path: str, answers: type[Schema], *, scope: str, takes: type[Schema], also: str = OPEN) -> Callable[[View], View]:
        """Declare a GET view that returns `listing.answer`: pages of JSON, or an export.

        `also` is another scope that suffices, if there is one. The view then checks the rows.
        """

        def declare(view: View) -> View:
            if also != OPEN:
                self.others[self._endpoint(view)] = also
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
                wrapped = _with_json(self.blueprint.arguments(takes, location="json")(wrapped))
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

    def alias(self, path: str, view: View) -> None:
        """Serve a GET view at another path too, without a redirect.

        The document has the first path only.
        """
        self.aliases[path] = self._endpoint(view)

    def _checked(self, view: View, scope: str, answers: type[Schema], status: int, fails: Mapping[int, type[Schema]] | None) -> Any:
        """Note the scope, and return the view behind the check of its instruments.

        Patterns limit `read`. A view of the scope `publish` checks them itself; the others are not
        limited.
        """
        self.scopes[self._endpoint(view)] = scope

        @wraps(view)
        def checked(*arguments: Any, **path_arguments: Any) -> Any:
            for each in (*arguments, path_arguments):
                refuse_excluded(each)
            return view(*arguments, **path_arguments)

        wrapped = self.blueprint.response(status, answers)(checked if scope == READ else view)
        for code, schema in (fails or {}).items():
            wrapped = self.blueprint.alt_response(code, schema=schema)(wrapped)
        return wrapped

    def _endpoint(self, view: View) -> str:
        return f"{self.blueprint.name}.{view.__name__}"

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


def _with_json(view: Any) -> Any:
    """Return a view that refuses bodies of other content types than JSON."""

    @wraps(view)
    def checked(*arguments: Any, **path_arguments: Any) -> Any:
        refuse_other_types()
        return view(*arguments, **path_arguments)

    return checked


def _paragraphs(view: Callable[..., Any]) -> list[str]:
    """Return the paragraphs of the view's docstring; the first is its summary."""
    return (getdoc(view) or "").split("\n\n")


def make_api(app: Flask, version: str, routes: Sequence[Routes], *, anonymous: bool) -> Document:
    """Register the routes; return their OpenAPI document.

    `anonymous`: callers without a credential have rights.
    """
    app.config["API_TITLE"] = "Tickwire"
    app.config["API_VERSION"] = version
    app.config["OPENAPI_VERSION"] = "3.1.0"
    app.config["API_SPEC_OPTIONS"] = {"servers": [{"url": "."}]}  # relative to the document: a proxy may add a path
    scopes, others, details = (dict(ChainMap(*(getattr(each, name) for each in routes))) for name in ("scopes", "others", "details"))
    api = RoutesFirst(spec_kwargs={"extra_plugins": [Security(scopes, others, details, anonymous=anonymous)]})
    api.ERROR_SCHEMA = ErrorResponseSchema
    api.init_app(app)
    for each in routes:
        api.register_blueprint(each.blueprint)
        for path, endpoint in each.aliases.items():
            app.add_url_rule(path, endpoint=endpoint, view_func=app.view_functions[endpoint], methods=["GET"])
    return Document(app, api, [each.blueprint for each in routes])
