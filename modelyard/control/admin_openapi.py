"""The admin API's OpenAPI document and its page, both drawn from the table of routes."""

from __future__ import annotations

import re
from html import escape
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from modelyard.control.admin_routes import Row

_WORD = re.compile(r"\{(\w+)\}")
_ERROR = {
    "type": "object",
    "required": ["error", "code"],
    "properties": {"error": {"type": "string"}, "code": {"type": "string"}},
}


def openapi(rows: Sequence[Row], version: str) -> bytes:
    """The document, OpenAPI 3.1."""
    types = [kind for row in rows for kind in (row.answers, row.takes) if kind not in (None, bytes)]
    schemas, parts = msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}")
    by_type = dict(zip(map(str, types), schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for row in rows:
        paths.setdefault(row.path, {})[row.method.lower()] = _operation(row, by_type)
    page = {
        "openapi": "3.1.0",
        "info": {"title": "Modelyard admin API", "version": version},
        "paths": paths,
        "components": {"schemas": {**parts, "Error": _ERROR}},
    }
    return msgspec.json.encode(page)


def _operation(row: Row, schemas: dict[str, Any]) -> dict[str, Any]:
    words = [
        {"name": word, "in": "path", "required": True, "schema": {"type": "string"}}
        for word in _WORD.findall(row.path)
    ]
    words += [
        {"name": word, "in": "query", "description": meaning, "schema": {"type": "string"}}
        for word, meaning in row.query.items()
    ]
    found: dict[str, Any] = {
        "summary": row.summary,
        "operationId": row.run.__name__.strip("_"),
        "parameters": words,
        "responses": {
            str(row.status): {"description": "Done", "content": _content(row.answers, row.kind, schemas)},
            "default": {
                "description": "Refused",
                "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
            },
        },
    }
    if row.takes is not None:
        kind = "application/x-tar" if row.takes is bytes else "application/json"
        found["requestBody"] = {"required": True, "content": _content(row.takes, kind, schemas)}
    return found


def _content(kind: Any, media: str, schemas: dict[str, Any]) -> dict[str, Any]:
    schema = {"type": "string", "format": "binary"} if kind is bytes else schemas[str(kind)]
    return {media: {"schema": schema}}


def docs_page(rows: Sequence[Row]) -> bytes:
    """A page for people: the table, without scripts."""
    lines = "".join(
        f"<tr><td>{row.method}</td><td><code>{escape(row.path)}</code></td><td>{escape(row.summary)}</td></tr>"
        for row in rows
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        "<title>Modelyard admin API</title>"
        '<link rel="stylesheet" href="/docs/docs.css"><link rel="icon" href="data:,"></head><body>'
        "<header><h1>Modelyard admin API</h1></header><section>"
        f"<table><thead><tr><th>Method</th><th>Path</th><th>What it does</th></tr></thead>{lines}</table>"
        '<p class="quiet">Machine-readable: <a href="/openapi.json">/openapi.json</a> (OpenAPI 3.1).</p>'
        "</section></body></html>"
    ).encode()


def docs_css() -> bytes:
    """The style that all pages share."""
    return files("modelyard.serve").joinpath("assets", "docs.css").read_bytes()
