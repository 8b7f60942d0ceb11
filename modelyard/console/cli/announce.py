"""The words about a prepared model that `serve` and `inspect` share."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING, Any

import click

from modelyard.wire.openapi import is_text
from modelyard.wire.plain import takes_bytes

if TYPE_CHECKING:
    from modelyard.compiler.report import CompileReport
    from modelyard.control.serving import Served
    from modelyard.core.signature import Signature, TensorSpec
    from modelyard.core.tensor import Array


def describe_road(report: CompileReport) -> list[tuple[str, str]]:
    """Heading and sentence: what the model was made from, what was proved, what to know."""
    how = "served as ONNX" if report.road == "onnx" else "served natively, in a process beside this one"
    lines = [("made from", f"{report.origin}; {how}")]
    if report.reason:
        lines.append(("because", report.reason))
    verdict = report.verdict
    if verdict is not None and verdict.ok:
        excused = sum(group.ties + group.edges for group in verdict.groups)
        more = f", {excused} of them ties or on the edge of a threshold" if excused else ""
        lines.append(
            ("proved", f"{verdict.rows:,} rows compared with the original: it answers the same{more}")
        )
    checked = report.checked
    if checked is not None and checked.run_s_1 and report.road == "onnx":
        many = f", {checked.rows_n} rows {_time(checked.run_s_n)}" if checked.rows_n > 1 else ""
        lines.append(("speed", f"one row {_time(checked.run_s_1)}{many}, in the model alone"))
    notes = (*report.notes, *(checked.notes if checked else ()), *(verdict.notes if verdict else ()))
    lines.extend(("note", note) for note in dict.fromkeys(notes))
    return lines


def _time(seconds: float) -> str:
    return f"{seconds * 1e6:.0f} us" if seconds < 1e-3 else f"{seconds * 1e3:.1f} ms"


def example_body(signature: Signature, example: tuple[Array, ...]) -> dict[str, Any]:
    """A body for ``POST /predict`` that this model answers: its first example row."""
    if len(signature.inputs) == 1:
        (spec,) = signature.inputs
        row = _plain(example[0][:1] if signature.batched else example[0])
        if spec.columns and len(spec.columns) == example[0].shape[-1] and len(spec.shape) == 2:
            return {"input": [dict(zip(spec.columns, row[0], strict=True))]}
        return {"input": row}
    return {
        "input": [
            {spec.name: _cell(spec, array) for spec, array in zip(signature.inputs, example, strict=True)}
        ]
    }


def example_line(url: str, signature: Signature, example: tuple[Array, ...]) -> str:
    """A curl line to paste."""
    if takes_bytes(signature) and not is_text(example[0]):
        return f"curl -s {url}/predict --data-binary @FILE"
    body = json.dumps(example_body(signature, example), ensure_ascii=False)
    if len(body) > 400:
        return f"open {url}/docs for an example ({len(body):,} characters)"
    return f"curl -s {url}/predict -d {shlex.quote(body)}"


def _cell(spec: TensorSpec, array: Array) -> Any:
    first = _plain(array[:1])[0]
    return first[0] if len(spec.shape) == 2 and spec.shape[1] == 1 else first


def _plain(array: Array) -> Any:
    if array.dtype == object:
        return _texts(array.tolist())
    if array.dtype.kind == "f":
        # The shortest text that reads back as the same number of this width.
        return json.loads(json.dumps(_shortest(array)))
    return array.tolist()


def _shortest(array: Array) -> Any:
    if array.ndim == 0:
        value = float(str(array[()]))
        return value if value == value and abs(value) != float("inf") else 0.0  # noqa: PLR0124 - NaN
    return [_shortest(part) for part in array]


def _texts(value: Any) -> Any:
    if isinstance(value, list):
        return [_texts(part) for part in value]
    return value.decode("utf-8", "replace")


def _url(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def announce(served: Served, host: str, seconds: float) -> None:
    """Say for a person where it answers."""
    slot, url = served.slot, _url(host, served.http_port)
    lines = [f"{slot.name} is ready after {seconds:.1f} s"]
    lines += [f"  {head:<10} {text}" for head, text in describe_road(served.report)]
    lines.append(f"  {'REST':<10} {url}/v2/models/{slot.name}/infer")
    if served.grpc_port is not None:
        lines.append(f"  {'gRPC':<10} {host}:{served.grpc_port}")
    lines.append(f"  {'page':<10} {url}/docs")
    lines.append(f"  {'try':<10} {example_line(url, slot.signature, slot.example)}")
    click.echo("\n".join([*lines, "Ctrl-C stops it."]))


def announce_json(served: Served, host: str, seconds: float) -> None:
    """Say it for a machine."""
    said = {
        "model": served.slot.name,
        "version": served.slot.version,
        "http": _url(host, served.http_port),
        "grpc": None if served.grpc_port is None else f"{host}:{served.grpc_port}",
        "ready_after_s": round(seconds, 3),
        "cached": served.cached,
        "report": served.report.to_json(),
    }
    click.echo(json.dumps(said))
