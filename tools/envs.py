"""The environments of the heavy tests: one a framework, because they do not go together.

    python tools/envs.py            list them
    python tools/envs.py torch ...  make them in .envs/ (once; again when their pins change)

A stamp holds the digest of what went in, so that an unchanged environment costs nothing.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import time
import tomllib
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ENVS = ROOT / ".envs"
REQUIREMENTS = ROOT / "requirements"
TESTS = ROOT / "tests" / "formats"
_LAST_LINES = 12


@dataclass(frozen=True, slots=True)
class Environment:
    """One virtual environment.

    Args:
        name: of its folder and of its file of pins.
        tests: the files that run in it and nowhere else, from ``tests/formats``.
    """

    name: str
    tests: tuple[str, ...]

    @property
    def folder(self) -> Path:
        """Where it lies."""
        return ENVS / self.name

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.folder / "bin" / "python"

    @property
    def pins(self) -> Path:
        """What it is made from."""
        return REQUIREMENTS / f"{self.name}.txt"

    @property
    def alone(self) -> Path:
        """What is put into it without what that asks for; there need be no such file."""
        return REQUIREMENTS / f"{self.name}.alone.txt"

    @property
    def paths(self) -> list[Path]:
        """Its tests."""
        return [(TESTS / name).resolve() for name in self.tests]


ENVIRONMENTS = (
    Environment(
        "torch",
        (
            "test_formats_torchscript.py",
            "test_formats_pt2.py",
            "test_formats_state_dict.py",
            "test_formats_keras.py",
            "test_formats_transformers.py",
            "test_formats_torch_containers.py",
            "../docs/test_tutorial_keras.py",
        ),
    ),
    Environment(
        "tensorflow",
        (
            "test_formats_savedmodel.py",
            "../dialects/test_tfserving_client.py",
            "../dialects/test_tfserving_stubs.py",
            "../docs/test_tutorial_picture.py",
        ),
    ),
    Environment("openvino", ("test_formats_openvino.py",)),
    Environment("litert", ("test_formats_tflite.py",)),
    Environment("jax", ("test_formats_jax.py",)),
)


class NotInstallable(Exception):
    """It could not be made here; the message has pip's last words."""


def digest(environment: Environment) -> str:
    """Name what it would be made from: pins, constraints, our own dependencies, the interpreter."""
    found = hashlib.sha256(".".join(map(str, sys.version_info[:3])).encode())
    for path in (environment.pins, environment.alone, ROOT / "constraints.txt"):
        found.update(path.read_bytes() if path.exists() else b"")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    found.update(json.dumps([project["dependencies"], project["optional-dependencies"]]).encode())
    return found.hexdigest()


def ready(environment: Environment) -> float:
    """Make it, unless its stamp still fits; gives the seconds that took.

    Raises:
        NotInstallable: pip says why.
    """
    stamp = environment.folder / "stamp"
    wanted = digest(environment)
    if stamp.exists() and stamp.read_text() == wanted and environment.python.exists():
        return 0.0
    began = time.monotonic()
    print(f"making .envs/{environment.name} (once)", flush=True)
    shutil.rmtree(environment.folder, ignore_errors=True)
    ENVS.mkdir(exist_ok=True)
    _run([sys.executable, "-m", "venv", str(environment.folder)])
    pip = [str(environment.python), "-m", "pip", "--disable-pip-version-check", "--quiet", "install"]
    _run([*pip, "-r", str(environment.pins)])
    if environment.alone.exists():
        _run([*pip, "--no-deps", "-r", str(environment.alone)])
    stamp.write_text(wanted)
    return time.monotonic() - began


def _run(command: list[str]) -> None:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        words = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        errors = [line for line in words if line.startswith("ERROR")]
        raise NotInstallable("\n".join((errors or words or ["pip said nothing"])[-_LAST_LINES:]))


def main() -> int:
    """List them, or make those that are named."""
    names = sys.argv[1:]
    for one in ENVIRONMENTS:
        if not names:
            made = (one.folder / "stamp").exists()
            print(f"{one.name:<12} {'made' if made else 'not made':<9} {' '.join(one.tests)}")
        elif one.name in names:
            print(f"{one.name}: {ready(one):.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
