"""The hold: waiting a moment for the wave of clients that were just answered. Pure: time is an argument.

With nothing but natural batching, clients that ask again as soon as they are answered fall into two waves
which keep missing each other. So when a batch of k requests is answered while m wait, the next run may
wait until k + m are there, for a small share of the run time at most once the answers are written. Whether
that pays is learnt: each hold is compared with what the run times say would have happened without it, and
holds that lose are given up but for a probe now and then. docs/adr/0003-the-hold.md has the figures.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from modelyard.engine.timing import RunTimes

FIRST_GAIN = 0.25
"""What a hold is believed to save, in run times, before any was tried: the larger batch must be seen once."""
WEIGHT = 0.1
"""What the newest hold counts for in the average."""
PROBE_WEIGHT = 0.3
"""What a probe counts for: a new wave of clients should not have to wait for several."""
PROBE_EVERY = 64
"""Where holds do not pay, one in so many chances is taken to see whether that has changed."""


class Hold:
    """Whether and how long the next run waits for those who were just answered.

    Args:
        share: the longest hold, as a part of the run time; 0 never holds.
    """

    __slots__ = (
        "_chances",
        "_from",
        "_idle_s",
        "_most_s",
        "_rate",
        "_rows",
        "_share",
        "_target",
        "_until",
        "filled",
        "gain",
        "held",
        "held_s",
    )

    def __init__(self, share: float) -> None:
        self._share = share
        self._target = 0
        self._until = 0.0
        self._rate = 0.0
        self._from: float | None = None
        self._rows = 0
        self._idle_s = 0.0
        self._chances = 0
        self._most_s = 0.0
        self.gain = FIRST_GAIN
        """What a hold saves on average, in run times; below zero they are given up."""
        self.held = 0
        self.held_s = 0.0
        self.filled = 0
        """Holds that ended because everybody was back."""

    def answered(self, now: float, answered: int, waiting: int, waiting_rows: int, run_s: float) -> None:
        """A batch is answered: decide whether the next one may be held.

        Args:
            now: monotonic seconds.
            answered: requests that get their answers now and may come back.
            waiting: requests that came while the batch ran.
            waiting_rows: their rows.
            run_s: what that batch took.
        """
        self._target = 0
        if self._share <= 0.0 or answered + waiting < 2:
            return
        if self.gain < 0.0:
            self._chances += 1
            if self._chances < PROBE_EVERY:
                return
            self._chances = 0
        self._target = answered + waiting
        self._most_s = self._share * run_s
        self._until = now + self._most_s
        self._rate = waiting_rows / run_s if run_s > 0.0 else 0.0

    def written(self, now: float) -> None:
        """The answers are out: only now can those who got them come back, so the hold counts from here.

        Writing them takes as long as a good part of the hold after a model that left the caches cold.
        """
        if self._target:
            self._until = now + self._most_s

    def pause_s(self, now: float, waiting: int, waiting_rows: int) -> float:
        """How much longer the next run waits; 0 is not at all."""
        if not self._target or not waiting:
            return 0.0
        if waiting >= self._target or now >= self._until:
            return 0.0
        if self._from is None:
            self._from = now
            self._rows = waiting_rows
        return self._until - now

    def started(self, now: float, waiting: int) -> bool:
        """The next run starts; whether it was held."""
        target, self._target = self._target, 0
        if self._from is None:
            return False
        # Those who waited may have gone, and the next one may have come much later.
        self._idle_s = max(min(now, self._until) - self._from, 0.0)
        self._from = None
        self.held += 1
        self.held_s += self._idle_s
        self.filled += waiting >= target
        return True

    def learn(self, rows: int, run_s: float, times: RunTimes) -> None:
        """A run that was held is over: compare it with what would have been.

        Rows that came at the rate at which they come anyway would have joined the next batch at hardly any
        cost; only those beyond it are a wave that would have made a batch of its own.

        Args:
            rows: what ran together.
            run_s: how long it took.
            times: what smaller batches take.
        """
        back = rows - self._rows - self._rate * self._idle_s
        saved = 0.0
        if back >= 1.0 and self._rows:
            wave = round(back)
            saved = times.guess(self._rows) + times.guess(wave) - times.guess(self._rows + wave)
        if run_s > 0.0:
            gain = min(max((saved - self._idle_s) / run_s, -1.0), 1.0)
            self.gain += (WEIGHT if self.gain >= 0.0 else PROBE_WEIGHT) * (gain - self.gain)
