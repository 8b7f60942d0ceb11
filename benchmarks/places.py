"""Where the bench keeps things: all of it below the repository, none of it committed but `results/`."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PEERS = ROOT / "benchmarks" / "peers"
REQUIREMENTS = ROOT / "benchmarks" / "requirements"
RESULTS = ROOT / "benchmarks" / "results"
ENVS = ROOT / ".envs"
WORK = ROOT / ".cache" / "bench"
MODELS = WORK / "models"
LOGS = WORK / "logs"
