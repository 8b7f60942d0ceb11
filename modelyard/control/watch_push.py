"""Versions of a watched folder on their way into the registry, each in a child of its own."""

from __future__ import annotations

import asyncio
import logging
import re
import sys
import time
from typing import TYPE_CHECKING, Self

import msgspec
from msgspec import Struct

from modelyard.control.watch_words import Pushed, PushJob
from modelyard.core.digest import sha256_of

if TYPE_CHECKING:
    from pathlib import Path

    from modelyard.control.place import YardPlace
    from modelyard.deploy.watch import WatchedModel, WatchedVersion

log = logging.getLogger("modelyard.control")

AT_ONCE = 2
AGAIN_S = 15.0
_NOTE = re.compile(r"watched \S{1,200}/([0-9]{1,18}), files ([0-9a-f]{16})")


class Key(Struct, frozen=True):
    """A folder's version with these files and these settings."""

    version: int
    digest: str

    @property
    def text(self) -> str:
        """As a release's evidence has it."""
        return f"{self.version} {self.digest}"

    def note(self, model: str) -> str:
        """As a version's note has it.

        >>> Key.of_note(Key(3, "0123456789abcdef").note("iris"))
        Key(version=3, digest='0123456789abcdef')
        """
        return f"watched {model}/{self.version}, files {self.digest}"

    @classmethod
    def of_note(cls, note: str) -> Self | None:
        """Read what ``note`` wrote; None when it is something else."""
        found = _NOTE.fullmatch(note)
        return cls(int(found[1]), found[2]) if found else None


def key_of(model: WatchedModel, one: WatchedVersion) -> Key:
    """What tells two states of a folder's version apart: its files, and what its configuration says."""
    config = model.config
    said = (
        ""
        if config is None
        else repr((config.max_batch_size, config.inputs, config.outputs, config.max_wait_s, config.file_name))
    )
    return Key(one.version, sha256_of([one.stamp.encode(), said.encode()])[:16])


class Pushes:
    """Pushes what is asked for, a few at a time; what failed is not tried again before it changes.

    Args:
        place: which yard.
        trust: open unsafe files even where this kernel cannot confine them.
    """

    def __init__(self, place: YardPlace, trust: bool) -> None:
        self._place = place
        self._trust = trust
        self._gate = asyncio.Semaphore(AT_ONCE)
        self._tasks: dict[tuple[str, Key], asyncio.Task[Pushed]] = {}
        self._failed: dict[tuple[str, int], tuple[Key, str, float]] = {}

    @property
    def idle(self) -> bool:
        """Whether nothing is under way."""
        return not self._tasks

    def problems(self) -> list[str]:
        """What could not be pushed, a sentence each."""
        return [said for _, said, _ in self._failed.values()]

    def keep(self, there: set[tuple[str, int]]) -> None:
        """Forget the failures of versions that are not there any more."""
        self._failed = {where: failed for where, failed in self._failed.items() if where in there}

    def ask(self, model: WatchedModel, one: WatchedVersion, key: Key, root: Path, text: str | None) -> int:
        """The version that it became, once it is pushed; 0 until then, and when that failed."""
        where = (model.name, one.version)
        failed = self._failed.get(where)
        if failed is not None and failed[0] == key and time.monotonic() < failed[2]:
            return 0
        task = self._tasks.get((model.name, key))
        if task is None:
            job = PushJob(
                str(root / one.path), model.name, key.note(model.name), str(self._place.home / "compiled"),
                str(self._place.home), self._place.registry, self._place.artifacts, text,
                f"{model.name}/config.pbtxt", self._trust,
            )  # fmt: skip
            self._tasks[model.name, key] = asyncio.ensure_future(self._run(job))
            return 0
        if not task.done():
            return 0
        del self._tasks[model.name, key]
        done = task.result()
        if done.version:
            self._failed.pop(where, None)
            log.info("%s/%d is version %d of %s", model.name, one.version, done.version, model.name)
            return done.version
        said = done.message if done.message.startswith(model.name) else f"{one.path}: {done.message}"
        again_s = time.monotonic() + AGAIN_S if done.again else float("inf")
        self._failed[where] = (key, said, again_s)
        return 0

    async def close(self) -> None:
        """End the children."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, job: PushJob) -> Pushed:
        async with self._gate:
            return await run_job(job)


async def run_job(job: PushJob) -> Pushed:
    """Push one file in a child; cancelled, the child ends."""
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "modelyard.control.watch_job",
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    try:
        said, _ = await child.communicate(msgspec.json.encode(job))
    except asyncio.CancelledError:
        child.kill()
        await child.wait()
        raise
    try:
        return msgspec.json.decode(said, type=Pushed)
    except msgspec.DecodeError:
        return Pushed(message=f"the child that prepared it ended with code {child.returncode}", again=True)
