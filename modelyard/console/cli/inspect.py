"""``modelyard inspect FILE``: what a file is, and what would be done with it. Opens nothing unsafe."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from modelyard.console.cli.announce import describe_road
from modelyard.console.cli.asked import asked, asks
from modelyard.console.text import ProgressLine, table
from modelyard.flow import OpenLimits, Wishes, prepare
from modelyard.formats.audit import Audit, audit
from modelyard.formats.sniff import Sniffed, sniff
from modelyard.settings import read_settings

if TYPE_CHECKING:
    from modelyard.core.signature import Signature
    from modelyard.flow import Prepared

_FILE = click.Path(path_type=Path)


@click.command()
@click.argument("file", type=_FILE)
@click.option("--sample", type=_FILE, help="Real rows for the proof: .csv .json .npy .parquet, pictures.")
@click.option("--static", is_flag=True, help="Look only; do not open the file in a sandboxed child.")
@click.option("--native", is_flag=True, help="Say what native serving would be.")
@asks
@click.option("--trust", is_flag=True, help="Open an unsafe file even where this kernel cannot confine it.")
@click.option("--open-seconds", default=180.0, show_default=True, help="How long a child may take.")
@click.option("--open-mb", default=4096, show_default=True, help="How much memory a child may take, MiB.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object, for machines.")
def inspect(
    file: Path,
    sample: Path | None,
    static: bool,
    native: bool,
    trust: bool,
    open_seconds: float,
    open_mb: int,
    as_json: bool,
) -> int:
    """Say what FILE is, what it takes and gives, what is unsafe in it, and how it would be served."""
    sniffed, found = _looked_at(file)
    prepared = None
    if not static and not found.dangerous:
        progress = ProgressLine()
        try:
            wishes = Wishes(sample, native, trust, OpenLimits(open_seconds, open_mb << 20), options=asked())
            prepared = prepare(file, wishes, read_settings().cache, progress.show)
        finally:
            progress.close()
    click.echo(_as_json(sniffed, found, prepared) if as_json else _as_text(file, sniffed, found, prepared))
    return 77 if found.dangerous else 0


def _looked_at(file: Path) -> tuple[Sniffed, Audit]:
    """What the file is; of Python code and pipelines there is nothing to say before they are opened."""
    if file.suffix == ".toml" or (not file.exists() and ":" in str(file)) or file.suffix == ".py":
        finding = "it is code of yours and whatever it imports; it runs in a sandboxed child only"
        return Sniffed("python", "Python code", False), Audit(0, False, True, (), (), (), (finding,), ())
    sniffed = sniff(file)
    return sniffed, audit(file, sniffed)


def _as_json(sniffed: Sniffed, found: Audit, prepared: Prepared | None) -> str:
    page: dict[str, Any] = {
        "format": sniffed.format,
        "detail": sniffed.detail,
        "size_bytes": found.size_bytes,
        "safe": found.safe,
        "complete": found.complete,
        "imports": {
            "known": list(found.known),
            "unknown": list(found.unknown),
            "dangerous": list(found.dangerous),
        },
        "findings": list(found.findings),
        "facts": dict(found.facts),
        "signature": None,
        "report": None,
    }
    if prepared is not None:
        page["signature"] = prepared.signature.to_json()
        page["report"] = prepared.report.to_json()
    return json.dumps(page, ensure_ascii=False)


def _as_text(file: Path, sniffed: Sniffed, found: Audit, prepared: Prepared | None) -> str:
    lines = [f"{file.name}: {sniffed.detail}, {found.size_bytes:,} bytes"]
    rows = list(found.facts)
    if found.dangerous:
        rows.append(("unsafe", "it asks for " + ", ".join(found.dangerous[:8])))
    rows.extend(("finding", text) for text in found.findings)
    if prepared is not None:
        rows.extend(describe_road(prepared.report))
    elif found.dangerous:
        rows.append(
            (
                "not opened",
                "a model has no use for that; `modelyard serve` would open it in a sandboxed child",
            )
        )
    width = max((len(head) for head, _ in rows), default=0) + 2
    lines += [f"  {head:<{width}}{text}" for head, text in rows]
    if prepared is not None:
        lines += [
            "",
            _tensors("takes", prepared.signature, inputs=True),
            "",
            _tensors("gives", prepared.signature, inputs=False),
        ]
        if prepared.report.verdict is not None:
            lines += ["", *prepared.report.verdict.lines()]
    return "\n".join(lines)


def _tensors(head: str, signature: Signature, *, inputs: bool) -> str:
    specs = signature.inputs if inputs else signature.outputs
    rows = [
        [
            spec.name,
            spec.dtype.name,
            "[" + ", ".join("any" if size is None else str(size) for size in spec.shape) + "]",
            ", ".join(spec.columns) or _meaning(signature, spec.name),
        ]
        for spec in specs
    ]
    width = None if not sys.stdout.isatty() else 100
    return table([head, "datatype", "shape", "columns" if inputs else "meaning"], rows, width=width)


def _meaning(signature: Signature, name: str) -> str:
    if name == signature.label:
        return "the predicted class" if signature.task == "classifier" else "the prediction"
    if name == signature.scores:
        return "one score a class: " + ", ".join(signature.classes[:12]) if signature.classes else "scores"
    return ""
