from datetime import UTC, datetime, timedelta
from threading import Thread

import pytest

from modelyard.core.errors import BadInput, TooLarge
from modelyard.store import hosts
from modelyard.store.hosts import Host, beat, leave, sums_of_others

NOW = datetime(2026, 11, 28, 12, 0, 0, 123456, tzinfo=UTC)


def test_a_heartbeat_is_read_back_and_the_next_replaces_it(index):
    beat(index.database, Host("b", NOW, {"workers": [1]}, {"iris": {}}))
    beat(index.database, Host("a", NOW, {}, {}))
    beat(index.database, Host("b", NOW + timedelta(seconds=1), {"workers": [2]}, {}))
    found = hosts.hosts(index.database)
    assert found == (Host("a", NOW, {}, {}), Host("b", NOW + timedelta(seconds=1), {"workers": [2]}, {}))
    leave(index.database, "a")
    assert [host.name for host in hosts.hosts(index.database, sums=False)] == ["b"]


def test_a_heartbeat_is_no_change_and_leaves_no_line(index):
    index.create_version("iris", "a" * 64, "", "ada")
    change, lines = index.change(), index.audit()
    beat(index.database, Host("a", NOW, {}, {}))
    assert (index.change(), index.audit()) == (change, lines)


def test_the_sums_of_the_others_that_still_live(index):
    for name, age in (("me", 0), ("near", 5), ("gone", 60)):
        beat(index.database, Host(name, NOW - timedelta(seconds=age), {}, {"n": age}))
    assert sums_of_others(index.database, "me", NOW - timedelta(seconds=30)) == {"near": {"n": 5}}


def test_many_hosts_at_once(index):
    def say(name):
        for at in range(20):
            beat(index.database, Host(name, NOW + timedelta(seconds=at), {"at": at}, {}))

    threads = [Thread(target=say, args=(f"h{at}",)) for at in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [host.state for host in hosts.hosts(index.database)] == [{"at": 19}] * 4


def test_what_cannot_be_said(index):
    with pytest.raises(BadInput):
        beat(index.database, Host("../x", NOW, {}, {}))
    with pytest.raises(TooLarge):
        beat(index.database, Host("a", NOW, {"x": "y" * hosts.MOST_BYTES}, {}))
    assert hosts.hosts(index.database) == ()
