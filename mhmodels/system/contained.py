"""Runs a script or a module inside limits: `python -P contained.py SETTINGS TARGET ARGUMENTS...`. Standard library only.

A runtime or compiler given a hostile file may crash, hang or ask for all memory. Started through here it ends with the
process that started it, has no more memory than the machine, and leaves no core file. SETTINGS is a JSON object: `cores` to
be pinned to, `channel` (the descriptor of `mhmodels.system.child.Child`, handed on as the first argument; null for none), and
`parent` (process id).
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


def contain(cores: list[int], parent: int | None = None) -> None:
    """Limits this process.

    Args:
        cores: Cores to pin the process to; empty leaves the affinity as it is.
        parent: Process id of the parent; a process whose parent is another one by now ends at once.
    """
    if cores and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if parent is not None and os.getppid() != parent:
            os._exit(1)  # the parent died before the kernel was told
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def main() -> None:
    """Takes itself out of the arguments and runs what follows."""
    settings, target = json.loads(sys.argv[1]), sys.argv[2]
    contain(settings["cores"], settings["parent"])
    sys.argv[:3] = [target]
    if settings["channel"] is not None:
        # A process that this one starts must not hold the channel open.
        os.set_inheritable(settings["channel"], False)
        sys.argv.insert(1, str(settings["channel"]))
    if target.endswith(".py"):
        runpy.run_path(target, run_name="__main__")
    else:
        runpy.run_module(target, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
