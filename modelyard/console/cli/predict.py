"""``modelyard predict URL MODEL ROWS``: rows from a file or a pipe, answers as a table, JSON or a file."""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

import click
import numpy as np
import orjson

from modelyard.client.client import Client
from modelyard.client.feed import slice_rows
from modelyard.client.prediction import Prediction, join
from modelyard.console.text import ProgressLine, table, terminal_width
from modelyard.core.errors import BadInput
from modelyard.core.ref import parse_ref
from modelyard.formats.fit import to_inputs
from modelyard.formats.rows import read_rows
from modelyard.settings import read_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from modelyard.core.signature import Signature
    from modelyard.core.tensor import Array

FORMS = ("csv", "json", "jsonl", "npy", "parquet")
OUTPUTS = (".csv", ".json", ".npy")
SHOWN_ROWS, SHOWN_SCORES, SHOWN_VALUES = 50, 3, 8
QUIET_S = 0.5
"""Shorter than this nobody needs to see progress."""


@click.command()
@click.argument("url")
@click.argument("model")
@click.argument("rows", type=click.Path(path_type=Path, allow_dash=True))
@click.option(
    "--format", "form", type=click.Choice(FORMS), help="Of ROWS; from its name or content otherwise."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout, for machines.")
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), help="Write .csv, .json or .npy.")
@click.option(
    "--batch-rows", default=1024, show_default=True, type=click.IntRange(1), help="Rows in one request."
)
@click.option(
    "--timeout",
    default=60.0,
    show_default=True,
    type=click.FloatRange(0.001),
    help="Seconds for one request, tries included.",
)
@click.option(
    "--retries", default=3, show_default=True, type=click.IntRange(0), help="When the server is busy."
)
def predict(
    url: str,
    model: str,
    rows: Path,
    form: str | None,
    as_json: bool,
    output: Path | None,
    batch_rows: int,
    timeout: float,
    retries: int,
) -> None:
    """Send ROWS (.csv .json .parquet .npy, or - for stdin) to MODEL (NAME or NAME:VERSION) at URL.

    URL is http://HOST:PORT or grpc://HOST:PORT. On a terminal the first 50 rows are shown, in a pipe all.
    """
    _check_output(output)
    ref = parse_ref(model)
    given = read_rows(sys.stdin.buffer if str(rows) == "-" else rows, form or "")
    with Client(url, timeout_s=timeout, retries=retries) as yard:
        signature = yard.metadata(ref.name, ref.version).signature
        arrays = to_inputs(given, signature)
        started = monotonic()
        inputs = dict(zip((spec.name for spec in signature.inputs), arrays, strict=True))
        found = join(
            list(
                _predict_batches(
                    inputs,
                    signature,
                    batch_rows,
                    lambda part: yard.predict(ref.name, part, version=ref.version),
                )
            )
        )
        took_s = monotonic() - started
    if output is not None:
        _write(output, document(found, url, took_s), found)
        click.echo(f"{len(found):,} rows written to {output}", err=True)
    if as_json:
        click.echo(orjson.dumps(document(found, url, took_s)).decode())
    elif output is None:
        settings = read_settings()
        click.echo(draw(found, sys.stdout.isatty(), settings.color))


def _predict_batches(
    inputs: dict[str, Array], signature: Signature, batch_rows: int, ask: Callable[[Any], Prediction]
) -> Iterator[Prediction]:
    """Ask in batches; where the first axis does not count rows, all is one question."""
    size = len(next(iter(inputs.values()))) if signature.batched else 0
    if size <= batch_rows:
        yield ask(inputs)
        return
    progress, started = ProgressLine(), monotonic()
    try:
        for start in range(0, size, batch_rows):
            if monotonic() - started > QUIET_S:
                progress.show(f"{size:,} rows", start / size)
            try:
                yield ask(slice_rows(inputs, start, start + batch_rows))
            except BadInput as error:
                stop = min(start + batch_rows, size)
                raise BadInput(f"rows {start} to {stop - 1}: {error.message}") from error
    finally:
        progress.close()


def document(found: Prediction, url: str, took_s: float) -> dict[str, Any]:
    """The answer for machines; every key is always there.

    ``labels`` and ``scores`` are null where the model has none; ``outputs`` holds what is neither.
    A value that JSON cannot say (NaN, an infinity) is null.
    """
    rest = {
        name: _plain(array)
        for name, array in found.outputs.items()
        if name != found.label_output and array is not found.scores
    }
    return {
        "url": url,
        "model": found.model,
        "version": found.version,
        "rows": len(found),
        "seconds": round(took_s, 6),
        "classes": list(found.classes),
        "labels": None if found.label is None else _plain(found.label),
        "scores": None if found.scores is None else _plain(found.scores),
        "outputs": rest,
    }


