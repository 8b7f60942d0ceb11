"""Large bodies leave no memory behind."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

GROW = """
import sys
from pathlib import Path
from modelyard.serve.http_memory import map_large_blocks

if sys.argv[1] == "fixed":
    map_large_blocks()

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1])

piece = bytes(128 << 10)
kept = []
before = resident()
for _ in range(4):
    body = bytearray()
    for _ in range(240):
        body += piece
    kept.append(bytearray(200_000))  # something that stays stands above it in the heap
    del body
print(resident() - before)
"""


@pytest.mark.skipif("glibc" not in os.confstr("CS_GNU_LIBC_VERSION"), reason="the option is glibc's")
def test_a_freed_body_goes_back_to_the_system():
    done = subprocess.run(
        [sys.executable, "-c", GROW, "fixed"], capture_output=True, text=True, check=True, cwd=Path.cwd()
    )
    assert int(done.stdout) * resource.getpagesize() < 8 << 20
