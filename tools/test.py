"""Every test: the main suite here, then those of each framework in an environment of its own.

    python tools/test.py              all of it, as `make test` runs it
    python tools/test.py torch jax    only the tests of these environments
    python tools/test.py main -- -k x the main suite, with options for pytest

The last line counts everything. An environment that cannot be made is a failure, not a gap.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from envs import ENVIRONMENTS, ROOT, NotInstallable, ready

MAIN = "main"
SIDE_BY_SIDE = (
    "artifact",
    "benchmarks",
    "compiler",
    "core",
    "deploy",
    "flow",
    "formats",
    "monitor",
    "wire",
)
"""Folders of the main suite whose tests start no servers of their own: two processes share them."""


@dataclass(frozen=True, slots=True)
class Count:
    """What one run of pytest found; ``broken`` says why it found nothing."""

    name: str
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    seconds: float = 0.0
    broken: str = ""


def run(name: str, python: Path | str, arguments: list[str]) -> Count:
    """One run of pytest, its lines as they come."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="modelyard-tests-") as folder:
        page = Path(folder) / "page.xml"
        command = [str(python), "-m", "pytest", f"--junitxml={page}", *arguments]
        done = subprocess.run(command, cwd=ROOT, check=False)
        seconds = time.monotonic() - began
        if not page.exists():
            return Count(name, seconds=seconds, broken=f"pytest ended with status {done.returncode}")
        return read(name, page.read_text(), seconds, done.returncode)


def read(name: str, page: str, seconds: float, status: int) -> Count:
    """The sums of a JUnit page.

    >>> read("x", '<a><testsuite tests="5" failures="1" errors="1" skipped="1"/></a>', 2.0, 1).passed
    2
    """
    tests = failed = skipped = 0
    for suite in ElementTree.fromstring(page).iter("testsuite"):
        tests += int(suite.get("tests", 0))
        failed += int(suite.get("failures", 0)) + int(suite.get("errors", 0))
        skipped += int(suite.get("skipped", 0))
    broken = "" if failed or status == 0 else f"pytest ended with status {status}"
    return Count(name, tests - failed - skipped, failed, skipped, seconds, broken)


def closing(counts: list[Count]) -> str:
    """The last line.

    >>> print(closing([Count("main", 3, 0, 1, 2.0), Count("jax", broken="no pip")]))
    main: 3 passed, 1 skipped in 2 s
    jax: did not run: no pip
    all: 3 passed, 0 failed, 1 skipped, 1 environment did not run, in 2 s
    """
    lines = []
    for one in counts:
        if one.broken:
            lines.append(f"{one.name}: did not run: {one.broken}")
            continue
        parts = [f"{one.passed} passed"]
        parts += [f"{one.failed} failed"] if one.failed else []
        parts += [f"{one.skipped} skipped"] if one.skipped else []
        lines.append(f"{one.name}: {', '.join(parts)} in {one.seconds:.0f} s")
    broken = sum(1 for one in counts if one.broken)
    sums = [
        f"{sum(getattr(one, field) for one in counts)} {field}" for field in ("passed", "failed", "skipped")
    ]
    sums += [f"{broken} environment{'s' if broken > 1 else ''} did not run"] if broken else []
    total = sum(one.seconds for one in counts)
    return "\n".join([*lines, f"all: {', '.join(sums)}, in {total:.0f} s"])


def main() -> int:
    """Run what was asked for."""
    words, more = sys.argv[1:], []
    if "--" in words:
        at = words.index("--")
        words, more = words[:at], words[at + 1 :]
    unknown = set(words) - {MAIN, *(one.name for one in ENVIRONMENTS)}
    if unknown:
        print(f"there is no environment {', '.join(sorted(unknown))}")
        return 2
    counts = []
    if not words or MAIN in words:
        elsewhere = [f"--ignore={path}" for one in ENVIRONMENTS for path in one.paths]
        shared = [str(ROOT / "tests" / name) for name in SIDE_BY_SIDE]
        if more:
            counts.append(run(MAIN, sys.executable, [*elsewhere, *more]))
        else:
            counts.append(
                run("parts", sys.executable, ["-n", "2", "--dist", "loadfile", *elsewhere, *shared])
            )
            rest = [f"--ignore={path}" for path in shared]
            counts.append(run(MAIN, sys.executable, [*elsewhere, *rest]))
    for one in ENVIRONMENTS:
        if words and one.name not in words:
            continue
        try:
            took = ready(one)
        except NotInstallable as error:
            counts.append(Count(one.name, broken=str(error).replace("\n", " ")[:300]))
            continue
        print(f"tests of .envs/{one.name}" + (f" (made in {took:.0f} s)" if took else ""), flush=True)
        counts.append(run(one.name, one.python, ["-m", "heavy", *map(str, one.paths), *more]))
    print(closing(counts))
    return 1 if any(one.failed or one.broken for one in counts) else 0


if __name__ == "__main__":
    sys.exit(main())
