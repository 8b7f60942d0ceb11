"""A page of the documentation as a story: files are written, commands run, and output is compared.

    ```python train.py      a file of the reader's folder
    ```python               a program, run as it stands
    ```sh                   commands; a block with `modelyard serve` or `modelyard up` starts a server
    ```text                 what the block above says

Nothing is left out of a page's blocks, and ``steady`` is the only place that says what may differ.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
BLOCK = re.compile(r"^```(\w+)(?: (\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NUMBER = re.compile(r"-?\d+\.\d+(?:e-?\d+)?")
CLOSENESS = 2e-3
"""How far two machines may be apart in a number that a training run made, relatively."""
WAIT_S = 300
"""For one command. A machine may be busy; pages have no time of their own."""
SERVER = re.compile(r"^modelyard (serve|up)\b.*$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: its language, the file that it is, its text."""

    kind: str
    file: str
    text: str


def blocks_of(page: Path) -> list[Block]:
    """All of a page."""
    return [Block(*found) for found in BLOCK.findall(page.read_text())]


def steady(text: str) -> str:
    """Without what differs from run to run: times, ports, sizes, widths, and the noise of the machine."""
    text = re.sub(r"after [\d.]+ s", "after N s", text)
    text = re.sub(r"\b\d+(\.\d+)? (us|ms)\b", "N us", text)
    text = re.sub(r"\b[\d.,]+(x| bytes| KiB)", r"N\1", text)
    text = re.sub(r"\b(opcodes|workers) +\d+", r"\1 N", text)
    text = re.sub(r"\d+ requests: (\d+) of \d+", r"N requests: \1 of N", text)
    text = re.sub(r"\b[0-9a-f]{64}\b", "DIGEST", text)
    text = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ, \S+@\S+", "WHEN, WHO", text)
    text = re.sub(r"127\.0\.0\.1:\d+", "HOST", text)
    return re.sub(r" +", " ", re.sub(r" +$", "", text, flags=re.MULTILINE)).strip()


def alike(said: str, shown: str) -> bool:
    """Whether two outputs are the same to a reader: words exactly, fractions within ``CLOSENESS``.

    >>> alike("loss 0.50001 of 3", "loss 0.5 of 3"), alike("loss 0.6 of 3", "loss 0.5 of 3")
    (True, False)
    """
    said, shown = steady(said), steady(shown)
    if NUMBER.sub("#", said) != NUMBER.sub("#", shown):
        return False
    pairs = zip(map(float, NUMBER.findall(said)), map(float, NUMBER.findall(shown)), strict=True)
    return all(abs(one - two) <= CLOSENESS * max(abs(two), 1.0) for one, two in pairs)


@dataclass(slots=True)
class Story:
    """One reader with a folder, a terminal and one server at a time."""

    folder: Path
    server: subprocess.Popen | None = None
    ports: dict[str, str] = field(default_factory=dict)

    def __enter__(self) -> Story:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def environment(self) -> dict[str, str]:
        """Of every command."""
        return {
            **os.environ,
            "MODELYARD_HOME": str(self.folder / "home"),
            "NO_COLOR": "1",
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "TF_CPP_MIN_LOG_LEVEL": "3",
        }

    def tell(self, block: Block) -> str:
        """Do what the block says; gives what it printed."""
        if block.file:
            (self.folder / block.file).write_text(block.text)
            return ""
        if block.kind == "python":
            return self._run([sys.executable, "-c", self._here(block.text)])
        if SERVER.search(block.text):
            before, line = self._server(block.text)
            said = self._run(["bash", "-ec", before]) if before.strip() else ""
            return said + self._serve(line)
        said = self._run(["bash", "-ec", self._here(block.text)])
        if "modelyard down" in block.text:
            self._ended()
        return said

    def stop(self) -> None:
        """End the server, as Ctrl-C does."""
        if self.server is not None:
            self.server.terminate()
            self._ended()

    def _ended(self) -> None:
        assert self.server is not None
        status = self.server.wait(WAIT_S)
        self.server = None
        assert status == 0

    def _run(self, command: list[str]) -> str:
        done = subprocess.run(
            command, cwd=self.folder, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, timeout=WAIT_S, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{command[-1]}\n{done.stdout}"
        return done.stdout

    def _here(self, text: str) -> str:
        """The page's ports are those of an empty machine."""
        for shown, real in self.ports.items():
            text = text.replace(shown, real)
        return text

    def _server(self, text: str) -> tuple[str, str]:
        """What stands before a server's line, and the line with free ports; nothing may stand after it."""
        found = SERVER.search(text)
        assert found is not None
        assert not text[found.end() :].strip(), "a server's line is the last of its block"
        free = "--http-port 0 --grpc-port 0" + (" --console-port 0" if found[1] == "up" else "")
        return text[: found.start()], f"{found[0].removesuffix('&').strip()} {free}"

    def _serve(self, line: str) -> str:
        self.stop()
        log = self.folder / "server.log"
        with log.open("w") as sink:
            self.server = subprocess.Popen(
                shlex.split(line), cwd=self.folder, env=self.environment, stdout=sink,
                stderr=subprocess.STDOUT,
            )  # fmt: skip
        until = time.monotonic() + WAIT_S
        while "Ctrl-C" not in log.read_text():
            assert self.server.poll() is None, log.read_text()
            assert time.monotonic() < until, log.read_text()
            time.sleep(0.05)
        said = log.read_text()
        self.ports = dict(
            zip(("127.0.0.1:8000", "127.0.0.1:8001"), re.findall(r"127\.0\.0\.1:\d+", said), strict=False)
        )
        return said


def read_through(page: Path, folder: Path) -> list[tuple[str, str, str]]:
    """Follow a page to its end.

    Returns:
        of every block with output under it: the block, what was said, what the page shows.
    """
    blocks = blocks_of(page)
    found = []
    with Story(folder) as story:
        for block, after in zip(blocks, [*blocks[1:], None], strict=True):
            if block.kind == "text":
                continue
            said = story.tell(block)
            if after is not None and after.kind == "text":
                found.append((block.text, said, after.text))
    return found


def hold(page: Path, folder: Path) -> None:
    """The page shows what happens."""
    told = read_through(page, folder)
    assert told, f"{page.name} shows no output"
    for block, said, shown in told:
        assert alike(said, shown), f"{page.name}\n{block}\nsays\n{said}\nthe page shows\n{shown}"
