"""The five questions over REST."""

from __future__ import annotations

import json as stdlib_json
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import orjson

from modelyard.client.call import Answer, Call, Inference, ModelInfo, Order, ServerInfo
from modelyard.client.codec import model_info, named_dtype, pack_inputs, read_json, read_raw, to_json
from modelyard.client.errors import BadReply, http_error

if TYPE_CHECKING:
    from modelyard.core.tensor import Array

_HEADER_SIZE = "inference-header-content-length"


class Rest:
    """Open Inference Protocol V2 over HTTP.

    Args:
        binary: tensors travel as raw bytes; False writes JSON wherever JSON can say it.
    """

    def __init__(self, binary: bool = True) -> None:
        self._binary = binary

    def infer(self, order: Order) -> Call[Inference]:
        """``POST /v2/models/NAME[/versions/V]/infer``."""
        inputs, parts = pack_inputs(order.inputs, self._binary)
        body: dict[str, Any] = {"inputs": inputs}
        if order.id is not None:
            body["id"] = order.id
        parameters = {**(order.parameters or {}), **_parameters(order)}
        if order.outputs is not None:
            body["outputs"] = [
                {"name": name, "parameters": {"binary_data": self._binary}} for name in order.outputs
            ]
        elif self._binary:
            parameters["binary_data_output"] = True
        if parameters:
            body["parameters"] = parameters
        header = to_json(body)
        headers = [("Content-Type", "application/octet-stream" if parts else "application/json")]
        if parts:
            headers.append(("Inference-Header-Content-Length", str(len(header))))
        path = _model_path(order.model, order.version) + "/infer"
        return Call("POST", path, [header, *parts], read_inference, _busy, headers)

    def model(self, name: str, version: str) -> Call[ModelInfo]:
        """``GET /v2/models/NAME``."""
        return Call("GET", _model_path(name, version), (), _read_model, _busy)

    def server(self) -> Call[ServerInfo]:
        """``GET /v2``."""
        return Call("GET", "/v2", (), _read_server, _busy)

    def health(self, ready: bool) -> Call[bool]:
        """``GET /v2/health/...``: 200 is yes, a body is not needed."""
        return Call("GET", f"/v2/health/{'ready' if ready else 'live'}", (), _read_health, _never)

    def model_ready(self, name: str, version: str) -> Call[bool]:
        """``GET /v2/models/NAME/ready``."""
        return Call("GET", _model_path(name, version) + "/ready", (), _read_ready, _never)


def _parameters(order: Order) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if order.priority:
        found["priority"] = order.priority
    if order.timeout_s is not None:
        found["timeout"] = max(round(order.timeout_s * 1e6), 1)
    return found


def _model_path(name: str, version: str) -> str:
    path = f"/v2/models/{quote(name, safe='')}"
    return f"{path}/versions/{quote(version, safe='')}" if version else path


def _busy(answer: Answer) -> bool:
    return answer.status in (429, 503)


def _never(answer: Answer) -> bool:  # noqa: ARG001 - "not ready" is the answer to a question about health
    return False


def read_inference(answer: Answer) -> Inference:
    """The outputs of an ``infer`` answer.

    Raises:
        ModelyardError: the error that the server sent.
        BadReply: outputs that do not fit together.
    """
    _refuse(answer)
    body = memoryview(answer.body)
    size = len(body)
    stated = answer.headers.get(_HEADER_SIZE)
    if stated is not None:
        if not (stated.isascii() and stated.isdigit()) or int(stated) > size:
            raise BadReply(
                f"the server's answer is malformed: {_HEADER_SIZE} is {stated!r:.40} of {size} bytes"
            )
        size = int(stated)
    reply = _document(body[:size])
    outputs: dict[str, Array] = {}
    at = size
    try:
        for row in reply["outputs"]:
            name, shape = str(row["name"]), [int(part) for part in row["shape"]]
            dtype = named_dtype(row["datatype"], name)
            raw = (row.get("parameters") or {}).get("binary_data_size")
            if raw is None:
                outputs[name] = read_json(row["data"], dtype, shape, name)
            else:
                outputs[name] = read_raw(body, at, int(raw), dtype, shape, name)
                at += int(raw)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BadReply(f"the server's answer is no inference ({error!r:.80})") from None
    return Inference(
        str(reply.get("model_name", "")), str(reply.get("model_version") or ""), outputs, reply.get("id")
    )


def _read_model(answer: Answer) -> ModelInfo:
    _refuse(answer)
    row = _document(answer.body)
    told = row.get("modelyard")
    return model_info(row, told if isinstance(told, dict) else None)


def _read_server(answer: Answer) -> ServerInfo:
    _refuse(answer)
    row = _document(answer.body)
    return ServerInfo(
        str(row.get("name", "")), str(row.get("version", "")), tuple(map(str, row.get("extensions") or ()))
    )


def _read_health(answer: Answer) -> bool:
    return answer.status == 200


def _read_ready(answer: Answer) -> bool:
    if answer.status == 404:
        _refuse(answer)
    return answer.status == 200


def _document(body: bytes | memoryview) -> dict[str, Any]:
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        found = _lenient(body)
    if not isinstance(found, dict):
        raise BadReply(f"something answers there, but not in this protocol: {bytes(body[:80])!r}")
    return found


def _lenient(body: bytes | memoryview) -> Any:
    """Servers in Python write NaN and Infinity, which are not JSON; the standard library reads them."""
    try:
        return stdlib_json.loads(bytes(body))
    except (ValueError, RecursionError):
        return None


def _refuse(answer: Answer) -> None:
    """Raise what a status other than 200 means."""
    if answer.status == 200:
        return
    message, code = "", ""
    try:
        row = orjson.loads(answer.body)
        message, code = str(row["error"]), str(row.get("code", ""))
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
        message = bytes(answer.body[:200]).decode("utf-8", "replace").strip()
    raise http_error(answer.status, message or f"the server answered {answer.status} and said nothing", code)
