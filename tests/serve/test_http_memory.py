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


ADVISED = """
import sys
import numpy as np
from modelyard.serve.http_memory import small_pages

if sys.argv[1] == "small":
    small_pages()
array = np.empty(32 << 20, np.uint8)
start, advised, inside = array.ctypes.data, False, False
for line in open("/proc/self/smaps"):
    if "-" in line.split(" ")[0]:
        low, high = (int(part, 16) for part in line.split(" ")[0].split("-"))
        inside = low <= start + (16 << 20) < high
    elif inside and line.startswith("VmFlags:"):
        advised = "hg" in line.split()
print(advised)
"""


@pytest.mark.parametrize("pages", ["small", "numpy's own"])
def test_large_arrays_come_in_small_pages(pages):
    environ = {name: value for name, value in os.environ.items() if name != "NUMPY_MADVISE_HUGEPAGE"}
    done = subprocess.run(
        [sys.executable, "-c", ADVISED, pages], capture_output=True, text=True, check=True, env=environ
    )
    assert done.stdout.strip() == str(pages != "small")
