"""A process that forks workers on one registry and kills them at random moments, many times.

    python crash_nursery.py ROUNDS SEED PACE_S FOLDER ADDRESS BLOBS [OPTION=VALUE ...]

Acknowledged pushes are lines of FOLDER/acks: model, number, digest, the part's byte. Whatever a worker finds
wrong is a line of FOLDER/wrong. PACE_S is how long a round lasts at first; where all are killed before
anything is acknowledged, the machine is slow and the next round lasts longer, and after a good one shorter
again. No round begins after MOST_S; what it prints at the end is how many there were.
"""

import os
import random
import signal
import sys
import time
import traceback
from pathlib import Path

from modelyard.artifact.bundle import write_bundle
from modelyard.core.errors import Conflict, IllegalMove, VersionNotFound
from modelyard.store.blobs.table import open_blobs
from modelyard.store.collect import collect
from modelyard.store.database import Database
from modelyard.store.index import Index
from modelyard.store.registry import Registry
from modelyard.store.rows import Entry

MOVES = {("ready", "retire"): "retired"}
KINDS = 12
MOST_PACE_S = 2.0
MOST_S = 40.0


def push_for_ever(registry, bundles, folder, chance):
    acks = os.open(folder / "acks", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    while True:
        kind = chance.randrange(KINDS)
        model = f"m{kind % 3}"
        version = registry.push(bundles[kind], model, "", "pusher")
        os.write(acks, f"{model} {version.number} {version.manifest} {kind}\n".encode())
        try:
            if chance.random() < 0.3:
                registry.index.set_state(model, version.number, "retire", MOVES, "pusher", unreleased=True)
            else:
                revision = registry.index.get_model(model).revision
                registry.index.release(model, revision, [Entry(version.number)], "pusher", "new")
        except (Conflict, IllegalMove):
            pass


def collect_for_ever(registry, _bundles, _folder, _chance):
    while True:
        collect(registry.index, registry.blobs, who="collector", dead={"retired"}, grace_s=0.0)


def read_for_ever(registry, _bundles, folder, chance):
    while True:
        lines = read_acks(folder)
        if not lines:
            time.sleep(0.001)
            continue
        model, number, _, kind = chance.choice(lines)
        check(registry, model, number, kind)


def read_acks(folder):
    path = folder / "acks"
    whole = path.read_text().rpartition("\n")[0] if path.exists() else ""
    rows = [line.split() for line in whole.splitlines()]
    return [(model, int(number), manifest, int(kind)) for model, number, manifest, kind in rows]


def check(registry, model, number, kind):
    """An acknowledged push is there and loads, unless it was retired, and then collected."""
    try:
        found = registry.fetch(model, number)
    except VersionNotFound:
        assert registry.index.get_version(model, number).state == "retired"
        return
    except Exception:
        # With no grace at all, a retired version may go while it is fetched.
        if registry.index.get_version(model, number).state != "retired":
            raise
        return
    assert found.facts["kind"] == kind
    assert found.path("model.bin").read_bytes() == content(kind)


def content(kind):
    return bytes([kind]) * (1000 + 40_000 * (kind % 2))


def make_bundles(folder):
    return [
        write_bundle(
            folder / "made" / str(kind),
            {"kind": kind},
            {
                "model.bin": bytes([kind]) * (1000 + 40_000 * (kind % 2)),
                "shared.bin": b"the same in all" * 99,
            },
        )
        for kind in range(KINDS)
    ]


def open_registry(folder, address, blobs, options):
    cache = folder / f"cache{os.getpid()}"
    return Registry(Index(Database(address)), open_blobs(blobs, **options), cache)


def work(job, bundles, folder, address, blobs, options, seed):
    """In a fork: until it is killed."""
    try:
        job(open_registry(folder, address, blobs, options), bundles, folder, random.Random(seed))
    except BaseException:
        with (folder / "wrong").open("a") as out:
            out.write(f"{job.__name__}: {traceback.format_exc()}\n")
    finally:
        os._exit(1)


def main(rounds, seed, pace_s, folder, address, blobs, *options):
    folder = Path(folder)
    chance = random.Random(int(seed))
    bundles = make_bundles(folder)
    given = dict(option.split("=", 1) for option in options)
    first_s, known = float(pace_s), len(read_acks(folder))
    pace_s, end, done = first_s, time.monotonic() + MOST_S, 0
    while done < int(rounds) and time.monotonic() < end:
        pids = []
        for job in (push_for_ever, push_for_ever, collect_for_ever, read_for_ever):
            pid = os.fork()
            if pid == 0:
                work(job, bundles, folder, address, blobs, given, f"{seed}-{done}-{len(pids)}")
            pids.append(pid)
        for pid in chance.sample(pids, len(pids)):
            time.sleep(chance.random() * pace_s)
            os.kill(pid, signal.SIGKILL)
        for pid in pids:
            os.waitpid(pid, 0)
        done += 1
        before, known = known, len(read_acks(folder))
        pace_s = min(1.6 * pace_s, MOST_PACE_S) if known == before else max(pace_s / 1.6, first_s)
    print(done)


if __name__ == "__main__":
    main(*sys.argv[1:])
