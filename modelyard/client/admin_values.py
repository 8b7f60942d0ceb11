"""The words of the admin API: what is asked and answered as JSON, as frozen values.

One rule: server, client and command line read and write these and nothing else, so they cannot disagree.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec


class EntryRow(msgspec.Struct, frozen=True):
    """One version's part in a release; ``weight`` is in hundredths of a percent."""

    version: int
    weight: int
    role: str


class RolloutRow(msgspec.Struct, frozen=True):
    """A canary that grows by itself: its shares, how long each holds, the one in force and since when."""

    version: int
    steps: tuple[str, ...]
    hold_s: float
    at: int
    since_s: float


class GuardRules(msgspec.Struct, frozen=True):
    """When a canary is turned back; see ``deploy.guard.Rules``.

    Args:
        min_requests: of each version, before anything is said.
        error_floor: a difference of error shares below this is not worth a rollback.
        p99_ratio: how many times the live version's p99 is too slow.
        alarm: the chance that a canary as good as the live version is ever turned back.
        cluster: requests that are slow together, at least.
    """

    min_requests: int = 100
    error_floor: float = 0.001
    p99_ratio: float = 1.5
    alarm: float = 0.001
    cluster: float = 4.0


class ReleaseRow(msgspec.Struct, frozen=True):
    """What was in force from ``at`` on.

    Args:
        model: its name.
        revision: 1, 2, 3 ...; 0 when nothing was ever released.
        entries: who answers, and who gets copies.
        before: earlier live versions, the newest last.
        rollout: the canary that grows by itself.
        guard: when the canary is turned back.
        order: what was asked.
        said: what changed, in a sentence.
        at: since when; none for revision 0.
        who: who asked.
        why: in words.
        evidence: what it was decided on.
    """

    model: str
    revision: int
    entries: tuple[EntryRow, ...] = ()
    before: tuple[int, ...] = ()
    rollout: RolloutRow | None = None
    guard: GuardRules | None = None
    order: dict[str, Any] | None = None
    said: str = ""
    at: datetime | None = None
    who: str = ""
    why: str = ""
    evidence: dict[str, Any] = msgspec.field(default_factory=dict)


class VersionRow(msgspec.Struct, frozen=True):
    """One version; ``digest`` is its manifest's. ``gone``: its bundle was collected."""

    model: str
    number: int
    digest: str
    state: str
    state_at: datetime
    note: str
    created_at: datetime
    created_by: str
    gone: bool = False


class ModelRow(msgspec.Struct, frozen=True):
    """One model and what is in force."""

    name: str
    created_at: datetime
    created_by: str
    last_version: int
    release: ReleaseRow


class ShadowExample(msgspec.Struct, frozen=True):
    """One row that a shadow would have answered otherwise, both answers as text."""

    output: str
    live: str
    shadow: str


class ShadowRow(msgspec.Struct, frozen=True):
    """What a shadow would have answered, against what was answered, on this host since its workers began.

    Args:
        version: which.
        said: the finding in one line.
        requests: compared ones.
        failed: those that the shadow did not answer, or with an error.
        unlike: those whose outputs have other names, datatypes or shapes.
        labels: values compared that must be equal.
        labels_equal: the equal ones.
        scores: numbers compared.
        scores_near: those within the tolerance.
        mean_difference: of the numbers.
        max_difference: likewise.
        dropped: copies that were not run, for want of room.
        examples: a few rows that differ.
    """

    version: int
    said: str
    requests: int
    failed: int
    unlike: int
    labels: int
    labels_equal: int
    scores: int
    scores_near: int
    mean_difference: float
    max_difference: float
    dropped: int = 0
    examples: tuple[ShadowExample, ...] = ()


class ModelPage(msgspec.Struct, frozen=True):
    """One model with its newest versions; ``shadows`` is what a running control saw of those in force."""

    model: ModelRow
    versions: tuple[VersionRow, ...]
    shadows: tuple[ShadowRow, ...] = ()


class FileRow(msgspec.Struct, frozen=True):
    """One file of a bundle."""

    name: str
    sha256: str
    size_bytes: int


