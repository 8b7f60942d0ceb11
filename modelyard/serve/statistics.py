"""Statistics of a model version as Triton's extension writes them, from the sums of the whole host.

Times of the queue and of the model are of batches, which is what is measured: their count is how many ran,
and the queue's time is that of the oldest request of each. Reading inputs and writing outputs is not
measured apart; it is within success and fail, and 0 where it would stand alone.
Source: Triton's extension_statistics.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from modelyard.monitor.histogram import ROWS_BOUNDS

if TYPE_CHECKING:
    from modelyard.monitor.observations import ModelSums


def model_statistics(seen: ModelSums) -> dict[str, Any]:
    """One ModelStatistics, as plain values.

    A row of ``batch_stats`` stands for batches of up to ``batch_size`` rows, and more than the row before.
    """
    answered = sum(count for _, code, count in seen.requests if code == "ok")
    failed = sum(count for _, code, count in seen.requests) - answered
    seconds = sum(each.total for each in seen.seconds.values())
    runs = sum(seen.batch_rows.counts)
    sizes = [int(bound) for bound in ROWS_BOUNDS]
    sizes.append(2 * sizes[-1])
    return {
        "name": seen.model,
        "version": seen.version,
        "last_inference": int(seen.last_s * 1000),
        "inference_count": int(seen.batch_rows.total),
        "execution_count": runs,
        "inference_stats": {
            "success": _duration(answered, seconds - seen.failed_s),
            "fail": _duration(failed, seen.failed_s),
            "queue": _duration(sum(seen.queue.counts), seen.queue.total),
            "compute_input": _duration(runs, 0.0),
            "compute_infer": _duration(sum(seen.run.counts), seen.run.total),
            "compute_output": _duration(runs, 0.0),
            "cache_hit": _duration(0, 0.0),
            "cache_miss": _duration(0, 0.0),
        },
        "response_stats": {},
        "batch_stats": [
            {
                "batch_size": size,
                "compute_input": _duration(count, 0.0),
                "compute_infer": _duration(count, run_s),
                "compute_output": _duration(count, 0.0),
            }
            for size, count, run_s in zip(sizes, seen.batch_rows.counts, seen.run_s, strict=False)
            if count
        ],
        "memory_usage": [],
    }


def _duration(count: int, seconds: float) -> dict[str, int]:
    return {"count": count, "ns": max(int(seconds * 1e9), 0)}
