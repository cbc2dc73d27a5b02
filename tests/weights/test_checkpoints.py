"""Checkpoints of every family in TF Model Garden's layout, with all that trainers add to them, and broken ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mhmodels.errors import WeightsError
from mhmodels.registry import resolve
from mhmodels.weights import Stated, import_weights, read_weights
from mhmodels.weights.sources.checkpoint import find_checkpoint, read_checkpoint
from tests.weights.helpers import backbone, classifier, optimizer, random_arrays, save, write_checkpoint

pytestmark = pytest.mark.tensorflow

MODELS = (
    "mobilenet_v1@0.25", "mobilenet_v2@1.4", "mobilenet_v3_large@0.5", "mobilenet_v4_conv_small@0.5", "multi_avg@0.33",
    "mobilenet_edgetpu@0.25",
    *(
        pytest.param(name, marks=pytest.mark.slow)
        for name in (
            "mobilenet_v3_small", "multi_max@0.35", "multi_avg_seg@0.25", "multi_max_seg@0.75", "mobilenet_v4_conv_medium",
            "mobilenet_v4_conv_large@0.25",
        )
    ),
)  # fmt: skip


@pytest.mark.parametrize("model", MODELS)
def test_every_family_goes_where_it_belongs_and_width_and_classes_are_read_off(model: str, tmp_path: Path) -> None:
    architecture = resolve(model).at(classes=11)
    arrays = random_arrays(architecture)
    prefix = write_checkpoint(tmp_path / "ckpt", architecture, arrays)
    done = import_weights(prefix, model.partition("@")[0], tmp_path / "x.weights.h5")
    assert done.architecture.classes == 11
    assert (done.unused, done.used, done.info.holds) == ((), len(arrays), "the whole network")
    _, found = read_weights(tmp_path / "x.weights.h5")
    assert found.keys() == arrays.keys()
    assert all(np.array_equal(found[key], arrays[key]) for key in arrays)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any, Any]:
    """A checkpoint of a small network with optimizer slots and moving averages: (prefix, architecture, arrays)."""
    architecture = resolve("multi_max@0.25").at(classes=5)
    arrays = random_arrays(architecture)
    body = backbone(architecture, arrays)
    model = classifier(body, arrays)
    prefix = tmp_path_factory.mktemp("small") / "ckpt-1234"
    save(prefix, model=model, backbone=body, optimizer=optimizer(model, averages=True))
    return prefix, architecture, arrays


def test_optimizer_slots_and_averages_are_left_or_taken_as_asked(small: Any, tmp_path: Path) -> None:
    prefix, _, arrays = small
    trained = import_weights(prefix, "multi_max", tmp_path / "trained.weights.h5")
    averaged = import_weights(prefix, "multi_max", tmp_path / "averaged.weights.h5", averages=True)
    assert (trained.averages, averaged.averages, trained.info.step, trained.unused) == (False, True, 1234, ())
    trainable = [key for key in arrays if not key[1].startswith("moving")]
    assert trained.training_state == 2 * len(trainable) + 1
    raw, mean = read_weights(trained.path)[1], read_weights(averaged.path)[1]
    assert all(np.array_equal(raw[key], arrays[key]) for key in arrays)
    assert all(np.array_equal(mean[key], arrays[key] + (key in trainable)) for key in arrays)


def test_averages_that_are_not_there(tmp_path: Path) -> None:
    architecture = resolve("multi_max@0.25").at(classes=5)
    prefix = write_checkpoint(tmp_path / "ckpt", architecture, random_arrays(architecture))
    with pytest.raises(WeightsError, match="no moving averages"):
        import_weights(prefix, "multi_max", tmp_path / "x.weights.h5", averages=True)


def test_a_detector_gives_its_backbone_and_reports_the_rest(tmp_path: Path) -> None:
    import tensorflow as tf

    architecture = resolve("multi_avg_seg@0.25")
    arrays = random_arrays(architecture, classifier=False)
    model, decoder = tf.Module(), tf.Module()
    model.backbone = backbone(architecture, arrays)
    model.decoder = decoder
    decoder.conv = tf.Module()
    decoder.conv.kernel = tf.Variable(tf.zeros((3, 3, 8, 8)))
    prefix = save(tmp_path / "ckpt", model=model)
    done = import_weights(prefix, "multi_avg_seg", tmp_path / "x.weights.h5")
    assert done.info.holds == "the network without its classifier"
    assert done.unused == ("model/decoder/conv/kernel/.ATTRIBUTES/VARIABLE_VALUE",)

    from mhmodels import create_model

    arguments = {"width_multiplier": 0.25, "input_shape": (32, 32, 3), "weights": done.path}
    features = create_model("multi_avg_seg", include_top=False, **arguments)
    np.testing.assert_array_equal(features.get_layer("head1_conv").kernel.numpy(), arrays["head1_conv", "kernel"])
    with pytest.raises(WeightsError, match=r"no logits/kernel in it.*include_top=False"):
        create_model("multi_avg_seg", **arguments)


def test_the_older_head_with_a_bias_is_told_apart(tmp_path: Path) -> None:
    older = resolve("multi_avg.tunas").at(classes=3)
    prefix = write_checkpoint(tmp_path / "ckpt", older, random_arrays(older))
    with pytest.raises(WeightsError, match=r"not multi_avg.*it fits multi_avg\.tunas@1"):
        import_weights(prefix, "multi_avg", tmp_path / "x.weights.h5")


def test_1001_outputs_leave_the_background_open_until_someone_says(tmp_path: Path) -> None:
    architecture = resolve("mobilenet_v1@0.25").at(classes=1001)
    prefix = write_checkpoint(tmp_path / "ckpt", architecture, random_arrays(architecture))
    done = import_weights(prefix, "mobilenet_v1", tmp_path / "x.weights.h5")
    assert (done.info.labels.background, done.info.preprocessing.mean) == ("unknown", (123.675, 116.28, 103.53))
    stated = Stated(background="first", preprocessing="symmetric")
    said = import_weights(prefix, "mobilenet_v1", tmp_path / "x.weights.h5", stated=stated)
    assert (said.info.labels.offset, said.info.preprocessing.mean) == (1, (127.5, 127.5, 127.5))
    with pytest.raises(WeightsError, match=r"2 names for 1001 outputs.*expected 1000"):
        import_weights(prefix, "mobilenet_v1", tmp_path / "x.weights.h5", stated=Stated(background="last", names=("a", "b")))


def test_a_network_that_is_none_of_ours(tmp_path: Path) -> None:
    import tensorflow as tf

    model, layer = tf.Module(), tf.Module()
    setattr(model, "layer_with_weights-0", layer)
    layer.kernel, layer.query = tf.Variable(tf.zeros((4, 4))), tf.Variable(tf.zeros(4))
    with pytest.raises(WeightsError, match="layers that no network here has"):
        import_weights(save(tmp_path / "a", model=model), "multi_max", tmp_path / "x.weights.h5")
    with pytest.raises(WeightsError, match="but no model in it"):
        import_weights(save(tmp_path / "b", step=tf.Variable(3)), "multi_max", tmp_path / "x.weights.h5")


def test_a_checkpoint_of_tensorflow_1(tmp_path: Path) -> None:
    import tensorflow as tf

    names, tensors = ["MobilenetV1/Conv2d_0/weights"], [tf.zeros((3, 3, 3, 8))]
    tf.raw_ops.SaveV2(prefix=str(tmp_path / "slim"), tensor_names=names, shape_and_slices=[""], tensors=tensors)
    with pytest.raises(WeightsError, match=r"no object graph, so a checkpoint of TensorFlow 1 or slim"):
        import_weights(tmp_path / "slim", "mobilenet_v1", tmp_path / "x.weights.h5")


def test_weights_that_are_not_finite(tmp_path: Path) -> None:
    architecture = resolve("multi_max@0.25").at(classes=5)
    arrays = random_arrays(architecture)
    arrays["logits", "bias"][2] = np.nan
    prefix = write_checkpoint(tmp_path / "ckpt", architecture, arrays)
    with pytest.raises(WeightsError, match=r"logits/bias\) has NaN or infinite"):
        import_weights(prefix, "multi_max", tmp_path / "x.weights.h5")
    assert not (tmp_path / "x.weights.h5").exists()


def _copy(prefix: Path, folder: Path) -> Path:
    for path in prefix.parent.glob(f"{prefix.name}.*"):
        (folder / path.name).write_bytes(path.read_bytes())
    return folder / prefix.name


@pytest.mark.parametrize("kept", [0.0, 0.01, 0.5, 0.99])
@pytest.mark.parametrize("file", [".index", ".data-00000-of-00001"])
def test_truncated_files_are_an_error_and_leave_nothing(small: Any, tmp_path: Path, file: str, kept: float) -> None:
    prefix = _copy(small[0], tmp_path)
    path = Path(f"{prefix}{file}")
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * kept)])
    with pytest.raises(WeightsError, match=r"corrupt or truncated"):
        import_weights(prefix, "multi_max", tmp_path / "x.weights.h5")
    assert not (tmp_path / "x.weights.h5").exists()


def test_flipped_bits_never_pass(small: Any, tmp_path: Path) -> None:
    prefix, _, arrays = _copy(small[0], tmp_path), *small[1:]
    data = Path(f"{prefix}.data-00000-of-00001")
    good = data.read_bytes()
    needle = arrays["stage4_block2_expand", "kernel"].tobytes()
    at = good.index(needle)
    data.write_bytes(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :])
    with pytest.raises(WeightsError, match=r"corrupt or truncated"):
        import_weights(prefix, "multi_max", tmp_path / "x.weights.h5")


def test_a_missing_data_file_and_an_index_of_noise(small: Any, tmp_path: Path) -> None:
    prefix = _copy(small[0], tmp_path)
    Path(f"{prefix}.data-00000-of-00001").unlink()
    with pytest.raises(WeightsError, match=r"data file .* is missing"):
        import_weights(prefix, "multi_max", tmp_path / "x.weights.h5")
    prefix = _copy(small[0], tmp_path)
    Path(f"{prefix}.index").write_bytes(np.random.default_rng(0).bytes(5000))
    with pytest.raises(WeightsError, match="corrupt or truncated"):
        read_checkpoint(str(prefix))


def test_folders_mean_their_latest_checkpoint(small: Any, tmp_path: Path) -> None:
    assert find_checkpoint(tmp_path) is None
    one = _copy(small[0], tmp_path)
    assert find_checkpoint(tmp_path) == find_checkpoint(f"{one}.index") == str(one)
    assert find_checkpoint(f"{one}.data-00000-of-00001") == str(one)
    for path in tmp_path.glob("ckpt-1234.*"):
        (tmp_path / path.name.replace("1234", "99")).write_bytes(path.read_bytes())
    with pytest.raises(WeightsError, match="2 checkpoints and no file 'checkpoint'"):
        find_checkpoint(tmp_path)
    (tmp_path / "checkpoint").write_text('model_checkpoint_path: "ckpt-99"\nall_model_checkpoint_paths: "ckpt-1234"\n')
    assert find_checkpoint(tmp_path) == str(tmp_path / "ckpt-99")
