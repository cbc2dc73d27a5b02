"""A training process of its own, for what cannot be had in the test's: kill -9, several devices, several workers.

    python -m tests.training.child FOLDER '{"kill_at": 5, "devices": 2, …}'

Prints one JSON document: a hash of all variables, the losses of its steps, the metrics.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import msgspec

from mhmodels.system.quiet import load_tensorflow
from mhmodels.training.recipes import Recipe

from . import tiny


def main(folder: Path, options: dict[str, Any]) -> None:
    load_tensorflow()
    import tensorflow as tf

    if options.get("devices"):
        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * options["devices"])
    from mhmodels.training import session
    from mhmodels.training.run.progress import Silent, Status

    losses: list[float] = []

    class Watcher(Silent):
        def stepped(self, status: Status) -> None:
            losses.append(status.loss)
            if status.step == options.get("kill_at"):
                os.kill(os.getpid(), signal.SIGKILL)

    request = session.TrainingRequest(
        architecture=tiny.architecture(),
        data=tiny.data(count=options.get("pictures", 48)),
        recipe=msgspec.convert(msgspec.to_builtins(tiny.recipe()) | options.get("recipe", {}), Recipe),
        folder=folder,
        strategy=options.get("strategy", "none"),
        resume=options.get("resume", False),
        checkpoint_seconds=options.get("checkpoint_seconds", 600.0),
    )
    metrics = session.train_network(request, Watcher())
    print(json.dumps({"hash": content(folder), "losses": losses, "test_accuracy": metrics.test_accuracy, "loss": metrics.loss}))


def content(folder: Path) -> str:
    """Hash of everything in the newest checkpoint but the times."""
    import numpy as np

    from mhmodels.training.run import checkpoint

    newest = checkpoint.latest(folder / "checkpoints")
    digest = hashlib.sha256(str(newest).encode() if newest is None else newest.name.encode())
    if newest is not None:
        with np.load(newest) as archive:
            for name in sorted(set(archive.files) - {"state"}):
                digest.update(name.encode() + archive[name].tobytes())
    return digest.hexdigest()


if __name__ == "__main__":
    main(Path(sys.argv[1]), json.loads(sys.argv[2]))
