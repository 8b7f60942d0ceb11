"""One virtual environment for each peer, made once from its pinned requirements.

A stamp holds the digest of the requirements and of the interpreter's version, so a changed pin
rebuilds that environment and an unchanged one costs nothing. A peer that does not install is
skipped with pip's last words, never silently.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.places import ENVS, REQUIREMENTS


class NotInstallable(Exception):
    """A peer's environment could not be made here; the message says why."""


@dataclass(frozen=True, slots=True)
class Environment:
    """A ready virtual environment."""

    name: str
    folder: Path

    @property
    def python(self) -> Path:
        """The interpreter in it."""
        return self.folder / "bin" / "python"

    @property
    def site_packages(self) -> Path:
        """Where its libraries lie."""
        return next((self.folder / "lib").glob("python3.*")) / "site-packages"


def digest(requirements: Path) -> str:
    """Name this exact environment: the pins and the interpreter that will run them."""
    version = ".".join(map(str, sys.version_info[:3]))
    return hashlib.sha256(requirements.read_bytes() + version.encode()).hexdigest()


def ready(name: str, folder: Path = ENVS, requirements: Path = REQUIREMENTS) -> Environment:
    """Make the environment of the peer `name`, or reuse it when its stamp still fits.

    Raises NotInstallable with pip's last error line.
    """
    pins = requirements / f"{name}.txt"
    made = Environment(name, folder / name)
    stamp = made.folder / "stamp"
    wanted = digest(pins)
    if stamp.exists() and stamp.read_text() == wanted and made.python.exists():
        return made
    began = time.monotonic()
    print(f"  making .envs/{name} from {pins.name} (once) ...", end="", flush=True)
    shutil.rmtree(made.folder, ignore_errors=True)
    made.folder.parent.mkdir(parents=True, exist_ok=True)
    _run([sys.executable, "-m", "venv", str(made.folder)])
    _run(
        [str(made.python), "-m", "pip", "install", "--disable-pip-version-check", "--quiet", "-r", str(pins)]
    )
    stamp.write_text(wanted)
    print(f" {time.monotonic() - began:.0f} s", flush=True)
    return made


def add_this(made: Environment, root: Path) -> None:
    """Install this repository into an environment, without what it needs: the pins have that.

    Raises NotInstallable with pip's last error line.
    """
    if not any(made.site_packages.glob("modelyard-*.dist-info")):
        quiet = ["--disable-pip-version-check", "--quiet", "--no-deps"]
        _run([str(made.python), "-m", "pip", "install", *quiet, "--editable", str(root)])


def versions(made: Environment, packages: list[str]) -> dict[str, str]:
    """The installed versions of `packages`; those that are absent are left out."""
    code = (
        "import sys, importlib.metadata as m\n"
        "for p in sys.argv[1:]:\n"
        "    try: print(p, m.version(p))\n"
        "    except m.PackageNotFoundError: pass\n"
    )
    out = subprocess.run(
        [made.python, "-c", code, *packages], capture_output=True, text=True, check=True
    ).stdout
    return dict(line.split(" ", 1) for line in out.splitlines())


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        print(" failed", flush=True)
        words = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        errors = [line for line in words if line.lower().startswith("error")]
        raise NotInstallable((errors or words or ["no output"])[-1].strip())
