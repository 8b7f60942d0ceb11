"""The desk: the yard's verbs in the words of the admin API.

Rule: it only translates. The admin API and the command line both speak through it, so they say the same.
"""

from __future__ import annotations

import time
from datetime import datetime
from typing import TYPE_CHECKING

import msgspec

from modelyard.client.admin_values import (
    AuditLine,
    AuditReport,
    DiffLine,
    EntryRow,
    FileRow,
    FindingRow,
    FsckReport,
    GcReport,
    GuardRules,
    ModelPage,
    ModelRow,
    OutcomeRow,
    ReleaseRow,
    RolloutRow,
    VersionPage,
    VersionRow,
)
from modelyard.core.errors import BadInput
from modelyard.core.ref import parse_ref
from modelyard.core.table import Table
from modelyard.deploy.guard import Rules
from modelyard.deploy.plan import Order
from modelyard.deploy.release import parse_weight, show_weight
from modelyard.deploy.rollout import begin, parse_hold, parse_steps

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import BinaryIO

    from modelyard.artifact.bundle import Bundle
    from modelyard.artifact.tarball import ImportLimits
    from modelyard.client.admin_values import OrderRequest
    from modelyard.deploy.current import Current
    from modelyard.deploy.rollout import Rollout
    from modelyard.deploy.yard import Yard
    from modelyard.store.rows import Model, Version

_REHEARSAL: Table[Callable[..., None]] = Table({"version": "modelyard.flow:rehearse_version"}, "rehearsal")
"""Only an import needs it, and it imports what a control must not carry for nothing."""

VERBS = ("release", "canary", "shadow", "promote", "rollback", "withdraw", "retire", "restore", "off")
"""The orders that people give; ``drained`` is control's."""


class Desk:
    """A yard's verbs for one person.

    Args:
        yard: an open one.
        who: in whose name it is written down.
    """

    def __init__(self, yard: Yard, who: str) -> None:
        self._yard = yard
        self._who = who

    def close(self) -> None:
        """Close the yard."""
        self._yard.close()

    # what is there

    def models(self, after: str = "", limit: int = 100) -> tuple[ModelRow, ...]:
        """A page of models in the order of their names; ``after`` is the last name of the page before."""
        return tuple(_model(*row) for row in self._yard.models(after, limit))

    def model(self, name: str, limit: int = 20) -> ModelPage:
        """One model with its newest versions."""
        found = self._yard.index.get_model(name)
        versions = self.versions(name, limit=limit)
        return ModelPage(_model(found, self._yard.released(name)), versions)

    def versions(self, name: str, before: int | None = None, limit: int = 100) -> tuple[VersionRow, ...]:
        """A page of a model's versions, newest first; ``before`` is the last number of the page before."""
        return tuple(map(version_row, self._yard.versions(name, before, limit)))

    def version(self, ref: str) -> VersionPage:
        """One version with what its manifest says; the newest when the reference has no number."""
        row = self._yard.version(parse_ref(ref))
        role = self._yard.released(row.model).release.role_of(row.number) or ""
        if row.gone:
            return VersionPage(version_row(row), role, 0, {}, ())
        manifest = self._yard.manifest(parse_ref(f"{row.model}:{row.number}"))
        files = tuple(FileRow(part.name, part.sha256, part.size) for part in manifest.parts)
        size = sum(part.size for part in manifest.parts)
        return VersionPage(version_row(row), role, size, dict(manifest.facts), files)

    def diff(self, a: str, b: str) -> tuple[DiffLine, ...]:
        """Two versions side by side, fact by fact."""
        return tuple(
            DiffLine(line.what, line.a, line.b) for line in self._yard.diff(parse_ref(a), parse_ref(b))
        )

    # what is in force

    def released(self, name: str) -> ReleaseRow:
        """What is in force now."""
        return release_row(self._yard.released(name))

    def history(self, name: str, before: int | None = None, limit: int = 100) -> tuple[ReleaseRow, ...]:
        """A page of what was in force, newest first."""
        return tuple(map(release_row, self._yard.history(name, before, limit)))

    def history_at(self, name: str, moment: datetime) -> ReleaseRow:
        """What was in force at a moment."""
        return release_row(self._yard.history_at(name, moment))

    def order(self, name: str, asked: OrderRequest) -> OutcomeRow:
        """Carry an order out.

        Raises:
            BadInput: an unknown verb, or words that do not belong to it.
            Conflict: somebody else was first.
            IllegalMove: the order may not follow what is in force.
        """
        order, rollout, rules = self._read(name, asked)
        done = self._yard.order(
            name, order, self._who, asked.why, rollout=rollout, rules=rules, expected=asked.expected
        )
        return OutcomeRow(release_row(done.current), done.sentence, done.changed)

    def _read(self, name: str, asked: OrderRequest) -> tuple[Order, Rollout | None, Rules | None]:
        if asked.verb not in VERBS:
            raise BadInput(f"{asked.verb[:40]!r} is no order; orders are {', '.join(VERBS)}")
        if asked.verb != "canary":
            if asked.share is not None or asked.steps is not None:
                raise BadInput(f"a share or steps belong to a canary, not to {asked.verb}")
            return Order(asked.verb, asked.version), None, None
        rules = None if asked.guard is None else _rules(asked.guard)
        if asked.steps is None:
            return Order("canary", asked.version, parse_weight(asked.share or "")), None, rules
        if asked.share is not None:
            raise BadInput("a canary has one share or steps, not both")
        steps = parse_steps(",".join(asked.steps))
        order = self._yard.resolve(name, Order("canary", asked.version, steps[0]))
        return order, begin(order.version or 0, steps, parse_hold(asked.hold), time.time()), rules

    # in and out

    def push(self, bundle: Bundle, name: str, note: str) -> VersionRow:
        """Register a bundle of this machine as the model's next version."""
        return version_row(self._yard.push(bundle, name, note, self._who))

    def import_(
        self,
        source: BinaryIO,
        name: str,
        note: str,
        expected: str | None = None,
        limits: ImportLimits | None = None,
        *,
        trust: bool = False,
    ) -> VersionRow:
        """Register a bundle that comes as a tar.

        A stranger made it: its graph is loaded and run in a bounded child first, never in this process.

        Args:
            source: the tar.
            name: the model's.
            note: in words.
            expected: the digest that it must have.
            limits: what it may have.
            trust: run the child even where this kernel cannot confine it.

        Raises:
            FileError: it is no bundle, or its graph breaks a limit or is not what its manifest says.
        """
        made = self._yard.import_(
            source,
            name,
            note,
            self._who,
            expected=expected,
            limits=limits,
            check=lambda folder: _REHEARSAL.load("version")(folder, trust=trust),
        )
        return version_row(made)

    def export(self, ref: str, path: Path) -> str:
        """Write a version's bundle as a tar; its digest."""
        return self._yard.export(parse_ref(ref), path).digest

    # upkeep

    def gc(
        self, grace_s: float, dry_run: bool, on_progress: Callable[[int], None] = lambda _: None
    ) -> GcReport:
        """Give up the bundles of retired versions and delete what nothing needs, after a grace."""
        if not 0 <= grace_s < float("inf"):
            raise BadInput("the grace is a number of seconds, 0 or more")
        done = self._yard.gc(self._who, grace_s, dry_run, on_progress)
        return GcReport(
            done.versions,
            done.deleted,
            done.freed_bytes,
            done.kept,
            done.young,
            done.swept,
            done.dry_run,
            done.dropped,
        )

    def fsck(self, on_progress: Callable[[int, int], None] = lambda _blobs, _bytes: None) -> FsckReport:
        """Hash every byte and check every row; nothing is changed."""
        found = self._yard.fsck(on_progress)
        findings = tuple(FindingRow(one.subject, one.text) for one in found.findings)
        return FsckReport(
            found.models, found.versions, found.blobs, found.size_bytes, found.unneeded, findings
        )

    def audit(self, after: int = 0, limit: int = 100, subject: str | None = None) -> tuple[AuditLine, ...]:
        """A page of the audit log in its order; ``after`` is the last ``seq`` of the page before."""
        return tuple(
            AuditLine(row.seq, row.at, row.who, row.action, row.subject, dict(row.detail), row.hash)
            for row in self._yard.audit(after, limit, subject)
        )

    def verify_audit(self) -> AuditReport:
        """Walk the whole audit log."""
        found = self._yard.verify_audit()
        return AuditReport(found.ok, found.rows, found.head, found.finding)


