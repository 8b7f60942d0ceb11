"""A yard in memory, for as long as one process serves: the rules of ``Yard`` without a registry.

Nothing is written and nothing is kept: opening a database would cost a start of `serve` more than all else.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from msgspec.structs import replace

from modelyard.core.errors import ModelNotFound
from modelyard.core.ref import check_name
from modelyard.deploy.current import Current, Outcome, read_row, write_entries, write_evidence
from modelyard.deploy.plan import plan, resolve
from modelyard.deploy.release import Release
from modelyard.deploy.wanted import Changes, want
from modelyard.store import rows

if TYPE_CHECKING:
    from modelyard.artifact.bundle import Bundle
    from modelyard.deploy.plan import Order


class TemporaryYard:
    """Versions and releases of one process; the verbs mean what they mean in ``Yard``."""

    def __init__(self) -> None:
        self._change = 0
        self._versions: dict[str, list[rows.Version]] = {}
        self._current: dict[str, Current] = {}
        self._changed: dict[str, int] = {}

    def push(self, bundle: Bundle, name: str, note: str, who: str) -> rows.Version:
        """Register a bundle as the model's next version; it carries no traffic yet.

        Raises:
            BadInput: a name that cannot be one.
        """
        check_name(name)
        versions, now = self._versions.setdefault(name, []), datetime.now(UTC)
        made = rows.Version(name, len(versions) + 1, bundle.digest, note, now, who, "ready", now)
        versions.append(made)
        self._touch(name)
        return made

    def order(self, model: str, order: Order, who: str) -> Outcome:
        """Carry an order out.

        Raises:
            IllegalMove: it may not follow what is in force.
            ModelNotFound: no such model.
            VersionNotFound: no such version.
        """
        if model not in self._versions:
            raise ModelNotFound(f"there is no model {model!r}")
        current = self._current.get(model, Current(Release(model)))
        versions = self._versions[model]
        order = resolve(order, current.release, len(versions))
        done = plan(current.release, order, {one.number: one.state for one in versions})
        if not done.changed:
            return Outcome(current, done.sentence, changed=False)
        evidence = write_evidence(order, done, None, None, None)
        at, entries = datetime.now(UTC), write_entries(done.release)
        for number, state in done.states:
            versions[number - 1] = replace(versions[number - 1], state=state, state_at=at)
        row = rows.Release(model, done.release.number, entries, at, who, done.sentence, evidence)
        self._current[model] = read_row(row)
        self._touch(model)
        return Outcome(self._current[model], done.sentence, changed=True)

    def wanted(self, since: int) -> Changes:
        """The models that changed after a change number."""
        found = []
        for name, change in self._changed.items():
            if change <= since:
                continue
            versions, current = self._versions[name], self._current.get(name)
            first, revision = versions[0], 0 if current is None else current.revision
            model = rows.Model(name, first.created_at, first.created_by, len(versions), revision, change)
            found.append(want(model, current, {(name, one.number): one for one in versions}))
        return Changes(self._change, tuple(found))

    def _touch(self, model: str) -> None:
        self._change += 1
        self._changed[model] = self._change
