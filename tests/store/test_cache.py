"""What was fetched does not stay for ever, and nothing that somebody may open goes."""

import os
import time

import pytest

from modelyard.store.cache import REST_S, shrink, touch

NOW = 2e9
DAY = 86_400.0


@pytest.fixture
def cache(tmp_path):
    """Five bundles of 1,000 bytes, used 1 to 5 days ago, and what is no bundle."""
    for days in range(1, 6):
        folder = tmp_path / f"{days:02}" / (f"{days:02}" + "a" * 62)
        (folder / "graph").mkdir(parents=True)
        (folder / "manifest.json").write_bytes(bytes(400))
        (folder / "graph" / "model.onnx").write_bytes(bytes(600))
        os.utime(folder, (NOW, NOW - days * DAY))
    (tmp_path / "incoming" / ("b" * 64)).mkdir(parents=True)
    (tmp_path / "01" / ".half").mkdir()
    return tmp_path


def days_left(cache):
    return [days for days in range(1, 6) if (cache / f"{days:02}" / (f"{days:02}" + "a" * 62)).exists()]


def test_what_nobody_used_for_so_long_goes(cache):
    assert shrink(cache, NOW, 2.5 * DAY) == (3, 3_000)
    assert days_left(cache) == [1, 2]
    assert (cache / "incoming" / ("b" * 64)).exists()
    assert (cache / "01" / ".half").exists()


def test_over_the_bound_the_least_recently_used_go_first(cache):
    assert shrink(cache, NOW, float("inf"), 5_000) == (0, 0)
    assert shrink(cache, NOW, float("inf"), 3_500) == (2, 2_000)
    assert days_left(cache) == [1, 2, 3]


def test_what_was_touched_stays_whatever_the_bound(cache):
    for days in (4, 5):
        touch(cache / f"{days:02}" / (f"{days:02}" + "a" * 62))
    touch(cache / "none")  # it is gone: no error
    now = time.time()
    for days in (1, 2, 3):
        folder = cache / f"{days:02}" / (f"{days:02}" + "a" * 62)
        os.utime(folder, (now, now - days * DAY))
    assert shrink(cache, now + REST_S - 60, 0.0, 0)[0] == 3
    assert days_left(cache) == [4, 5]
    assert shrink(cache, now + REST_S + 60, 0.0)[0] == 2
    assert days_left(cache) == []


def test_pieces_of_one_who_was_killed_and_a_cache_that_is_not_there(cache):
    (cache / "01" / ".gone-1234").mkdir()
    shrink(cache, NOW, float("inf"))
    assert not (cache / "01" / ".gone-1234").exists()
    assert shrink(cache / "nowhere", NOW, 0.0) == (0, 0)
