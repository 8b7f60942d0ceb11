"""kill -9 at random moments, hundreds of times: nothing acknowledged is lost, nothing is half there."""

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
import sqlalchemy as sa
from crash_nursery import check, read_acks
from s3_places import KEYS

from modelyard.core.errors import ModelyardError
from modelyard.store.blobs.table import open_blobs
from modelyard.store.collect import collect
from modelyard.store.database import Database
from modelyard.store.fsck import fsck
from modelyard.store.index import Index
from modelyard.store.migrate import step_of, steps
from modelyard.store.registry import Registry
from modelyard.store.schema import METADATA

HERE = Path(__file__).parent


def torment(tmp_path, address, blobs, options, rounds, pace_s=0.05):
    """Rounds of four workers killed at random, as many as a slow machine has time for; all must hold."""
    done = 0
    with Index(Database(address)) as index:
        registry = Registry(index, open_blobs(blobs, **options), tmp_path / "cache")
        given = [f"{key}={value}" for key, value in options.items()]
        for seed in range(3):
            ended = subprocess.run(
                [
                    *(sys.executable, HERE / "crash_nursery.py", str(rounds // 3), str(seed), str(pace_s)),
                    *(tmp_path, address, blobs, *given),
                ],
                check=True,
                timeout=150,
                env={**os.environ, "PYTHONPATH": str(HERE)},
                stdout=subprocess.PIPE,
                text=True,
            )
            done += int(ended.stdout)
            wrong = tmp_path / "wrong"
            assert not wrong.exists(), wrong.read_text()[:3000]
            checkup = fsck(index, registry.blobs)
            assert checkup.ok, checkup.findings[:5]
        acks = read_acks(tmp_path)
        assert done >= 9
        assert len(acks) > done / 4
        assert len({ack[:2] for ack in acks}) == len(acks)
        for model, number, manifest, kind in acks:
            assert index.get_version(model, number).manifest == manifest
            check(registry, model, number, kind)
        # Debris of the killed goes, what is needed stays.
        for row in ("m0", "m1", "m2"):
            assert index.get_model(row).last_version >= max(ack[1] for ack in acks if ack[0] == row)
        time.sleep(0.01)
        collect(index, registry.blobs, who="test", grace_s=0.0)
        assert fsck(index, registry.blobs).ok
        return registry


def test_push_and_gc_killed_at_random(tmp_path):
    registry = torment(tmp_path, f"sqlite:///{tmp_path}/r.db", f"file://{tmp_path}/blobs", {}, 45)
    registry.blobs.sweep(time.time() + 9)
    assert not list((tmp_path / "blobs" / "aside").iterdir())
    assert registry.index.verify_audit().ok


@pytest.mark.slow
def test_push_and_gc_killed_at_random_hundreds_of_times(tmp_path):
    torment(tmp_path, f"sqlite:///{tmp_path}/r.db", f"file://{tmp_path}/blobs", {}, 300)


def test_push_and_gc_killed_at_random_on_postgresql(tmp_path, cluster):
    torment(tmp_path, cluster.database(), f"file://{tmp_path}/blobs", {}, 24, 0.12)


@pytest.mark.slow
def test_push_and_gc_killed_at_random_on_s3(tmp_path, s3_server):
    options = {"endpoint": s3_server.endpoint, **KEYS}
    torment(tmp_path, f"sqlite:///{tmp_path}/r.db", s3_server.bucket(), options, 36, 0.25)


MIGRATE = """
import os, sys
from modelyard.store import alembic_steps  # so that a fork need not import it
from modelyard.store.database import Database
from modelyard.store.migrate import migrate
print("ready", flush=True)
for line in sys.stdin:
    pid = os.fork()
    if pid == 0:
        while True:
            migrate(Database(line.strip()))
            print("up", flush=True)
            migrate(Database(line.strip()), "base")
    print(pid, flush=True)
    os.waitpid(pid, 0)
    print("dead", flush=True)
"""


def test_migrations_killed_at_random(address):
    """Up and down without a pause, killed hundreds of times: each kill finds all of the tables or none."""
    chance = random.Random(7)
    kills = 200 if address.startswith("sqlite") else 40
    database = Database(address)
    with subprocess.Popen(
        [sys.executable, "-c", MIGRATE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as nursery:
        assert nursery.stdout.readline() == "ready\n"
        seen = Counter()
        for number in range(kills):
            nursery.stdin.write(f"{address}\n")
            nursery.stdin.flush()
            pid = int(nursery.stdout.readline())
            time.sleep(chance.random() * 0.06)
            os.kill(pid, signal.SIGKILL)
            while nursery.stdout.readline() != "dead\n":
                pass
            if database.file is not None and not database.file.exists():
                continue
            step = step_of(database)
            seen[step] += 1
            with database.read() as connection:
                tables = set(sa.inspect(connection).get_table_names()) - {"alembic_version"}
            assert tables == (set() if step is None else set(METADATA.tables)), step
            if number % 20 == 19:
                _serves(address)
        nursery.stdin.close()
    database.close()
    _serves(address)
    assert seen.total() > kills / 2
    assert seen.keys() == {None, steps()[-1]}, "a migration was seen half done, or always at one end"


def _serves(address):
    with Index(Database(address)) as index:
        assert step_of(index.database) == steps()[-1]
        number = index.create_version("iris", "a" * 64, "", "ada").number
        assert index.get_version("iris", number).number == number
        assert index.verify_audit().ok


def test_many_openers_of_a_new_registry(tmp_path, address):
    script = (
        "import sys; from modelyard.store.database import Database; from modelyard.store.index import Index; "
        "print(Index(Database(sys.argv[1])).open().create_version('iris', 'a' * 64, '', 'x').number)"
    )
    running = [
        subprocess.Popen([sys.executable, "-c", script, address], stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    numbers = sorted(int(child.communicate(timeout=60)[0]) for child in running)
    assert numbers == [1, 2, 3, 4]


def test_postgresql_killed_and_restarted(tmp_path, cluster, bundle):
    """Clear errors while it is away; afterwards all that was acknowledged, and everything works again."""
    with Index(Database(cluster.database(), busy_s=2)) as index:
        registry = Registry(index, open_blobs(f"file://{tmp_path}/blobs"), tmp_path / "cache")
        acknowledged = []
        for _ in range(3):
            acknowledged += [registry.push(bundle, "iris", "", "ada") for _ in range(4)]
            cluster.kill()
            wait_dead(cluster)
            for call in (
                lambda: index.list_models(),
                lambda: registry.push(bundle, "iris", "", "ada"),
                lambda: index.change(),
            ):
                with pytest.raises(ModelyardError, match=r"does not answer|went away") as caught:
                    call()
                assert caught.value.code == "unavailable"
            restart(cluster)
            assert index.get_version("iris", acknowledged[-1].number) == acknowledged[-1]
        for version in acknowledged:
            assert index.get_version("iris", version.number) == version
        assert fsck(index, registry.blobs).ok


def wait_dead(cluster):
    """Its children end a moment after it; until then they may hold the shared memory."""
    pid = cluster.pid
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.02)


def restart(cluster):
    deadline = time.monotonic() + 60
    while True:
        try:
            cluster.start()
            return
        except subprocess.CalledProcessError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)
