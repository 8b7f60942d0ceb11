import threading
import time

import pytest

from modelyard.core.errors import Unavailable
from modelyard.store.database import Database
from modelyard.store.index import Index
from modelyard.store.rows import Entry
from modelyard.store.watch import Watch


@pytest.fixture
def watch(index):
    made = Watch(index, poll_s=0.02)
    yield made
    made.close()


def test_a_change_before_is_heard_at_once(index, watch):
    index.create_version("iris", "a" * 64, "", "ada")
    assert watch.wait(0, timeout_s=30) == 1


def test_no_change_is_the_time_over(watch):
    assert watch.wait(0, timeout_s=0.05) == 0


def test_a_change_of_another_process_wakes(address, index, watch):
    with Index(Database(address)) as other:
        heard = []
        waiter = threading.Thread(target=lambda: heard.append(watch.wait(0, timeout_s=60)))
        waiter.start()
        time.sleep(0.1)
        other.create_version("iris", "a" * 64, "", "ada")
        waiter.join(30)
    assert heard == [1]
    assert [model.name for model in index.changes_since(0)] == ["iris"]


def test_every_change_is_heard_by_who_goes_on_asking(address, index, watch):
    """A wake-up is a hint: what counts is that ``changes_since`` never skips one."""
    with Index(Database(address)) as other:
        other.create_version("iris", "a" * 64, "", "ada")

        def release():
            for revision in range(20):
                other.release("iris", revision, [Entry(1)], "ada", "")

        writer = threading.Thread(target=release)
        writer.start()
        seen, revision = 0, 0
        while revision < 20:
            seen = watch.wait(seen, timeout_s=30)
            for model in index.changes_since(0):
                assert model.revision >= revision
                revision = model.revision
        writer.join()


def test_listening_survives_a_restart(cluster):
    with Index(Database(cluster.database(), busy_s=2)) as index:
        watch = Watch(index, poll_s=0.02)
        index.create_version("iris", "a" * 64, "", "ada")
        assert watch.wait(0, timeout_s=10) == 1
        cluster.stop()
        with pytest.raises(Unavailable):
            watch.wait(1, timeout_s=10)
        cluster.start()
        index.create_version("iris", "a" * 64, "", "ada")
        assert watch.wait(1, timeout_s=10) == 2
        watch.close()
