"""Runs a script or a module inside limits: `python -P contained.py CORES TARGET ARGUMENTS...`. Standard library only.

A runtime or compiler given a hostile file may crash, hang or ask for all memory. Started through here it ends with the
process that started it, has no more memory than the machine, and leaves no core file.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import runpy
import signal
import sys

PR_SET_PDEATHSIG = 1


def contain(cores: list[int]) -> None:
    """Limits this process, and ties it to `cores` unless there are none."""
    if cores and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def main() -> None:
    """Takes itself out of the arguments and runs what follows."""
    cores, target = sys.argv[1:3]
    contain(json.loads(cores))
    del sys.argv[:2]
    if target.endswith(".py"):
        runpy.run_path(target, run_name="__main__")
    else:
        runpy.run_module(target, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
