"""Starts the process of a child: a fresh interpreter, an empty environment, two inherited descriptors."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from modelyard.sandbox.policy import Policy

# The path of the parent is taken over as it is (an isolated interpreter ignores PYTHONPATH, and a checkout
# need not be installed); then our own main runs.
_BOOT = (
    "import sys; sys.path[:] = sys.argv.pop().split('\\n'); from modelyard.sandbox.boot import main; main()"
)
_OPTIONS = ("-I", "-B", "-X", "frozen_modules=on", "-X", "faulthandler")
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")


# Frameworks that ask for a folder to write to are given one that is there and that they may not write to;
# Keras needs no TensorFlow when PyTorch computes for it.
_FRAMEWORKS = {
    "TORCHINDUCTOR_CACHE_DIR": "/",
    "KERAS_BACKEND": "torch",
    "HF_HUB_OFFLINE": "1",
    "TF_CPP_MIN_LOG_LEVEL": "3",
}


def search_path() -> list[str]:
    """Where the child looks for modules: where we do, less what depends on the current folder."""
    own = str(Path(__file__).resolve().parent.parent.parent)
    folders = [folder for folder in sys.path if folder.startswith("/") and "\n" not in folder]
    return folders if own in folders else [*folders, own]


def environment_of(policy: Policy) -> dict[str, str]:
    """All that the child's environment holds."""
    home = str(policy.write) if policy.write else "/nonexistent"
    threads = dict.fromkeys(_THREADS, str(policy.threads))
    scratch = {"TMPDIR": home} if policy.write else {}
    # joblib would look for semaphores, which a child has not, and say so at length.
    return {
        "LANG": "C.UTF-8",
        "HOME": home,
        "JOBLIB_MULTIPROCESSING": "0",
        **_FRAMEWORKS,
        **scratch,
        **threads,
    }


def spawn(policy: Policy, channel_fd: int, memory_fd: int, words_fd: int) -> subprocess.Popen[bytes]:
    """Start the interpreter of a child; returns before it has imported anything."""
    command = [sys.executable, *_OPTIONS, "-c", _BOOT, str(channel_fd), str(memory_fd), str(os.getpid())]
    command.append("\n".join(search_path()))
    starting = _everlasting_thread(os.getpid()).submit(
        subprocess.Popen,
        command,
        stdin=subprocess.DEVNULL,
        stdout=words_fd,
        stderr=words_fd,
        pass_fds=(channel_fd, memory_fd),
        env=environment_of(policy),
        cwd=policy.write or "/",
        # Ctrl-C is for the parent: it may still need the answer of the child.
        start_new_session=True,
    )
    return starting.result()


@cache
def _everlasting_thread(pid: int) -> ThreadPoolExecutor:  # noqa: ARG001 (a forked copy has no such thread: one a process)
    # prctl(2): PR_SET_PDEATHSIG fires when the *thread* that made the child ends, not only its process.
    # So every child is made by one thread that lives as long as the process does.
    return ThreadPoolExecutor(1, thread_name_prefix="modelyard-spawn")
