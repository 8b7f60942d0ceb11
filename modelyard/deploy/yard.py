"""The yard: everything that people do to a registry, without any process of ours running.

Rule: an order is planned on what was read and written by compare-and-swap on what was read. Of two that race
one wins, and the other hears who won; nothing is half done.
"""

from __future__ import annotations

import secrets
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Self
from urllib.parse import parse_qsl

from msgspec.structs import replace

from modelyard.artifact.tarball import ImportLimits, import_bundle, save_bundle
from modelyard.core.errors import BadInput, Conflict, CorruptFile, MissingFile, VersionNotFound
from modelyard.core.ref import ModelRef, check_name
from modelyard.core.table import Table
from modelyard.deploy.compare import compare
from modelyard.deploy.current import Current, Outcome, read_row, write_entries, write_evidence
from modelyard.deploy.plan import plan, resolve
from modelyard.deploy.release import Release
from modelyard.deploy.wanted import Changes, want
from modelyard.store.blobs.table import open_blobs
from modelyard.store.bundles import read_contents
from modelyard.store.cache import shrink
from modelyard.store.collect import GRACE_S, collect
from modelyard.store.database import Database
from modelyard.store.fsck import fsck
from modelyard.store.index import Index
from modelyard.store.registry import Registry
from modelyard.store.rows import Move

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime
    from typing import Any

    from modelyard.artifact.bundle import Bundle
    from modelyard.artifact.manifest import Manifest
    from modelyard.core.signature import Signature
    from modelyard.deploy.compare import Line
    from modelyard.deploy.guard import Rules
    from modelyard.deploy.plan import Order
    from modelyard.deploy.rollout import Rollout
    from modelyard.store.blobs.blob import Blobs
    from modelyard.store.collect import Collected
    from modelyard.store.fsck import Checkup
    from modelyard.store.rows import AuditCheck, AuditRow, Model, Version

DEAD = ("retired", "failed")
"""States in which a version's bundle is given up after the grace."""

CARRY = ("ready",)
"""States in which a version may carry traffic."""

_BUCKET_OPTIONS = ("endpoint", "region", "timeout_s", "retries")
_PAGE = 1000
_SIGNATURE: Table[type[Signature]] = Table({"signature": "modelyard.core.signature:Signature"}, "value")
"""It needs arrays, and only a push needs it."""


