"""``modelyard``: the command line. One file a verb, imported only when it is called."""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING

import click

from modelyard.console.exits import INTERNAL, exit_code
from modelyard.console.text import printable
from modelyard.core.errors import ModelyardError
from modelyard.settings import read_settings

if TYPE_CHECKING:
    from collections.abc import Sequence

VERBS: dict[str, str] = {
    "serve": "modelyard.console.cli.serve:serve",
    "inspect": "modelyard.console.cli.inspect:inspect",
    "convert": "modelyard.console.cli.convert:convert",
    "predict": "modelyard.console.cli.predict:predict",
    "bench": "modelyard.console.cli.bench:bench",
    "up": "modelyard.console.cli.up:up",
    "down": "modelyard.console.cli.down:down",
    "push": "modelyard.console.cli.push:push",
    "release": "modelyard.console.cli.release:release",
    "promote": "modelyard.console.cli.promote:promote",
    "rollback": "modelyard.console.cli.rollback:rollback",
    "withdraw": "modelyard.console.cli.withdraw:withdraw",
    "off": "modelyard.console.cli.off:off",
    "retire": "modelyard.console.cli.retire:retire",
    "restore": "modelyard.console.cli.restore:restore",
    "list": "modelyard.console.cli.list:list_",
    "show": "modelyard.console.cli.show:show",
    "diff": "modelyard.console.cli.diff:diff",
    "history": "modelyard.console.cli.history:history",
    "export": "modelyard.console.cli.export:export",
    "import": "modelyard.console.cli.import_:import_",
    "gc": "modelyard.console.cli.gc:gc",
    "fsck": "modelyard.console.cli.fsck:fsck",
    "audit": "modelyard.console.cli.audit:audit",
    "doctor": "modelyard.console.cli.doctor:doctor",
    "version": "modelyard.console.cli.version:version",
}
"""Verb -> its command, in the order of the help page."""


class Verbs(click.Group):
    """A group that imports a verb when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """The verbs in the order of the table."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        """Import one verb."""
        row = VERBS.get(cmd_name)
        if row is None:
            return None
        module, _, attr = row.partition(":")
        found = getattr(importlib.import_module(module), attr)
        assert isinstance(found, click.Command)  # noqa: S101 - the table is ours
        return found


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
def cli() -> None:
    """From a trained model file to a fast, versioned, watched service."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its code; the edge of the process."""
    try:
        code = cli.main(args=arguments, prog_name="modelyard", standalone_mode=False)
    except click.exceptions.Abort:
        click.echo("interrupted", err=True)
        sys.exit(130)
    except click.exceptions.Exit as end:
        sys.exit(end.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except ModelyardError as error:
        click.echo(f"error: {printable(error.message)} [{error.code}]", err=True)
        sys.exit(exit_code(error))
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(141)
    except Exception as error:
        click.echo(
            f"error: a bug in modelyard: {type(error).__name__}: {error}\n"
            "Set MODELYARD_LOG=debug for the traceback, and please report it.",
            err=True,
        )
        if read_settings().log_level == "debug":
            raise
        sys.exit(INTERNAL)
    sys.exit(code if isinstance(code, int) else 0)