def _plain(array: Array) -> Any:
    if array.dtype.kind == "O":
        texts = [
            item.decode("utf-8", "replace") if isinstance(item, bytes) else item for item in array.ravel()
        ]
        return np.array(texts, object).reshape(array.shape).tolist()
    # orjson writes a 32-bit float as its own shortest decimal; through Python it would gain digits.
    return orjson.loads(orjson.dumps(np.ascontiguousarray(array), None, orjson.OPT_SERIALIZE_NUMPY))


def draw(found: Prediction, terminal: bool, color: bool) -> str:
    """The answer as a table: the row, its label and its best scores, or the values of its outputs."""
    size = len(found)
    shown = min(size, SHOWN_ROWS) if terminal else size
    heads, numbers = _heads(found)
    lines = [[str(row), *_cells(found, row)] for row in range(shown)]
    text = table(
        heads,
        lines,
        numbers=[0, *numbers],
        width=terminal_width() if terminal else None,
        bold=terminal and color,
    )
    if shown < size:
        text += f"\n... {size - shown:,} more rows; --json or --output FILE gives all"
    return text


def _label_head(found: Prediction) -> str:
    """A class is a label; what stands alone keeps its own name, such as a regressor's prediction."""
    return found.label_output or "label" if found.scores is None else "label"


def _heads(found: Prediction) -> tuple[list[str], list[int]]:
    heads, numbers = ["row"], []
    if found.label is not None:
        heads.append(_label_head(found))
        if found.label.dtype.kind in "iuf":
            numbers.append(1)
        if found.scores is not None:
            heads.append("scores")
    else:
        heads.extend(found.outputs)
    return heads, numbers


def _cells(found: Prediction, row: int) -> list[str]:
    if found.label is None:
        return [_brief(array, row) for array in found.outputs.values()]
    cells = [_value(found.label[row])]
    if found.scores is not None:
        best = found.top(row, SHOWN_SCORES)
        more = found.scores.reshape(len(found), -1).shape[1] - len(best)
        cells.append(
            "  ".join(f"{name} {score:.3f}" for name, score in best) + (f"  (+{more})" if more > 0 else "")
        )
    return cells


def _brief(array: Array, row: int) -> str:
    if array.ndim == 0 or row >= len(array):
        return ""
    flat = np.asarray(array[row]).reshape(-1)
    text = " ".join(_value(value) for value in flat[:SHOWN_VALUES])
    return text + (f" (+{flat.size - SHOWN_VALUES})" if flat.size > SHOWN_VALUES else "")


def _value(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, float | np.floating):
        return f"{value:.6g}"
    return str(value)


def _check_output(output: Path | None) -> None:
    """Find out before the work whether its result can be written."""
    if output is None:
        return
    if output.suffix.lower() not in OUTPUTS:
        raise click.BadParameter(f"{output.name!r} must end in {', '.join(OUTPUTS)}", param_hint="--output")
    if not output.parent.is_dir():
        raise click.BadParameter(f"there is no folder {str(output.parent)!r}", param_hint="--output")


def _write(output: Path, whole: dict[str, Any], found: Prediction) -> None:
    try:
        if output.suffix.lower() == ".json":
            output.write_bytes(orjson.dumps(whole))
        elif output.suffix.lower() == ".npy":
            values = found.values
            with output.open("wb") as stream:
                np.save(
                    stream, values.astype(str) if values.dtype.kind == "O" else values, allow_pickle=False
                )
        else:
            _write_csv(output, found)
    except OSError as error:
        raise click.BadParameter(f"{str(output)!r}: {error.strerror}", param_hint="--output") from None


def _write_csv(output: Path, found: Prediction) -> None:
    heads: list[str] = []
    columns: list[Array] = []
    if found.label is not None:
        heads.append(_label_head(found))
        columns.append(found.label)
    for name, array in found.outputs.items():
        if name == found.label_output:
            continue
        flat = array.reshape(len(found), -1)
        named = array is found.scores and len(found.classes) == flat.shape[1]
        several = flat.shape[1] > 1
        for at in range(flat.shape[1]):
            heads.append(f"score_{found.classes[at]}" if named else f"{name}_{at}" if several else name)
            columns.append(flat[:, at])
    with output.open("w", newline="", encoding="utf-8") as stream:
        lines = csv.writer(stream, lineterminator="\n")
        lines.writerow(heads)
        lines.writerows([_csv_value(column[row]) for column in columns] for row in range(len(found)))


def _csv_value(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
