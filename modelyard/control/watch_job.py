"""One file, taken down the road and pushed for control: ``python -m modelyard.control.watch_job``.

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
from modelyard.core.errors import ModelNotFound, ModelyardError
from modelyard.core.ref import name_of_file
from modelyard.deploy.triton import read_config
from modelyard.deploy.yard import Yard
from modelyard.flow import Wishes, prepare
from modelyard.formats.containers.mar import name_in_archive
from modelyard.kept import with_engine

if TYPE_CHECKING:
    from modelyard.artifact.bundle import Bundle
    from modelyard.deploy.triton import TritonConfig

_NEWEST = 100


def engine_facts(config: TritonConfig | None) -> dict[str, Any]:
    """What a ``config.pbtxt`` says of the engine, as the facts of a bundle."""
    found: dict[str, Any] = {}
    if config is not None and config.max_batch_size:
        found["max_batch_rows"] = config.max_batch_size
    if config is not None and config.max_wait_s is not None:
        found["max_wait_s"] = config.max_wait_s
    return found


def push(job: PushJob) -> Pushed:
    """Prepare, check, push. The same content is not pushed twice.

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
        engine = {**engine_facts(config), **_asked(job)}
        bundle = with_engine(prepared.bundle, engine, aside / "bundle") if engine else prepared.bundle
        with Yard.open(Path(job.home), job.registry, job.artifacts) as yard:
            return _push(yard, bundle, job)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _asked(job: PushJob) -> dict[str, Any]:
    asked = {"max_batch_rows": job.max_batch_rows, "max_wait_s": job.max_wait_s}
    return {name: value for name, value in asked.items() if value is not None}


def _push(yard: Yard, bundle: Bundle, job: PushJob) -> Pushed:
    file = Path(job.file)
    name = job.model or name_in_archive(file) or name_of_file(file.stem)
    try:
        known = yard.versions(name, limit=_NEWEST)
    except ModelNotFound:
        known = ()
    for version in known:
        alike = version.note == job.note if job.same == "note" else version.state == "ready"
        if version.manifest == bundle.digest and not version.gone and alike:
            return Pushed(version.number, model=name, known=True)
    return Pushed(yard.push(bundle, name, job.note, job.who).number, model=name)


def main() -> int:
    """The edge of the process."""
    logging.basicConfig(level="WARNING", format="%(levelname)s %(message)s", stream=sys.stderr)
    try:
        job = msgspec.json.decode(sys.stdin.buffer.read(), type=PushJob)
        done = push(job)
    except ModelyardError as error:
        done = Pushed(message=error.message, again=error.code in ("unavailable", "conflict"), code=error.code)
    sys.stdout.buffer.write(msgspec.json.encode(done))
    return 0


if __name__ == "__main__":
    sys.exit(main())
