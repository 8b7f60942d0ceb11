"""Does this machine answer as the original did? Asked before a version takes traffic.

One rule: what cannot be compared is not judged, and what can is judged by the recorded answers alone.
"""

from __future__ import annotations

from threading import Timer
from typing import TYPE_CHECKING

from modelyard.compiler.recorded import difference
from modelyard.core.errors import ModelyardError
from modelyard.engine.run import Stoppable

if TYPE_CHECKING:
    from modelyard.serve.opened import Opened

REPLAY_S = 60.0
"""A graph that takes longer for its few rows is stopped; a model host has a limit of its own."""


def replay(opened: Opened) -> str:
    """Answer the recorded rows, and compare; blocking.

    Returns:
        "" when the answers agree, or when there are none to compare with; else one sentence that says what
        differs and where.
    """
    if opened.answers is None:
        return ""
    runner = opened.runner
    limit = Timer(REPLAY_S, runner.stop) if isinstance(runner, Stoppable) else None
    if limit is not None:
        limit.daemon = True
        limit.start()
    try:
        have = runner.run(opened.example)
    except ModelyardError as error:
        return f"the model fails on its recorded rows here: {error.message}"
    finally:
        if limit is not None:
            limit.cancel()
    return difference(opened.answers, have, opened.signature, opened.scores_tolerance)
