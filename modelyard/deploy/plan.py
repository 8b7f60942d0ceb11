"""The verbs of a release: from what is in force to what shall be, or a refusal that names what is in force.

Rule: a verb is a pure function of the release, the order and the states of the model's versions. An order
that is already fulfilled changes nothing, so a repeated command is harmless; everything else adds one to the
release's number, and replaying the orders from the beginning gives the same release.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from modelyard.core.errors import IllegalMove, VersionNotFound
from modelyard.core.routing import WHOLE
from modelyard.deploy.release import CANARY, LIVE, SHADOW, Entry, Release, build, show_weight
from modelyard.deploy.states import RELEASE, VERSION

States = Mapping[int, str]
"""Every version of a model and its state in ``deploy.states.VERSION``."""


class Order(Struct, frozen=True):
    """What somebody asks for.

    Args:
        verb: a key of ``VERBS``.
        version: which version; None where the verb finds it itself.
        weight: a canary's share, in hundredths of a percent.
    """

    verb: str
    version: int | None = None
    weight: int | None = None

    def to_json(self) -> dict[str, Any]:
        """A plain form for the history's rows."""
        return {"verb": self.verb, "version": self.version, "weight": self.weight}

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Order:
        """Read what ``to_json`` wrote."""
        return cls(str(row["verb"]), row["version"], row["weight"])


class Plan(Struct, frozen=True):
    """What follows from an order.

    Args:
        release: the release that shall be in force.
        sentence: what changes, for a person and for the history.
        changed: False when the order was fulfilled already.
        states: versions whose state changes, and to what.
    """

    release: Release
    sentence: str
    changed: bool = True
    states: tuple[tuple[int, str], ...] = ()


def plan(release: Release, order: Order, states: States) -> Plan:
    """Carry an order out on values.

    >>> plan(Release("iris"), Order("release", 1), {1: "ready"}).sentence
    'version 1 of iris is live'

    Raises:
        IllegalMove: the order may not follow what is in force.
        VersionNotFound: no such version.
    """
    return VERBS[order.verb](release, order, states)


def resolve(order: Order, release: Release, newest: int) -> Order:
    """An order with its version: a growing canary's own, else the newest.

    >>> resolve(Order("release"), Release("iris"), 3).version
    3
    """
    if order.version is not None or order.verb not in {"release", "canary", "shadow"}:
        return order
    canary = release.canary
    on_trial = canary is not None and order.verb == CANARY
    return replace(order, version=canary.version if canary and on_trial else newest)


def replay(model: str, orders: Iterable[Order], states: States) -> Release:
    """The release that the orders lead to, from the beginning.

    Every version counts as it is now, but as ready where it played a part: what it is by now
    does not change what was.
    """
    then = dict.fromkeys(states, "ready")
    release = Release(model)
    for order in orders:
        done = plan(release, order, then)
        release = done.release
        then.update(done.states)
    return release


def _known(release: Release, order: Order, states: States) -> int:
    version = order.version
    if version is None:
        raise IllegalMove(f"{order.verb} {release.model}: say which version; {release.in_force()}")
    if version not in states:
        known = ", ".join(str(one) for one in sorted(states)[-5:]) or "none"
        raise VersionNotFound(f"{release.model} has no version {version}; the newest are: {known}")
    return version


def _ready(release: Release, order: Order, states: States) -> int:
    version = _known(release, order, states)
    if states[version] != "ready":
        way = ", ".join(VERSION.allowed(states[version])) or "none"
        raise IllegalMove(
            f"version {version} of {release.model} is {states[version]}, so it cannot carry traffic; "
            f"what may follow: {way}"
        )
    return version


def _refuse(release: Release, order: Order, why: str) -> IllegalMove:
    return IllegalMove(f"cannot {order.verb} {release.model}: {why}; in force: {release.in_force()}")


def _without(shadows: tuple[int, ...], version: int) -> tuple[int, ...]:
    return tuple(shadow for shadow in shadows if shadow != version)


def _release(release: Release, order: Order, states: States) -> Plan:
    """All traffic at once."""
    version = _ready(release, order, states)
    canary = release.canary
    if canary is not None:
        if canary.version == version:
            return _promote(release, order, states)
        raise _refuse(release, order, f"version {canary.version} is on trial; promote it or roll back first")
    if release.live == version:
        return Plan(release, f"version {version} of {release.model} is live already", changed=False)
    RELEASE.next(release.state, "release", release.model)
    after = build(release, version, None, _without(release.shadows, version))
    was = f"; version {release.live} stands by" if release.live is not None else ""
    return Plan(after, f"version {version} of {release.model} is live{was}")


def _canary(release: Release, order: Order, states: States) -> Plan:
    """A share of the traffic for a version on trial."""
    version = _ready(release, order, states)
    live, canary, weight = release.live, release.canary, order.weight
    if weight is None or not 0 < weight <= WHOLE:
        raise IllegalMove(f"canary {release.model}: say which share, from 0.01% to 100%")
    if live is None:
        raise _refuse(release, order, "a canary is tried against a live version; release one first")
    if live == version:
        raise _refuse(release, order, f"version {version} is live")
    if canary is not None and canary.version != version:
        raise _refuse(release, order, f"version {canary.version} is on trial; promote it or roll back first")
    share = show_weight(weight)
    if canary is not None and canary.weight == weight:
        said = f"version {version} of {release.model} has {share} already"
        return Plan(release, said, changed=False)
    RELEASE.next(release.state, "canary", release.model)
    after = build(release, live, Entry(version, weight, CANARY), _without(release.shadows, version))
    return Plan(after, f"version {version} of {release.model} is tried with {share} against version {live}")


