"""MLflow's ``/invocations``: four JSON forms and CSV in, ``{"predictions": [...]}`` out.

Source: mlflow/pyfunc/scoring_server/__init__.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from modelyard.core.errors import BadInput, BadRequest, Unsupported, UnsupportedMedia
from modelyard.wire.dialects.answers import encode_rows, only_output
from modelyard.wire.dialects.bodies import CSV_TYPES, check_length, media_of, parse_json
from modelyard.wire.dialects.codec import Codec
from modelyard.wire.dialects.csv_rows import read_headless
from modelyard.wire.dialects.rows import read_columns, read_long, read_rows, request_of, requests_of
from modelyard.wire.plain import decode_plain
from modelyard.wire.plain_rows import column_names, from_records, from_rows
from modelyard.wire.quick import Members

if TYPE_CHECKING:
    from collections.abc import Generator

    from modelyard.core.limits import WireLimits
    from modelyard.core.request import InferReply, InferRequest
    from modelyard.core.signature import Signature
    from modelyard.core.tensor import Array
    from modelyard.wire.binary import Buffer


_ROWS = ("instances", "inputs")
FORMS = ("dataframe_split", "dataframe_records", *_ROWS)
_QUICK = Members(FORMS, {"params": dict | None})


class Scoring(Codec):
    """MLflow's ``/invocations``."""

    __slots__ = ("_content_type",)

    def __init__(self, content_type: str) -> None:
        Codec.__init__(self)
        self._content_type = content_type

    @property
    def alike(self) -> str:
        """JSON."""
        return "mlflow" if self._content_type == "application/json" else ""

    def read(
        self, body: Buffer, signature: Signature, limits: WireLimits
    ) -> InferRequest | Generator[None, None, InferRequest]:
        """Read the body, at once or in steps.

        Raises:
            CallerError: not a request that this model takes.
        """
        media = self._media()
        if media in CSV_TYPES:
            if not column_names(signature):
                return request_of(signature, read_headless(body, signature, limits, skip=1))
            return requests_of(decode_plain(body, "text/csv", signature, limits))
        check_length(body, limits)
        if len(body) > limits.step_bytes:
            return read_long(
                body, signature, limits, scoring_form, lambda value: self._arrays(value, signature, limits)
            )
        quick = _QUICK.read(body, signature) if signature.batched else None
        if quick is not None and quick[0] in _ROWS:
            return request_of(signature, [quick[1]])
        return request_of(signature, self._arrays(parse_json(body, limits), signature, limits))

    def _media(self) -> str:
        media = media_of(self._content_type)
        if media not in ("application/json", *CSV_TYPES):
            raise UnsupportedMedia(
                f"This predictor only supports the following content types: text/csv, application/json. "
                f"Got {media[:80]!r}."
            )
        for part in self._content_type.split(";")[1:]:
            key, _, value = part.strip().partition("=")
            if key.lower() == "charset" and value.strip('"').lower() not in ("utf-8", "utf8"):
                raise UnsupportedMedia("The scoring server only supports UTF-8 encoded data.")
        return media

    def _arrays(self, members: Any, signature: Signature, limits: WireLimits) -> list[Array]:
        form = scoring_form(members)
        value = members[form]
        if form == "dataframe_split":
            return _split(value, signature, limits)
        if form == "dataframe_records":
            if type(value) is not list or not value:
                raise BadInput("'dataframe_records' must be a list of at least one record")
            if type(value[0]) is not dict:
                raise BadInput("'dataframe_records' must be a list of objects")
            return read_rows(value, signature, limits, "dataframe_records")
        if form == "instances":
            return _listed(value, signature, limits)
        if type(value) is list:
            return (
                _listed(value, signature, limits)
                if signature.batched
                else read_columns(value, signature, limits)
            )
        return read_columns(value, signature, limits)

    def write(self, reply: InferReply) -> bytes | Generator[None, None, bytes]:
        """``{"predictions": [...]}``, one a row, as the model's own ``predict`` gives them."""
        return encode_rows(only_output(reply, reply.signature.label), bare=False)


def scoring_form(members: Any) -> str:
    """Which of MLflow's forms a body has.

    Raises:
        BadRequest: none of them, or several, or parameters that are no object.
        Unsupported: a body for language models, which are not served here.
    """
    if type(members) is not dict:
        raise BadRequest(
            "Invalid input. The input must be a JSON object, with one of the keys " + ", ".join(FORMS)
        )
    found = [form for form in FORMS if form in members]
    if not found and any(key in members for key in ("messages", "prompt", "input")):
        raise Unsupported("this model takes rows; bodies for language models are not read here")
    if len(found) != 1:
        raise BadRequest("Invalid input. The input must have exactly one of the keys " + ", ".join(FORMS))
    if type(members.get("params", {})) not in (dict, type(None)):
        raise BadRequest("'params' must be an object")
    return found[0]


def _listed(value: Any, signature: Signature, limits: WireLimits) -> list[Array]:
    """Rows as lists also for a table of several columns."""
    if len(signature.inputs) > 1 and type(value) is list and value and type(value[0]) is list:
        return from_rows(value, signature)
    return read_rows(value, signature, limits)


def _split(value: Any, signature: Signature, limits: WireLimits) -> list[Array]:
    if type(value) is not dict or type(value.get("data")) is not list or not value["data"]:
        raise BadInput(
            "'dataframe_split' must be an object with 'columns' and 'data', at least one row of it"
        )
    rows, columns = value["data"], value.get("columns")
    if any(type(row) is not list for row in rows):
        raise BadInput("'data' of 'dataframe_split' must be a list of rows")
    if columns is None:
        return _listed(rows, signature, limits)
    if type(columns) is not list or not all(type(name) in (str, int) for name in columns):
        raise BadInput("'columns' of 'dataframe_split' must be a list of names")
    names = [str(name) for name in columns]
    if len(set(names)) != len(names):
        raise BadInput("a column stands twice in 'columns'")
    for at, row in enumerate(rows):
        if len(row) != len(names):
            raise BadInput(f"row {at} has {len(row)} values, 'columns' has {len(names)}")
    known = column_names(signature)
    if known and set(names) == set(known):
        return from_records([dict(zip(names, row, strict=True)) for row in rows], signature)
    if known and not all(name.isdigit() for name in names):
        return from_records([dict(zip(names, row, strict=True)) for row in rows], signature)
    return _listed(rows, signature, limits)  # numbered columns: by place, as the model has no names
