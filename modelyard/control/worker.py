"""The entry of a worker process: ``python -m modelyard.control.worker --ordered``.

Control starts it, so its arguments are not for people: what to be comes on the standard input, or as
``--options JSON --socket PATH``, with the options that ``serve.options`` writes.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from modelyard.bundled import open_version
from modelyard.control.order import Order, receive_order
from modelyard.core.errors import MissingExtra, ModelyardError
from modelyard.core.version import VERSION
from modelyard.runtime.table import RUNTIMES
from modelyard.serve.dialects.table import DIALECTS, EXTENSIONS, RPC_DIALECTS
from modelyard.serve.grpc import ENGINES
from modelyard.serve.options import read_options
from modelyard.serve.replay import replay
from modelyard.serve.worker import Worker
from modelyard.settings import read_settings

if TYPE_CHECKING:
    import socket
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
    parser.add_argument("--ordered", action="store_true", help="control says what to be")
    parser.add_argument("--options", help="as serve.options writes them")
    parser.add_argument("--socket", help="where control finds this worker")
    found = parser.parse_args(arguments)
    logging.basicConfig(
        level=read_settings().log_level.upper(),
        format="%(asctime)s %(levelname)s %(process)d %(message)s",
        datefmt="%H:%M:%S",
        stream=sys.stderr,
    )
    doors: Sequence[socket.socket] = ()
    try:
        if found.ordered:
            _import_ahead()
            received = receive_order()
            if received is None:
                return 0
            order, doors = received
        else:
            order = Order(read_options(found.options), found.socket)
        worker = Worker(order.options, VERSION, opening(order.options.trust), prove, doors=doors)
        return worker.run(Path(order.socket))
    except ModelyardError as error:
        sys.stderr.write(f"error: {error.message}\n")
    except OSError as error:  # the socket's folder is gone, or no descriptors are left
        sys.stderr.write(f"error: {error}\n")
    return FAILED


def _import_ahead() -> None:
    """What a worker would import later: it waits for its order anyway."""
    for table in (DIALECTS, EXTENSIONS, RPC_DIALECTS, RUNTIMES):
        for name in table:
            table.load(name)
    for engine in ENGINES:
        with contextlib.suppress(MissingExtra, ImportError):
            ENGINES.load(engine)
            break


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:], lambda trust: partial(open_version, trust=trust), replay))
