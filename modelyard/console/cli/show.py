"""``modelyard show MODEL`` or ``MODEL:VERSION``: one model, or one version and what was proved of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
from msgspec import structs

from modelyard.console.cli.yard_options import JSON, Where, where_options
from modelyard.console.cli.yard_text import draw, facts, moment, release_facts, say_json, size, version_table
from modelyard.console.text import printable
from modelyard.core.ref import parse_ref
from modelyard.core.table import Table

if TYPE_CHECKING:
    from collections.abc import Mapping

    from modelyard.client.admin_values import ModelPage, VersionPage
    from modelyard.compiler.report import CompileReport

_REPORT: Table[type[CompileReport]] = Table({"report": "modelyard.compiler.report:CompileReport"}, "report")
"""It comes with the compiler, and only one version's page shows it."""


@click.command()
@where_options()
@click.argument("ref")
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1, 1000), help="Versions shown.")
@JSON
def show(where: Where, ref: str, limit: int, as_json: bool) -> None:
    """Show a model (iris) with its newest versions, or one version (iris:2) with its manifest."""
    found = parse_ref(ref)
    page: ModelPage | VersionPage
    with where.desk() as desk:
        if found.version is not None:
            page = desk.version(ref)
            lines = _version(page)
        else:
            page = _with_shadows(where, desk.model(found.name, limit))
            lines = _model(page)
    if as_json:
        say_json(page)
        return
    click.echo("\n".join(lines))


def _with_shadows(where: Where, page: ModelPage) -> ModelPage:
    """The page with what shadows would have answered: a running control knows, the registry does not."""
    if page.shadows or all(entry.role != "shadow" for entry in page.model.release.entries):
        return page
    for control in where.controls():
        with control:
            page = structs.replace(page, shadows=control.model(page.model.name, 1).shadows)
    return page


def _model(page: ModelPage) -> list[str]:
    model = page.model
    more = model.last_version - len(page.versions)
    lines = [
        f"{model.name}: {model.last_version} versions",
        facts(release_facts(model.release)),
        "",
        version_table(page.versions, model.release),
    ]
    lines += [f"and {more} older ones"] if more > 0 else []
    for row in page.shadows:
        dropped = f"; {row.dropped} copies were left out" if row.dropped else ""
        lines += ["", f"{row.version} as a shadow: {row.said}{dropped}"]
        lines += [
            printable(f"  {one.output}: {one.live} was answered, it says {one.shadow}")
            for one in row.examples
        ]
    return lines


def _version(page: VersionPage) -> list[str]:
    row = page.version
    rows = [
        ("state", f"{row.state} since {moment(row.state_at)}" + (f", {page.role}" if page.role else "")),
        ("note", row.note),
        ("pushed", f"{moment(row.created_at)} by {row.created_by}"),
        ("digest", row.digest),
        ("size", size(page.size_bytes) if page.files else ""),
        ("bundle", "collected as garbage; only the history is left" if row.gone else ""),
    ]
    lines = [f"{row.model}:{row.number}", facts(rows)]
    signature = page.facts.get("signature")
    if isinstance(signature, dict):
        lines += ["", *_signature(signature)]
    report = _report(page.facts)
    if report:
        lines += ["", "what was done and proved:", *(f"  {line}" for line in report)]
    if page.files:
        files = [[file.name, f"{file.size_bytes:,}", file.sha256[:12]] for file in page.files]
        lines += ["", draw(["file", "bytes", "digest"], files, numbers=[1])]
    return lines


def _signature(signature: Mapping[str, Any]) -> list[str]:
    rows = [
        [side, str(spec.get("name")), str(spec.get("datatype")), _shape(spec.get("shape"))]
        for side, key in (("takes", "inputs"), ("gives", "outputs"))
        for spec in signature.get(key, ())
    ]
    return [draw(["", "tensor", "datatype", "shape"], rows)]


def _shape(shape: Any) -> str:
    return ", ".join("any" if axis in {-1, None} else str(axis) for axis in shape or ())


def _report(facts_: Mapping[str, Any]) -> list[str]:
    """The report's lines; a bundle of another release may hold one that is read differently."""
    try:
        return _REPORT.load("report").from_json(facts_["report"]).lines()
    except (KeyError, TypeError, ValueError, AttributeError):
        return []