class VersionPage(msgspec.Struct, frozen=True):
    """One version with what its manifest says; ``role`` is its part in the release in force, or empty."""

    version: VersionRow
    role: str
    size_bytes: int
    facts: dict[str, Any]
    files: tuple[FileRow, ...]


class DiffLine(msgspec.Struct, frozen=True):
    """One fact of two versions; an empty text is a fact that is not there."""

    what: str
    a: str
    b: str


class OrderRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What somebody asks of a release.

    Args:
        verb: release, canary, shadow, promote, rollback, withdraw, retire, restore or off.
        version: which; release, canary and shadow take the newest without.
        share: of a canary, as ``10%``.
        steps: shares of a canary that grows by itself, as ``["1%", "10%", "100%"]``.
        hold: how long each step holds at least, as ``60s``.
        guard: when a canary is turned back; null: never by itself.
        why: in words.
        expected: the revision that the caller saw; another one in force is a conflict.
        wait_s: how long to wait until this host serves it.
    """

    verb: str
    version: int | None = None
    share: str | None = None
    steps: tuple[str, ...] | None = None
    hold: str = "60s"
    guard: GuardRules | None = GuardRules()
    why: str = ""
    expected: int | None = None
    wait_s: float = 0.0


class OutcomeRow(msgspec.Struct, frozen=True):
    """What came of an order.

    Args:
        release: what is in force now.
        said: what changed, in a sentence.
        changed: false when the order was fulfilled already.
        settled: this host serves it; none when nobody waited, or no host runs here.
    """

    release: ReleaseRow
    said: str
    changed: bool
    settled: bool | None = None


class GcRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What garbage collection is asked: the grace in seconds, and whether only to say what it would do."""

    grace_s: float = 86_400.0
    dry_run: bool = False


class GcReport(msgspec.Struct, frozen=True):
    """What it did: bundles given up, blobs deleted, their bytes, blobs needed, blobs still young.

    ``dropped``: fetched bundles that were removed from the disk of the machine that did it.
    """

    versions: tuple[tuple[str, int], ...]
    deleted: int
    freed_bytes: int
    kept: int
    young: int
    swept: int
    dry_run: bool
    dropped: int = 0


class FindingRow(msgspec.Struct, frozen=True):
    """One thing that is wrong, in words."""

    subject: str
    text: str


class FsckReport(msgspec.Struct, frozen=True):
    """What checking found; without findings the registry is sound."""

    models: int
    versions: int
    blobs: int
    size_bytes: int
    unneeded: int
    findings: tuple[FindingRow, ...]


class AuditLine(msgspec.Struct, frozen=True):
    """One line of the audit log."""

    seq: int
    at: datetime
    who: str
    action: str
    subject: str
    detail: dict[str, Any]
    hash: str


class AuditReport(msgspec.Struct, frozen=True):
    """Whether the audit log's chain holds: how many lines, the last one's hash, what is wrong."""

    ok: bool
    rows: int
    head: str
    finding: str = ""


class WorkerRow(msgspec.Struct, frozen=True):
    """One worker process.

    Args:
        host: whose.
        name: of the worker on its host.
        pid: its process; 0 while there is none.
        state: starting, ready, draining, waiting (to be started again) or gone.
        http_port: where it answers REST.
        grpc_port: likewise; none without gRPC.
        generation: of the desired state that it follows.
        restarts: how often it was started again.
        seen_s: when it was last heard of, seconds of the epoch.
    """

    host: str
    name: str
    pid: int
    state: str
    http_port: int = 0
    grpc_port: int | None = None
    generation: int = 0
    restarts: int = 0
    seen_s: float = 0.0


class CopyRow(msgspec.Struct, frozen=True):
    """One version in one worker; ``state`` as in ``serve.link.Copy``."""

    host: str
    worker: str
    model: str
    version: int
    state: str
    reason: str = ""
    size_bytes: int = 0
    load_s: float = 0.0


class HostRow(msgspec.Struct, frozen=True):
    """One host, its workers, and what it holds."""

    name: str
    seen_s: float
    workers: tuple[WorkerRow, ...]
    copies: tuple[CopyRow, ...]


class Health(msgspec.Struct, frozen=True):
    """Whether the registry answers, and what is wrong on this host."""

    ok: bool
    registry: bool
    problems: tuple[str, ...] = ()
