"""The one way to open a model: what a request resolves to, and how often its weights are read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mhmodels.errors import UnknownNameError, WeightsError
from mhmodels.export import ModelRequest, NoEffectError, StatedRule, open_model
from mhmodels.export.opening.model_request import resolve_model
from mhmodels.registry import resolve
from mhmodels.weights import files, loading
from mhmodels.weights.downloading import download
from tests.export.writer_helpers import MINI

pytestmark = pytest.mark.tensorflow


def test_weights_are_located_described_read_and_hashed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: Counter[str] = Counter()

    def counted(module: Any, name: str) -> None:
        function: Callable[..., Any] = getattr(module, name)

        def call(*arguments: Any, **named: Any) -> Any:
            calls[name] += 1
            return function(*arguments, **named)

        monkeypatch.setattr(module, name, call)

    counted(download, "hash_file")  # of the registered file, whenever its name is looked up
    counted(files, "open_h5")
    counted(loading, "read_arrays")
    resolved = resolve_model(ModelRequest(model="multi_max@0.25", weights="digits64"))
    assert (calls["hash_file"], calls["open_h5"], calls["read_arrays"]) == (1, 1, 0)
    source = open_model(resolved)
    assert (calls["hash_file"], calls["read_arrays"]) == (1, 1)
    assert resolved.architecture is not None
    assert resolved.architecture.input_size == (64, 64)
    assert [note for note in resolved.notes if "as the weights say" in note]
    assert source.label.startswith("multi_max_w0.25_digits64.weights.h5, sha256 ")
    assert source.architecture == resolved.architecture
    assert source.labels.names


def test_changes_are_applied_before_the_model_is_built() -> None:
    request = ModelRequest(model="multi_max", width_multiplier=0.5, input_size=(96, 64), input_channels=1, classes=7)
    network = resolve_model(request).architecture
    assert network is not None
    assert (network.width_multiplier, network.input_size, network.input_channels, network.classes) == (0.5, (96, 64), 1, 7)
    assert len(network.preprocessing.mean) == 1
    stated = resolve_model(ModelRequest(model=MINI, preprocessing=StatedRule((90.0,), (80.0,)))).architecture
    assert stated is not None
    assert stated.preprocessing.mean == (90.0,) * 3
    sized = resolve("multi_max@0.25").at(input_size=96, classes=10)
    own = resolve_model(ModelRequest(model=sized, weights="digits64")).architecture
    assert own is not None
    assert own.input_size == (96, 96)  # not the 64 pixels of the weights
    with pytest.raises(UnknownNameError, match="did you mean"):
        resolve_model(ModelRequest(model="multi_mix"))
    with pytest.raises(WeightsError, match="no such file"):
        resolve_model(ModelRequest(model=MINI, weights="missing.weights.h5"))


@pytest.mark.parametrize(
    ("field", "value"), [("weights", "x.h5"), ("classes", 3), ("width_multiplier", 0.5), ("input_channels", 1)]
)
def test_a_built_model_takes_an_input_size_only(field: str, value: Any) -> None:
    import keras

    image = keras.Input((32, 32, 3))
    model = keras.Model(image, keras.layers.Dense(4)(keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3)(image))))
    for built, name in (("own.keras", "own.keras"), (Path("own.keras"), "own.keras"), (model, f"model '{model.name}'")):
        with pytest.raises(NoEffectError, match=f"argument '{field}': {name} is a built model, which has its own"):
            resolve_model(ModelRequest(model=built, **{field: value}))
    source = open_model(ModelRequest(model=model, preprocessing=StatedRule((0.0,), (255.0,))))
    assert source.architecture.preprocessing.std == (255.0,) * 3
    assert open_model(source) is source