def _shadow(release: Release, order: Order, states: States) -> Plan:
    """Copies of the requests for a version that answers nobody."""
    version = _ready(release, order, states)
    role = release.role_of(version)
    if role == SHADOW:
        return Plan(release, f"version {version} of {release.model} is a shadow already", changed=False)
    if role is not None:
        raise _refuse(release, order, f"version {version} answers requests")
    RELEASE.next(release.state, "shadow", release.model)
    after = build(release, release.live, release.canary, (*release.shadows, version))
    return Plan(after, f"version {version} of {release.model} gets copies and answers nobody")


def _promote(release: Release, order: Order, states: States) -> Plan:
    """The canary becomes the live version."""
    canary = release.canary
    if canary is None:
        if order.version is not None and order.version == release.live:
            return Plan(release, f"version {order.version} of {release.model} is live already", changed=False)
        raise _refuse(release, order, "there is no canary")
    if order.version not in {None, canary.version}:
        raise _refuse(release, order, f"version {order.version} is not the canary")
    version = _ready(release, replace(order, version=canary.version), states)
    RELEASE.next(release.state, "promote", release.model)
    after = build(release, version, None, release.shadows)
    return Plan(after, f"version {version} of {release.model} is live; version {release.live} stands by")


def _rollback(release: Release, order: Order, states: States) -> Plan:
    """Back: from a canary to the live version, else to the live version before."""
    if release.live is None:
        raise _refuse(release, order, "nothing is live")
    live, canary, asked = release.live, release.canary, order.version
    if asked in {None, live} and canary is not None:
        after = build(release, live, None, release.shadows)
        return Plan(after, f"version {canary.version} of {release.model} is off; version {live} answers all")
    if asked == live:
        return Plan(release, f"version {asked} of {release.model} is live already", changed=False)
    before = release.before
    if asked is None:
        if not before:
            raise _refuse(release, order, "no version was live before; say which with --to")
        asked = before[-1]
    elif asked not in before:
        were = ", ".join(str(one) for one in dict.fromkeys(reversed(before))) or "none"
        raise _refuse(release, order, f"version {asked} was not live before (these were: {were}); release it")
    version = _ready(release, replace(order, version=asked), states)
    RELEASE.next(release.state, "rollback", release.model)
    depth = len(before) - 1 - before[::-1].index(version)
    after = build(release, version, None, _without(release.shadows, version))
    after = replace(after, before=before[:depth])  # what was undone is not a place to roll back to
    off = f"versions {live} and {canary.version} are" if canary else f"version {live} is"
    return Plan(after, f"version {version} of {release.model} is live again; {off} off")


def _withdraw(release: Release, order: Order, states: States) -> Plan:
    """A shadow or canary out; the live version goes on."""
    version = _known(release, order, states)
    role = release.role_of(version)
    if role == LIVE:
        raise _refuse(release, order, f"version {version} is live; release another or roll back")
    if role is None:
        return Plan(release, f"version {version} of {release.model} plays no part already", changed=False)
    RELEASE.next(release.state, "rollback" if role == CANARY else "withdraw", release.model)
    canary = None if role == CANARY else release.canary
    after = build(release, release.live, canary, _without(release.shadows, version))
    return Plan(after, f"version {version} of {release.model} is off")


def _off(release: Release, order: Order, states: States) -> Plan:  # noqa: ARG001 - the shape of every verb
    """Nothing is released any more; what was live is remembered."""
    if not release.entries:
        return Plan(release, f"{release.model} is off already", changed=False)
    RELEASE.next(release.state, "off", release.model)
    return Plan(build(release, None, None, ()), f"{release.model} is off; it answers nobody")


def _retire(release: Release, order: Order, states: States) -> Plan:
    """A version out of use: its last requests end, then it is unloaded."""
    version = _known(release, order, states)
    if states[version] in {"draining", "retired"}:
        said = f"version {version} of {release.model} is {states[version]} already"
        return Plan(release, said, changed=False)
    role = release.role_of(version)
    if role is not None:
        raise _refuse(release, order, f"version {version} carries traffic as {role}")
    state = VERSION.next(states[version], "retire", f"{version} of {release.model}")
    after = replace(release, number=release.number + 1)
    return Plan(after, f"version {version} of {release.model} drains", states=((version, state),))


def _drained(release: Release, order: Order, states: States) -> Plan:
    """Every worker says that the version has nothing in flight."""
    return _state(release, order, states, "retired")


def _restore(release: Release, order: Order, states: States) -> Plan:
    """A retired version back into the ranks; it carries no traffic yet."""
    return _state(release, order, states, "ready")


def _state(release: Release, order: Order, states: States, wanted: str) -> Plan:
    version = _known(release, order, states)
    if states[version] == wanted:
        return Plan(release, f"version {version} of {release.model} is {wanted} already", changed=False)
    state = VERSION.next(states[version], order.verb, f"{version} of {release.model}")
    after = replace(release, number=release.number + 1)
    return Plan(after, f"version {version} of {release.model} is {state}", states=((version, state),))


VERBS: Mapping[str, Callable[[Release, Order, States], Plan]] = {
    "release": _release,
    "canary": _canary,
    "shadow": _shadow,
    "promote": _promote,
    "rollback": _rollback,
    "withdraw": _withdraw,
    "off": _off,
    "retire": _retire,
    "drained": _drained,
    "restore": _restore,
}
"""Verb -> its rule."""
