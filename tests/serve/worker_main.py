"""A worker process that opens the bundles of ``worker_parts``."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from worker_parts import open_adds, prove_adds

from modelyard.control.worker import main

if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:], lambda trust: open_adds, prove_adds))
