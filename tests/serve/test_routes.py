"""Who answers: shares, keys, swaps, paths; no socket here."""

import asyncio
from collections import Counter
from types import SimpleNamespace

import pytest
from plane_running import make_slot

from modelyard.core.errors import ModelNotFound, Unavailable
from modelyard.core.routing import Split
from modelyard.serve.dataplane import DataPlane
from modelyard.serve.pages import document_of
from modelyard.serve.rest import RestSurface
from modelyard.serve.routes import Routes

CANARY = Split((2, 1), (1_000, 9_000))


def on_a_loop(check):
    asyncio.run(check())


def test_ten_percent_are_ten_percent_of_any_hundred_thousand():
    async def check():
        one, two = make_slot("m", "1"), make_slot("m", "2")
        route = Routes.of((one, two), {"m": CANARY}).route("m")
        chosen = Counter(route.slots[route.choose(None)].version for _ in range(100_000))
        assert abs(chosen["2"] - 10_000) <= 100
        keyed = Counter(route.slots[route.choose(b"user-%d" % n)].version for n in range(100_000))
        assert abs(keyed["2"] - 10_000) <= 1_000

    on_a_loop(check)


def test_the_count_goes_on_when_the_weights_change():
    async def check():
        slots = make_slot("m", "1"), make_slot("m", "2")
        routes = Routes.of(slots, {"m": CANARY})
        for _ in range(7):
            routes.route("m").choose(None)
        after = Routes.of(slots, {"m": Split((2, 1), (5_000, 5_000))}, before=routes)
        assert after.route("m").ticket == 7
        again = Routes.of(slots, {"m": Split((2, 1), (5_000, 5_000))}, before=after)
        assert again.route("m") is after.route("m")

    on_a_loop(check)


def test_what_is_not_released_answers_by_number_only():
    async def check():
        one = make_slot("m", "1")
        routes = Routes.of((one,), {"m": None})
        assert routes.find("m", "1") is one
        with pytest.raises(ModelNotFound, match="no version of model 'm' is released; by number it has 1"):
            routes.find("m")

    on_a_loop(check)


def test_a_cold_version_is_known_and_has_no_slot():
    async def check():
        one = make_slot("m", "1")
        routes = Routes.of((one,), {"m": CANARY}, {("m", "2"), ("n", "4")})
        assert routes.route("m").slots == (None, one)
        assert routes.route("m").main is one
        assert routes.versions("m") == ["1", "2"]
        with pytest.raises(Unavailable, match="not loaded"):
            routes.find("n")
        assert routes.route("n", "4").ready

    on_a_loop(check)


def test_the_plane_is_ready_when_every_bare_name_answers():
    async def check():
        plane = DataPlane(asyncio.get_running_loop())
        assert not plane.ready
        one, two = make_slot("m", "1"), make_slot("m", "2")
        plane.publish((one, two), {"m": Split((1,), (10_000,), (2,))})
        assert plane.ready
        await two.batcher.drain(1)
        assert plane.ready
        await one.batcher.drain(1)
        assert not plane.ready
        plane.publish((), cold=[("m", "1")])
        assert plane.ready

    on_a_loop(check)


class Asked:
    """As much of an HttpCall as a look-up needs."""

    method = b"GET"

    def __init__(self, path):
        self.head = SimpleNamespace(method=self.method, path=path)
        self.path = path
        self.status = 0

    def respond(self, status, *_):
        self.status = status


def test_a_thousand_models_are_published_a_thousand_times_by_entries_that_change():
    """Work is counted, not timed: what stays the same is the same object."""

    async def check():
        plane = DataPlane(asyncio.get_running_loop())
        surface = RestSurface(plane, "0", {}, lambda: b"")
        slots = tuple(make_slot(f"m{n}", "1") for n in range(1_000))
        plane.publish(slots)
        before = dict(plane.routes.by_name)
        for at in range(1_000):
            slots = (*slots[:at], make_slot(f"m{at}", "2"), *slots[at + 1 :])
            plane.publish(slots)
            changed = [name for name, route in plane.routes.by_name.items() if route is not before[name]]
            assert changed == [f"m{at}"]
            assert len(surface._paths) < 16
            before = dict(plane.routes.by_name)
        for at in range(0, 1_000, 50):
            call = Asked(b"/v2/models/m%d/ready" % at)
            surface(call)
            assert call.status == 200
        assert len(document_of(plane.routes)) < 1 << 20
        assert b"m999" in document_of(plane.routes, "m999")

    on_a_loop(check)


def test_the_table_of_paths_is_bounded():
    async def check():
        plane = DataPlane(asyncio.get_running_loop())
        surface = RestSurface(plane, "0", {}, lambda: b"")
        plane.publish((make_slot("m" * 14, "1"),))
        spellings = 0
        for n in range(1 << 14):
            name = "".join("%6d" if n >> bit & 1 else "m" for bit in range(14)).encode()
            call = Asked(b"/v2/models/%b/ready" % name)
            surface(call)
            spellings += call.status == 200
            assert len(surface._paths) < 8_400
        assert spellings == 1 << 14

    on_a_loop(check)
