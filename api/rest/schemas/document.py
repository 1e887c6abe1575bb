"""The OpenAPI document of REST: the descriptions of its routes, made apart from the routes."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from flask import Flask
from flask_smorest import Api, Blueprint  # type: ignore[import-untyped]

from api.rest.schemas.observability.trade_reports import TradeFilterSchema
from api.schemas import books
from api.schemas.observability import COMPONENTS


class RoutesFirst(Api):  # type: ignore[misc]
    """An API that registers routes without their descriptions, which are most of the work."""

    def register_blueprint(self, blueprint: Blueprint) -> None:
        self._app.extensions["flask-smorest"]["blp_name_to_api"][blueprint.name] = self
        self._app.register_blueprint(blueprint)


class Document:
    """The OpenAPI document. It is made when it is first read, so that REST starts sooner."""

    def __init__(self, app: Flask, api: Api, blueprints: Sequence[Blueprint]) -> None:
        self._app, self._api, self._blueprints = app, api, blueprints
        self._lock = threading.Lock()
        self._made: dict[str, Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the document, which readers must not change."""
        with self._lock:
            if self._made is None:
                self._made = self._make()
            return self._made

    def _make(self) -> dict[str, Any]:
        spec = self._api.spec
        for blueprint in self._blueprints:
            blueprint.register_views_in_doc(self._api, self._app, spec, name=blueprint.name, parameters=None)
            spec.tag({"name": blueprint.name, "description": blueprint.description})
        for name, schema in {**COMPONENTS, **books.COMPONENTS, "TradeFilter": {"schema": TradeFilterSchema}}.items():
            if name not in spec.components.schemas:
                spec.components.schema(name, **schema)
        made: dict[str, Any] = spec.to_dict()
        return made