class Yard:
    """A registry, and the verbs of those who run it; safe to share between threads.

    Args:
        registry: an open one.
    """

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self.index = registry.index

    @classmethod
    def open(cls, home: Path, registry_url: str = "", artifacts_url: str = "") -> Yard:
        """Open a yard, or make one.

        Args:
            home: its folder on this machine; with both addresses given it holds only what was fetched.
            registry_url: of the database; ``HOME/registry.db`` without.
            artifacts_url: of the blobs; ``HOME/blobs`` without. A bucket's may end with options, as
                ``s3://bucket/prefix?endpoint=http://127.0.0.1:9000&region=eu-1``.

        Raises:
            BadInput: an address that cannot be one.
            NewerRegistry: a later release made it; nothing was changed.
            Unavailable: the database does not answer.
        """
        home = home.absolute()
        blobs = _open_blobs(artifacts_url or str(home / "blobs"))
        index = Index(Database(registry_url or f"sqlite:///{home / 'registry.db'}")).open()
        return cls(Registry(index, blobs, home / "cache"))

    def close(self) -> None:
        """Close every connection."""
        self.index.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # what comes in

    def push(self, bundle: Bundle, name: str, note: str, who: str) -> Version:
        """Register a bundle as the model's next version; it carries no traffic yet.

        Raises:
            BadInput: a name or a text that cannot be one.
            CorruptFile: it is not what its manifest says, or no model's.
        """
        check_name(name)
        _check_facts(bundle.facts)
        return self.registry.push(bundle, name, note, who)

    def import_(
        self,
        source: BinaryIO,
        name: str,
        note: str,
        who: str,
        *,
        expected: str | None = None,
        limits: ImportLimits | None = None,
        check: Callable[[Path], None] = lambda _: None,
    ) -> Version:
        """Register a bundle that comes as a tar from elsewhere, as the model's next version.

        Args:
            source: the tar.
            name: the model's.
            note: in words.
            who: who brings it.
            expected: the digest that the bundle must have.
            limits: what it may have.
            check: looks at the bundle's folder before it is registered; what it raises ends the import.

        Raises:
            CorruptFile: it is no such tar, or something in it is not what its manifest says.
            TooLarge: more bytes than the limits allow.
        """
        check_name(name)
        aside = self.registry.cache / "incoming" / secrets.token_hex(8)
        try:
            bundle = import_bundle(source, aside, expected=expected, limits=limits)
            check(bundle.folder)
            return self.push(bundle, name, note, who)
        finally:
            shutil.rmtree(aside, ignore_errors=True)

    def export(self, ref: ModelRef, path: Path) -> Bundle:
        """Write a version's bundle as a tar, which is there whole or not at all.

        Raises:
            ModelNotFound: no such model.
            VersionNotFound: no such version, or its bundle was collected.
            MissingFile: the path cannot be written.
        """
        bundle = self.bundle(ref)
        try:
            save_bundle(bundle, path)
        except OSError as error:
            raise MissingFile(f"{path} cannot be written: {error.strerror}") from error
        return bundle

    def bundle(self, ref: ModelRef) -> Bundle:
        """A version's bundle on this machine's disk, checked; the newest without a number."""
        return self.registry.fetch(ref.name, self._number(ref))

    # what is there

    def models(self, after: str = "", limit: int = 100) -> tuple[tuple[Model, Current], ...]:
        """A page of models with what is in force, in the order of their names."""
        found = self.index.list_models(after, limit)
        inforce = self.index.current_of([model.name for model in found if model.revision])
        return tuple(
            (model, read_row(inforce[model.name]) if model.name in inforce else Current(Release(model.name)))
            for model in found
        )

    def versions(self, model: str, before: int | None = None, limit: int = 100) -> tuple[Version, ...]:
        """A page of a model's versions, newest first."""
        return self.index.list_versions(model, before, limit)

    def version(self, ref: ModelRef) -> Version:
        """One version's row; the newest without a number."""
        return self.index.get_version(ref.name, self._number(ref))

    def manifest(self, ref: ModelRef) -> Manifest:
        """What a version's bundle says of itself; its files are not fetched.

        Raises:
            VersionNotFound: no such version, or its bundle was collected.
        """
        version = self.version(ref)
        if version.gone:
            raise VersionNotFound(
                f"{version.model}:{version.number} was {version.state} and its bundle was collected"
            )
        return read_contents(version.manifest, self.registry.blobs).manifest

    def diff(self, a: ModelRef, b: ModelRef) -> tuple[Line, ...]:
        """Two versions side by side, by their manifests."""
        return compare(self.manifest(a), self.manifest(b))

    def _number(self, ref: ModelRef) -> int:
        return self.index.get_model(ref.name).last_version if ref.version is None else ref.version

    # what is in force

    def released(self, model: str) -> Current:
        """What is in force now.

        Raises:
            ModelNotFound: no such model.
        """
        row = self.index.current(model)
        return Current(Release(model)) if row is None else read_row(row)

    def history(self, model: str, before: int | None = None, limit: int = 100) -> tuple[Current, ...]:
        """A page of what was in force, newest first; ``before`` is the last revision of the page before."""
        return tuple(map(read_row, self.index.history(model, before, limit)))

    def history_at(self, model: str, moment: datetime) -> Current:
        """What was in force at a moment; revision 0 before the first release."""
        row = self.index.history_at(model, moment)
        return Current(Release(model)) if row is None else read_row(row)

    def order(
        self,
        model: str,
        order: Order,
        who: str,
        why: str = "",
        evidence: Mapping[str, Any] | None = None,
        rollout: Rollout | None = None,
        rules: Rules | None = None,
        expected: int | None = None,
    ) -> Outcome:
        """Carry an order out: all of it, or nothing.

        Args:
            model: which.
            order: the verb; without a version, ``release``, ``canary`` and ``shadow`` mean the newest.
            who: who orders it.
            why: in words; the sentence of the change without.
            evidence: what it was decided on, plain JSON values.
            rollout: with ``canary``: how it goes on by itself. Every other order leaves the one in force as
                it is, as long as its canary stays.
            rules: with ``canary``: when it is turned back; kept likewise.
            expected: the revision that the caller saw; without, the one that is in force now.

        Raises:
            Conflict: somebody else was first; it says who and when.
            IllegalMove: the order may not follow what is in force.
            ModelNotFound: no such model or version.
        """
        found = self.index.get_model(model)
        current = self.released(model)
        if expected is not None and expected != current.revision:
            raise _conflict(current, expected)
        order = resolve(order, current.release, found.last_version)
        if rollout is not None and (order.verb, order.version) != ("canary", rollout.version):
            raise BadInput("a rollout belongs to the canary that it lets grow")
        states = self._states(current, order, found.last_version)
        done = plan(current.release, order, states)
        if order.verb != "canary":
            rollout, rules = current.rollout, current.rules
        if done.release.canary is None:
            rollout, rules = None, None
        same = (rollout, rules) == (current.rollout, current.rules)
        if not done.changed and same:
            return Outcome(current, done.sentence, changed=False)
        row = self.index.release(
            model,
            current.revision,
            write_entries(done.release),
            who,
            why or done.sentence,
            write_evidence(order, done, rollout, rules, evidence),
            states=CARRY,
            moved=[Move(version, states[version], state) for version, state in done.states],
        )
        return Outcome(read_row(row), done.sentence, changed=True)

    def resolve(self, model: str, order: Order) -> Order:
        """An order with its version: a growing canary's own, else the newest."""
        return resolve(order, self.released(model).release, self.index.get_model(model).last_version)

    def _states(self, current: Current, order: Order, newest: int) -> dict[int, str]:
        """The states of the versions that the order can be about; the newest ones for its messages."""
        numbers = {entry.version for entry in current.release.entries} | set(current.release.before)
        numbers |= set(range(max(newest - 4, 1), newest + 1))
        if order.version is not None:
            numbers.add(order.version)
        return self.index.states_of(current.release.model, numbers)

    # what a host should hold

    def wanted(self, since: int) -> Changes:
        """The models that changed after a change number; what did not change is not read.

        Rows that change while this reads are answered again by the next call.
        """
        # Read first: what is committed by now is among the models that are read next.
        change = max(self.index.change(), since)
        found: list[Model] = []
        while page := self.index.changes_since(since, _PAGE):
            found.extend(page)
            since = page[-1].change
            if len(page) < _PAGE:
                break
        released = self.index.current_of([model.name for model in found if model.revision])
        currents = {name: read_row(row) for name, row in released.items()}
        pairs = [(name, number) for name, current in currents.items() for number in current.needed]
        versions = self.index.versions_of(pairs)
        return Changes(
            max(change, since), tuple(want(model, currents.get(model.name), versions) for model in found)
        )

    def draining(self) -> tuple[Version, ...]:
        """The versions that were retired and are not known to be unloaded everywhere."""
        return self.index.in_state("draining")

    # upkeep

    def gc(
        self,
        who: str,
        grace_s: float = GRACE_S,
        dry_run: bool = False,
        on_progress: Callable[[int], None] = lambda _: None,
    ) -> Collected:
        """Give up the bundles of retired versions and delete what nothing needs, after a grace.

        Bundles that were fetched here and not used for the grace go too; they can be fetched again.
        """
        done = collect(
            self.index,
            self.registry.blobs,
            who=who,
            dead=DEAD,
            grace_s=grace_s,
            dry_run=dry_run,
            on_progress=on_progress,
        )
        if dry_run:
            return done
        return replace(done, dropped=shrink(self.registry.cache, time.time(), grace_s)[0])

    def fsck(self, on_progress: Callable[[int, int], None] = lambda _blobs, _bytes: None) -> Checkup:
        """Hash every byte and check every row; nothing is changed."""
        return fsck(self.index, self.registry.blobs, on_progress)

    def audit(self, after: int = 0, limit: int = 100, subject: str | None = None) -> tuple[AuditRow, ...]:
        """A page of the audit log."""
        return self.index.audit(after, limit, subject)

    def verify_audit(self) -> AuditCheck:
        """Walk the whole audit log."""
        return self.index.verify_audit()


def _open_blobs(url: str) -> Blobs:
    address, mark, query = url.partition("?")
    if not mark or not url.startswith("s3://"):
        return open_blobs(url)
    options = dict(parse_qsl(query))
    unknown = [name for name in options if name not in _BUCKET_OPTIONS]
    if unknown or not options:
        raise BadInput(f"options of a bucket's address are {', '.join(_BUCKET_OPTIONS)}, as ?region=eu-1")
    return open_blobs(address, **options)


def _conflict(current: Current, expected: int) -> Conflict:
    model, revision = current.release.model, current.revision
    if current.at is None:
        return Conflict(f"{model} has no release yet, so revision {expected} is not the one in force")
    return Conflict(
        f"{model} is at revision {revision}, not {expected}: {current.who} ordered it at "
        f"{current.at.isoformat()} ({current.said}); look at it and try again",
        revision,
        current.who,
        current.at,
    )


def _check_facts(facts: Mapping[str, Any]) -> None:
    try:
        _SIGNATURE.load("signature").from_json(facts["signature"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CorruptFile(
            f"the bundle is no model's: its signature cannot be read ({type(error).__name__})"
        ) from None
