"""Write docs/reference.md from the code's own tables; with --check, say whether it is in step."""

from __future__ import annotations

import inspect
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import click  # noqa: E402 - after the path
from settled import settle  # noqa: E402

from modelyard import settings  # noqa: E402
from modelyard.console.cli.main import VERBS, cli  # noqa: E402
from modelyard.console.exits import EXITS  # noqa: E402
from modelyard.core import errors  # noqa: E402
from modelyard.monitor.exposition import METRICS  # noqa: E402
from modelyard.serve.status import STATUS  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = ROOT / "docs" / "reference.md"


def page() -> str:
    """The whole page."""
    return "\n".join([*_head(), *_verbs(), *_settings(), *_codes(), *_metrics()]) + "\n"


def _head() -> Iterator[str]:
    yield "# Reference"
    yield ""
    yield "Written by `python tools/reference.py` from the code's own tables; `make check` holds it in step."
    yield ""


def _verbs() -> Iterator[str]:
    yield "## Commands"
    for verb in VERBS:
        command = cli.get_command(click.Context(cli), verb)
        assert command is not None
        context = click.Context(
            command, info_name=f"modelyard {verb}", max_content_width=100, terminal_width=100
        )
        yield f"\n### modelyard {verb}\n\n```text"
        yield command.get_help(context)
        yield "```"


def _settings() -> Iterator[str]:
    yield "\n## Settings\n"
    yield from (line for line in (settings.__doc__ or "").splitlines() if line.startswith("|"))


def _codes() -> Iterator[str]:
    yield "\n## Errors\n"
    yield 'Every error carries a stable code. On HTTP the body is `{"error": "sentence", "code": "code"}`.'
    yield ""
    yield "| code | meaning | HTTP | gRPC | exit code |"
    yield "|---|---|---|---|---|"
    meanings = {
        thing.code: (thing.__doc__ or "").splitlines()[0]
        for thing in vars(errors).values()
        if inspect.isclass(thing) and issubclass(thing, errors.ModelyardError) and not thing.__subclasses__()
    }
    for code, meaning in meanings.items():
        status = STATUS.get(code)
        http, grpc = (status.http, status.grpc) if status else ("", "")
        yield f"| `{code}` | {re.sub('``', '`', meaning)} | {http} | {grpc} | {EXITS.get(code, 70)} |"


def _metrics() -> Iterator[str]:
    yield "\n## Metrics\n"
    yield "| metric | type | meaning |"
    yield "|---|---|---|"
    for name, (kind, meaning) in METRICS.items():
        yield f"| `{name}` | {kind} | {meaning} |"


def main() -> int:
    """Write or check."""
    return settle(PAGE, page(), "reference")


if __name__ == "__main__":
    raise SystemExit(main())
