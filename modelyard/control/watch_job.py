"""One file of a watched folder, taken down the road and pushed: ``python -m modelyard.control.watch_job``.

It runs as a child, because the road imports what control must not carry. It reads one ``PushJob`` from its
standard input and writes one ``Pushed`` to its standard output.
"""

from __future__ import annotations

import logging
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from modelyard.control.watch_words import Pushed, PushJob
from modelyard.core.errors import ModelyardError
from modelyard.deploy.triton import read_config
from modelyard.deploy.yard import Yard
from modelyard.flow import Wishes, prepare
from modelyard.kept import with_engine

if TYPE_CHECKING:
    from modelyard.artifact.bundle import Bundle
    from modelyard.deploy.triton import TritonConfig

WHO = "watch"
_NEWEST = 100


def engine_facts(config: TritonConfig | None) -> dict[str, Any]:
    """What a ``config.pbtxt`` says of the engine, as the facts of a bundle."""
    found: dict[str, Any] = {}
    if config is not None and config.max_batch_size:
        found["max_batch_rows"] = config.max_batch_size
    if config is not None and config.max_wait_s is not None:
        found["max_wait_s"] = config.max_wait_s
    return found


def push(job: PushJob) -> int:
    """Prepare, check, push; the version's number. The same content is not pushed twice.

    Raises:
        BadConfig: the configuration does not fit the model.
        FileError: no road leads from the file to a service.
        Unavailable: the registry does not answer.
    """
    wishes = Wishes(trust=job.trust)
    prepared = prepare(Path(job.file), wishes, Path(job.compiled), lambda _what, _share: None)
    config = None
    if job.config is not None:
        config = read_config(job.config, job.config_file)
        config.check(prepared.signature)
    aside = Path(tempfile.mkdtemp(prefix="modelyard-"))
    try:
        engine = engine_facts(config)
        bundle = with_engine(prepared.bundle, engine, aside / "bundle") if engine else prepared.bundle
        with Yard.open(Path(job.home), job.registry, job.artifacts) as yard:
            return _push(yard, bundle, job)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _push(yard: Yard, bundle: Bundle, job: PushJob) -> int:
    try:
        known = yard.versions(job.model, limit=_NEWEST)
    except ModelyardError:
        known = ()
    for version in known:
        if version.manifest == bundle.digest and not version.gone and version.note == job.note:
            return version.number
    return yard.push(bundle, job.model, job.note, WHO).number


def main() -> int:
    """The edge of the process."""
    logging.basicConfig(level="WARNING", format="%(levelname)s %(message)s", stream=sys.stderr)
    try:
        job = msgspec.json.decode(sys.stdin.buffer.read(), type=PushJob)
        done = Pushed(push(job))
    except ModelyardError as error:
        done = Pushed(message=error.message, again=error.code in ("unavailable", "conflict"))
    sys.stdout.buffer.write(msgspec.json.encode(done))
    return 0


if __name__ == "__main__":
    sys.exit(main())
