"""The entry of a worker process: ``python -m modelyard.control.worker --options JSON --socket PATH``.

Control starts it, so its arguments are not for people: the options are those that ``serve.options`` writes.
"""

from __future__ import annotations

import argparse
import logging
import sys
from functools import partial
from importlib.metadata import version as installed
from pathlib import Path
from typing import TYPE_CHECKING

from modelyard.core.errors import ModelyardError
from modelyard.kept import open_version
from modelyard.serve.options import read_options
from modelyard.serve.replay import replay
from modelyard.serve.worker import Worker
from modelyard.settings import read_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from modelyard.serve.opened import Opened, Opener

FAILED = 69
"""The exit code of a worker that could not begin."""


def main(arguments: Sequence[str], opening: Callable[[bool], Opener], prove: Callable[[Opened], str]) -> int:
    """Serve until told to stop; the edge of the process.

    Args:
        arguments: of the command line.
        opening: gives the opener, for "open model code even where this kernel cannot confine it".
        prove: see ``Worker``.
    """
    parser = argparse.ArgumentParser(prog="modelyard.control.worker")
    parser.add_argument("--options", required=True, help="as serve.options writes them")
    parser.add_argument("--socket", required=True, type=Path, help="where control finds this worker")
    found = parser.parse_args(arguments)
    logging.basicConfig(
        level=read_settings().log_level.upper(),
        format="%(asctime)s %(levelname)s %(process)d %(message)s",
        datefmt="%H:%M:%S",
        stream=sys.stderr,
    )
    try:
        options = read_options(found.options)
        return Worker(options, installed("modelyard"), opening(options.trust), prove).run(found.socket)
    except ModelyardError as error:
        sys.stderr.write(f"error: {error.message}\n")
    except OSError as error:  # the socket's folder is gone, or no descriptors are left
        sys.stderr.write(f"error: {error}\n")
    return FAILED


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:], lambda trust: partial(open_version, trust=trust), replay))
