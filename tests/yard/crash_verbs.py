"""A process that forks people and machines on one yard and kills them at random moments, thousands of times.

    python crash_verbs.py KILLS SEED FOLDER ADDRESS BLOBS

Each child carries out one verb of the yard after the other until it dies: pushes, imports, orders, garbage
collection, fetches. What was acknowledged to it is a line of FOLDER/acks; what it finds wrong is one of
FOLDER/wrong. No connection is open at a fork, so each child is a process of its own for the registry.
"""

import contextlib
import io
import json
import os
import random
import signal
import sys
import time
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "deploy"))

from yards import make_bundle

from modelyard.artifact.tarball import export_bundle
from modelyard.core.errors import Conflict, IllegalMove, ModelNotFound, VersionNotFound
from modelyard.core.ref import ModelRef
from modelyard.deploy.plan import Order
from modelyard.deploy.yard import Yard
from modelyard.store.blobs.table import open_blobs
from modelyard.store.database import Database
from modelyard.store.index import Index
from modelyard.store.registry import Registry

MODELS = ("m0", "m1", "m2")
KINDS = 8
VERBS = ("release", "release", "canary", "shadow", "promote", "rollback", "retire", "off")
REFUSED = (Conflict, IllegalMove, ModelNotFound, VersionNotFound)


def content(kind):
    """What a bundle of a kind holds as its model."""
    return bytes([65 + kind]) * 994


def push(yard, bundles, chance, ack):
    kind = chance.randrange(KINDS)
    version = yard.push(bundles[kind][0], chance.choice(MODELS), "", "pusher")
    ack("version", version.model, version.number, version.manifest, kind)


def bring(yard, bundles, chance, ack):
    kind = chance.randrange(KINDS)
    version = yard.import_(io.BytesIO(bundles[kind][1]), chance.choice(MODELS), "", "importer")
    ack("version", version.model, version.number, version.manifest, kind)


def order(yard, _bundles, chance, ack):
    model, verb = chance.choice(MODELS), chance.choice(VERBS)
    newest = yard.index.get_model(model).last_version
    number = (
        max(1, newest - chance.randrange(4)) if verb in ("release", "canary", "shadow", "retire") else None
    )
    why = f"{os.getpid()} {chance.random()}"
    weight = chance.randint(1, 9_999) if verb == "canary" else None
    done = yard.order(model, Order(verb, number, weight), "orderer", why)
    if done.changed:
        ack("order", model, done.current.revision, why, sorted(map(list, entries(done.current))))


def entries(current):
    return [(one.version, one.weight, one.role) for one in current.release.entries]


def collect(yard, _bundles, chance, _ack):
    for version in yard.draining():
        yard.order(version.model, Order("drained", version.number), "host")
    yard.gc("collector", grace_s=0.0)


def look(yard, _bundles, chance, _ack):
    """Everything that is in force is whole: ready, and its bundle can be had."""
    model = chance.choice(MODELS)
    current = yard.released(model)
    try:
        for entry in current.release.entries:
            version = yard.version(ModelRef(model, entry.version))
            assert version.state == "ready", f"{model}:{version.number} is released and {version.state}"
            found = yard.bundle(ModelRef(model, entry.version))
            kind = found.facts["kind"]
            assert found.path("model.onnx").read_bytes() == content(kind)
    except Exception:
        # With no grace at all, what was taken off meanwhile may be gone already.
        if yard.released(model).revision == current.revision:
            raise


JOBS = {"in": (push, bring), "orders": (order,), "upkeep": (collect, look)}
CREW = tuple(JOBS)
ALL = tuple(job for jobs in JOBS.values() for job in jobs)
VERB_S = 0.03
"""About what a verb takes where nothing is in its way."""


def acknowledged(folder):
    """Writes down what was acknowledged."""
    lines = os.open(folder / "acks", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    return lambda *words: os.write(lines, json.dumps(words).encode() + b"\n")


def rehearse(yard, bundles, folder):
    """Everything once, so that a fork has nothing to import and no statement to compile."""
    chance = random.Random(1)
    for job in ALL * 9:
        with contextlib.suppress(*REFUSED):
            job(yard, bundles, chance, acknowledged(folder))
    yard.index.database.engine.dispose()  # a connection must not be shared


def work(jobs, yard, bundles, folder, chance, begun):
    """In a fork: until it is killed. It says so each time that it begins a verb."""
    ack = acknowledged(folder)
    try:
        while True:
            os.write(begun, b".")
            with contextlib.suppress(*REFUSED):
                chance.choice(jobs)(yard, bundles, chance, ack)
    except BaseException:
        with (folder / "wrong").open("a") as out:
            out.write(f"{[job.__name__ for job in jobs]}: {traceback.format_exc()}\n")
    finally:
        os._exit(1)


def make_bundles(folder):
    """Each kind as a bundle and as a tar."""
    made = []
    for kind in range(KINDS):
        bundle = make_bundle(folder, bytes([65 + kind]), kind=kind)
        tar = io.BytesIO()
        export_bundle(bundle, tar)
        made.append((bundle, tar.getvalue()))
    return made


def main(kills, seed, folder, address, blobs):
    folder, chance = Path(folder), random.Random(seed)
    bundles = make_bundles(folder)
    yard = Yard(Registry(Index(Database(address)), open_blobs(blobs), folder / "cache"))
    rehearse(yard, bundles, folder)
    crew = {}
    for number in range(int(kills) + len(CREW)):
        name = CREW[number % len(CREW)]
        if name in crew:
            # In the middle of its first verb, or of its second, or third.
            pid, begun, since = crew.pop(name)
            for _ in range(chance.randrange(3)):
                os.read(begun, 1)
            time.sleep(max(0.0, since + chance.random() * VERB_S - time.monotonic()))
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            os.close(begun)
        if (folder / "wrong").exists():
            break
        begun, told = os.pipe()
        pid = os.fork()
        if pid == 0:
            work(JOBS[name], yard, bundles, folder, random.Random(f"{seed}-{number}"), told)
        os.close(told)
        crew[name] = (pid, begun, time.monotonic())
    for pid, *_ in crew.values():
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


if __name__ == "__main__":
    main(*sys.argv[1:])
