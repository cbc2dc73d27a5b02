"""The weights that come with the package: a real classifier for the demo, verification and quantisation."""

from __future__ import annotations

import numpy as np
import pytest

pytestmark = pytest.mark.tensorflow


@pytest.mark.slow
def test_digits64_reaches_its_accuracy_by_the_public_api() -> None:
    from mhmodels import create_model
    from mhmodels.preprocessing.pictures import preprocess
    from mhmodels.training.data import digits64
    from mhmodels.weights.downloading.registered import entries
    from mhmodels.weights.loading import ATTRIBUTE

    model = create_model("multi_max@0.25", weights="digits64", input_shape=(64, 64, 3), classes=10)
    preprocessing = getattr(model, ATTRIBUTE).preprocessing
    assert preprocessing.mean == preprocessing.std == (128.0, 128.0, 128.0)
    pixels, labels = digits64.test_set()
    scores = model.predict(preprocess(pixels, preprocessing), batch_size=100, verbose=0)
    claimed = next(entry for entry in entries() if entry.name == "digits64").accuracy[0].top1
    # One picture of 1,800 may fall to the other side on another machine.
    assert 100 * np.mean(scores.argmax(1) == labels) == pytest.approx(claimed, abs=0.12)
    assert claimed >= 97.5
