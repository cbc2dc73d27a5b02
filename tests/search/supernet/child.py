"""A search in a process of its own, for what cannot be had in the test's: kill -9, several devices, several workers.

    python -m tests.search.supernet.child FOLDER '{"kill_at": 5, "devices": 2, …}'

Prints one JSON document: a hash of all variables, the losses, the controller's logits, and on which device each replica's
gradients were at last.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any
from unittest import mock

import msgspec
import numpy as np

from mhmodels.search.supernet.presets import Preset
from mhmodels.search.supernet.watching import SearchStatus, SilentObserver
from mhmodels.system.quiet import load_tensorflow

from . import tiny


def main(folder: Path, options: dict[str, Any]) -> None:
    load_tensorflow()
    import tensorflow as tf

    if options.get("devices"):
        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * options["devices"])
    from mhmodels.search.run.log import SearchLog
    from mhmodels.search.supernet import loop
    from mhmodels.training.strategies import is_chief, make_strategy

    strategy = make_strategy(options.get("strategy", "none"))
    losses: list[float] = []

    class Watcher(SilentObserver):
        def stepped(self, status: SearchStatus) -> None:
            losses.append(status.loss)
            if status.step == options.get("kill_at"):
                os.kill(os.getpid(), signal.SIGKILL)

    preset = msgspec.convert(msgspec.to_builtins(tiny.preset()) | options.get("preset", {}), Preset)
    log = SearchLog(folder / "search.db") if is_chief(strategy) else None
    tf.config.run_functions_eagerly(options.get("eager", False))
    request = tiny.request(
        folder,
        space=tiny.small() if options.get("small") else tiny.space(),
        static_shapes=options.get("static_shapes", False),
        preset=preset,
        strategy=strategy,
        log=log,
        data=tiny.data(options.get("pictures", 96)),
        resume=options.get("resume", False),
        checkpoint_seconds=options.get("checkpoint_seconds", 600.0),
    )
    run = loop.WeightSharingSearch(request, Watcher())
    run.restore()
    with mock.patch.object(run.trainer, "_distributed", wraps=run.trainer._distributed) as distributed:
        outcome = run.to_end()
    weights = hashlib.sha256()
    values = [np.asarray(value) for value in run.trainer.values().values()]
    for value in values:
        weights.update(value.tobytes())
    print(
        json.dumps(
            {
                "hash": weights.hexdigest(),
                "norm": float(np.sqrt(sum(float((value.astype(np.float64) ** 2).sum()) for value in values))),
                "losses": losses,
                "logits": outcome.logits.tolist(),
                "encoding": outcome.encoding.tolist(),
                "places": [own[0].device.rpartition("/device:")[2] for own in distributed.call_args.args[0]],
            }
        )
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), json.loads(sys.argv[2]))
