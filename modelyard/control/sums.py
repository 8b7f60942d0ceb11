"""The sums of one host: its workers', and those of workers that ended, so that no counter ever falls."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from modelyard.deploy.guard import COUNTED, FAULTS, Window
from modelyard.monitor.observations import ModelSums, Observations
from modelyard.monitor.sums import merge, nothing

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable

_Key = tuple[str, str]
_GONE = "gone"


def window_of(sums: ModelSums) -> Window:
    """What the guard compares, from a version's sums."""
    counted = [(code, count) for _, code, count in sums.requests if code in COUNTED]
    columns = [seen.counts for seen in sums.seconds.values() if seen.counts]
    window = Window(
        sum(count for _, count in counted),
        sum(count for code, count in counted if code in FAULTS),
        sum(sums.run.counts),
    )
    if not columns:
        return window
    seconds = tuple(sum(column) for column in zip(*columns, strict=True))
    return Window(window.requests, window.faults, window.batches, seconds)


class HostSums:
    """Sums by worker; what did not change since the last reading is not added up again."""

    def __init__(self) -> None:
        self._whole: dict[Hashable, Observations] = {}
        self._models: dict[Hashable, dict[_Key, ModelSums]] = {}
        self._merged: dict[tuple[Hashable, _Key], tuple[tuple[ModelSums, ...], ModelSums]] = {}

    def hear(self, worker: Hashable, seen: Observations) -> None:
        """A worker's newest sums."""
        before = self._models.get(worker, {})
        models: dict[_Key, ModelSums] = {}
        for sums in seen.models:
            key = (sums.model, sums.version)
            old = before.get(key)
            models[key] = old if old is not None and old == sums else sums
        self._whole[worker], self._models[worker] = seen, models

    def bury(self, worker: Hashable) -> None:
        """A worker ended: what it counted stays, what it held is gone."""
        seen = self._whole.pop(worker, None)
        if seen is None:
            return
        del self._models[worker]
        self._merged = {key: found for key, found in self._merged.items() if key[0] != worker}
        gone = merge(self._whole[_GONE], seen) if _GONE in self._whole else seen
        self.hear(_GONE, _ended(gone))

    def total(self) -> Observations:
        """The whole host's."""
        return self._sum(None)

    def others(self, worker: Hashable) -> Observations:
        """All but one worker's."""
        return self._sum(worker)

    def windows(self, keys: Iterable[_Key]) -> dict[_Key, Window]:
        """What the guard compares, of some versions."""
        return {key: window_of(found) for key in keys if (found := self._one(None, key)) is not None}

    def to_bytes(self) -> bytes:
        """The sums of those that ended, for the control that comes after this one."""
        return msgspec.msgpack.encode(self._whole[_GONE]) if _GONE in self._whole else b""

    def from_bytes(self, data: bytes) -> None:
        """Take over what ``to_bytes`` said; what cannot be read counts as nothing."""
        try:
            self.hear(_GONE, msgspec.msgpack.decode(data, type=Observations))
        except (msgspec.DecodeError, ValueError):
            return

    def _sum(self, without: Hashable) -> Observations:
        parts = [seen for worker, seen in self._whole.items() if worker != without]
        plain = nothing()
        for seen in parts:
            plain = merge(plain, _bare(seen))
        keys = {key for worker, models in self._models.items() if worker != without for key in models}
        models = [found for key in sorted(keys) if (found := self._one(without, key)) is not None]
        return msgspec.structs.replace(plain, models=models)

    def _one(self, without: Hashable, key: _Key) -> ModelSums | None:
        parts = tuple(
            models[key] for worker, models in self._models.items() if worker != without and key in models
        )
        if len(parts) < 2:
            return parts[0] if parts else None
        known = self._merged.get((without, key))
        if known is not None and len(known[0]) == len(parts) and all(map(_same, known[0], parts)):
            return known[1]
        total = Observations([parts[0]], [])
        for part in parts[1:]:
            total = merge(total, Observations([part], []))
        self._merged[without, key] = (parts, total.models[0])
        return total.models[0]


def _same(a: Any, b: Any) -> bool:
    return a is b


def _bare(seen: Observations) -> Observations:
    return msgspec.structs.replace(seen, models=[])


def _ended(seen: Observations) -> Observations:
    """Counters without what only a living process has."""
    models = [msgspec.structs.replace(sums, waiting=0, ready=0, copies=0) for sums in seen.models]
    return Observations(
        models, seen.refused, cpu_s=seen.cpu_s, processes=0,
        started_s=seen.started_s, parked_total=seen.parked_total,
    )  # fmt: skip