def parse_moment(text: str) -> datetime:
    """A moment as people write it.

    >>> parse_moment("2026-11-20T10:00Z").hour
    10

    Raises:
        BadInput: not ISO 8601, or without a time zone.
    """
    try:
        found = datetime.fromisoformat(text[:80])
    except ValueError:
        raise BadInput(f"{text[:40]!r} is not a moment; write it as 2026-11-20T10:00Z") from None
    if found.tzinfo is None:
        raise BadInput(f"{text[:40]!r} has no time zone; write it with one, for example {text[:40]}Z")
    return found


def version_row(version: Version) -> VersionRow:
    """A version in the words of the API."""
    return VersionRow(
        version.model, version.number, version.manifest, version.state, version.state_at, version.note,
        version.created_at, version.created_by, version.gone,
    )  # fmt: skip


def release_row(current: Current) -> ReleaseRow:
    """A release in the words of the API."""
    release, rollout, rules = current.release, current.rollout, current.rules
    return ReleaseRow(
        release.model,
        release.number,
        tuple(EntryRow(entry.version, entry.weight, entry.role) for entry in release.entries),
        release.before,
        None
        if rollout is None
        else RolloutRow(
            rollout.version,
            tuple(map(show_weight, rollout.steps)),
            rollout.hold_s,
            rollout.at,
            rollout.since_s,
        ),
        None if rules is None else msgspec.convert(rules, GuardRules, from_attributes=True),
        None if current.order is None else current.order.to_json(),
        current.said,
        current.at,
        current.who,
        current.why,
        dict(current.evidence),
    )


def _model(model: Model, current: Current) -> ModelRow:
    return ModelRow(model.name, model.created_at, model.created_by, model.last_version, release_row(current))


def _rules(asked: GuardRules) -> Rules:
    """The guard's rules, if they can mean something.

    Raises:
        BadInput: a number out of its range.
    """
    checks = (
        ("min_requests", 1 <= asked.min_requests <= 10**9, "from 1 to 1,000,000,000"),
        ("error_floor", 0 <= asked.error_floor <= 1, "from 0 to 1"),
        ("p99_ratio", 1 <= asked.p99_ratio <= 1e6, "from 1 to 1,000,000"),
        ("alarm", 0 < asked.alarm < 1, "above 0 and below 1"),
        ("cluster", 1 <= asked.cluster <= 1e6, "from 1 to 1,000,000"),
    )
    for name, ok, what in checks:
        if not ok:
            raise BadInput(f"the guard's {name} is a number {what}")
    return msgspec.convert(asked, Rules, from_attributes=True)
