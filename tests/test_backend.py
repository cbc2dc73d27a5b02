"""Commands on another Keras backend than TensorFlow, and with other settings in keras.json."""

from __future__ import annotations

import sys

import pytest

from mhmodels.system.quiet import BackendError, load_tensorflow

pytestmark = pytest.mark.tensorflow


@pytest.mark.parametrize("backend", ["torch", "jax", "numpy", "openvino"])
def test_another_backend_is_one_message(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import keras

    monkeypatch.setattr(keras.config, "backend", lambda: backend)
    monkeypatch.setenv("KERAS_BACKEND", backend)
    with pytest.raises(BackendError, match=f"Keras' backend is '{backend}'.*KERAS_BACKEND is '{backend}': unset it"):
        load_tensorflow()
    monkeypatch.delenv("KERAS_BACKEND")
    with pytest.raises(BackendError, match=r"set KERAS_BACKEND=tensorflow, or 'backend' in ~/\.keras/keras\.json"):
        load_tensorflow()


def test_a_backend_that_is_not_installed_is_one_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "keras", None)  # its import fails, as Keras' does without the backend's package
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    with pytest.raises(BackendError, match=r"Keras cannot be loaded \(.*; KERAS_BACKEND is 'torch': unset it"):
        load_tensorflow()


def test_commands_compute_in_float32_with_channels_last() -> None:
    import keras

    from mhmodels.export.reading.keras_model.precision import single_precision

    with single_precision():
        keras.config.set_floatx("float64")
        keras.config.set_dtype_policy("mixed_float16")
        keras.config.set_image_data_format("channels_first")
        load_tensorflow()
        settings = keras.config.floatx(), keras.config.dtype_policy().name, keras.config.image_data_format()
    assert settings == ("float32", "float32", "channels_last")
