"""The same models under Keras' JAX backend, in an environment of its own without TensorFlow."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]

PROGRAM = """
import json, sys
import numpy as np
import keras
import mhmodels

assert keras.backend.backend() == "jax"
assert "tensorflow" not in sys.modules
shown = {}
for name in ("multi_max", "mobilenet_v3_small", "mobilenet_v4_conv_small", "mobilenet_edgetpu"):
    model = mhmodels.create_model(name, input_shape=(64, 64, 3), classes=7, width_multiplier=0.35)
    expected = mhmodels.complexity(mhmodels.get_architecture(name).at(width_multiplier=0.35, classes=7)).params_total
    assert model.count_params() == expected
    picture = np.random.default_rng(0).normal(size=(2, 64, 64, 3)).astype("float32")
    before = np.asarray(model(picture))
    model.save("model.keras")
    after = np.asarray(keras.models.load_model("model.keras")(picture))
    np.testing.assert_allclose(before, after, atol=1e-6)
    maps = mhmodels.create_model(name, features=True, output_stride=16, input_shape=(64, 64, 3), width_multiplier=0.35)(picture)
    shown[name] = [list(before.shape), [list(m.shape) for m in maps]]
print(json.dumps(shown))
"""


@pytest.mark.slow
def test_builds_runs_saves_and_reloads_under_jax(tmp_path: Path) -> None:
    environment = tmp_path / "jax"
    _skip_unless([sys.executable, "-m", "venv", environment], [sys.executable, "-m", "virtualenv", environment])
    python = environment / "bin" / "python"
    packages = ["jax", f"keras=={version('keras')}", f"msgspec=={version('msgspec')}"]
    _skip_unless([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages])
    variables = {**os.environ, "KERAS_BACKEND": "jax", "PYTHONPATH": os.fspath(REPOSITORY), "JAX_PLATFORMS": "cpu"}
    done = subprocess.run([python, "-c", PROGRAM], cwd=tmp_path, env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    shown = json.loads(done.stdout)
    assert shown["multi_max"] == [[2, 7], [[2, 16, 16, 16], [2, 8, 8, 24], [2, 4, 4, 56]]]
    assert all(scores == [2, 7] and len(maps) == 3 for scores, maps in shown.values())


def _skip_unless(*commands: list[object]) -> None:
    """Runs the first command that succeeds; where none does, there is no such environment to test in."""
    for command in commands:
        done = subprocess.run([os.fspath(part) for part in command], capture_output=True, text=True, check=False)  # type: ignore[call-overload]
        if done.returncode == 0:
            return
    pytest.skip(f"{' '.join(map(str, commands[-1][:6]))} failed: {(done.stderr.strip().splitlines() or ['no message'])[-1]}")
