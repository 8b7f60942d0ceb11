"""A PostgreSQL server of our own, on a socket in a folder of its own."""

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path


def find(program):
    found = shutil.which(program)
    if found:
        return found
    places = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{program}"))
    return str(places[-1]) if places else None


def _unprivileged():
    """Whom to run it as: PostgreSQL refuses root."""
    if os.getuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    return None


class Cluster:
    def __init__(self):
        self.account = _unprivileged()
        self.folder = Path(tempfile.mkdtemp(prefix="modelyard-pg-"))
        self.made = 0
        if self.account:
            os.chown(self.folder, self.account.pw_uid, self.account.pw_gid)

    def _run(self, program, *arguments):
        who = {"user": self.account.pw_uid, "group": self.account.pw_gid, "extra_groups": []}
        return subprocess.run(
            [find(program), *arguments],
            check=True,
            capture_output=True,
            text=True,
            timeout=90,
            cwd=self.folder,
            env={"PATH": os.defpath, "LC_ALL": "C.UTF-8", "HOME": str(self.folder)},
            **(who if self.account else {}),
        )

    def init(self):
        self._run(
            "initdb", "-D", f"{self.folder}/data", "-U", "yard", "-A", "trust", "-E", "UTF8", "--no-sync"
        )
        return self

    def start(self):
        options = f"-k {self.folder} -c listen_addresses= -c fsync=off -c max_connections=60"
        self._run(
            "pg_ctl", "-D", f"{self.folder}/data", "-w", "-l", f"{self.folder}/log", "-o", options, "start"
        )

    def stop(self):
        self._run("pg_ctl", "-D", f"{self.folder}/data", "-w", "-m", "immediate", "stop")

    @property
    def pid(self):
        return int((self.folder / "data/postmaster.pid").read_text().split()[0])

    def kill(self):
        """kill -9; its children notice and end."""
        os.kill(self.pid, signal.SIGKILL)

    def database(self):
        """A new, empty database's address."""
        self.made += 1
        name = f"yard{self.made}"
        self._run(
            "psql", "-h", str(self.folder), "-U", "yard", "-d", "postgres", "-qc", f"CREATE DATABASE {name}"
        )
        return f"postgresql+psycopg://yard@/{name}?host={self.folder}"

    def close(self):
        with contextlib.suppress(subprocess.CalledProcessError):
            self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)
