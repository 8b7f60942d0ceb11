"""The first code of ours in a child: it takes the walls before any library can start a thread.

One rule: nothing is imported here that could (numpy starts threads when it is imported).
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import NoReturn

from modelyard.core.errors import SandboxUnavailable
from modelyard.sandbox.frames import FrameReader, Head, head_bytes
from modelyard.sandbox.seal import die_with, walls


def main() -> NoReturn:
    """Run the child; the arguments are two descriptors and the parent's process id."""
    end, memory, parent = (int(argument) for argument in sys.argv[1:4])
    die_with(parent)
    reader = FrameReader()
    while (found := reader.next()) is None:
        data = os.read(end, 1 << 16)
        if not data:
            os._exit(0)  # closed before it began
        reader.feed(data)
    setup = found[0].values
    statm = os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)
    try:
        held = walls(setup, parent)
    except SandboxUnavailable as error:
        os.write(end, head_bytes(Head("failure", 0, SandboxUnavailable.code, {"message": str(error)})))
        os._exit(1)
    # By name: it imports numpy, which must not happen any earlier than here.
    importlib.import_module("modelyard.sandbox.inside").run(end, memory, statm, reader, setup, held)
    raise AssertionError("unreachable: a child ends in its loop")
