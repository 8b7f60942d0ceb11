"""``modelyard audit``: who did what, and whether the log is as it was written."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from modelyard.console.cli.yard_options import JSON, Where, where_options
from modelyard.console.cli.yard_text import draw, moment, say_json
from modelyard.console.exits import DATA

if TYPE_CHECKING:
    from modelyard.client.admin_values import AuditLine
    from modelyard.console.cli.yard_options import AnyDesk

_PAGE = 1000


@click.command()
@where_options()
@click.argument("subject", required=False)
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1), help="The last lines shown.")
@JSON
def audit(where: Where, subject: str | None, limit: int, as_json: bool) -> int:
    """Verify the audit log's chain and show its last lines, or those of a SUBJECT (iris, iris:2).

    Exits with 65 when a line was changed or is missing.
    """
    with where.desk() as desk:
        report = desk.verify_audit()
        lines = _last(desk, subject, limit, report.rows)
    if as_json:
        say_json({"report": report, "lines": lines})
    else:
        if lines:
            rows = [[str(row.seq), moment(row.at), row.who, row.action, row.subject] for row in lines]
            click.echo(draw(["line", "at", "who", "did", "what"], rows, numbers=[0]))
        holds = f"all {report.rows:,} lines hold; the last one's hash is {report.head}"
        click.echo(holds if report.ok else f"the log is broken: {report.finding}")
    return 0 if report.ok else DATA


def _last(desk: AnyDesk, subject: str | None, limit: int, rows: int) -> list[AuditLine]:
    after = 0 if subject else max(rows - limit, 0)
    found: list[AuditLine] = []
    while page := desk.audit(after, _PAGE, subject):
        found = [*found, *page][-limit:]
        after = page[-1].seq
    return found
