"""Batches: functions of (seed, epoch, index), shared among workers, whole in spite of unreadable pictures."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mhmodels.training.errors import DataError
from mhmodels.training.recipes import Augmentation

from .tiny import CLASSES, Colours, recipe

pytestmark = pytest.mark.tensorflow


def feed(source: Colours, **changes: Any) -> Any:
    from mhmodels.training.data.feed import Feed

    arguments = {"classes": CLASSES, "size": (16, 16), "preprocessing": recipe().preprocessing, **changes}
    return Feed(source, **arguments)


def pipeline(batch: int = 8, replica_batch: int | None = None, worker: int = 0, workers: int = 1) -> Any:
    from mhmodels.training.data.feed import Pipeline

    return Pipeline(batch, replica_batch or batch // workers, worker, workers)


def batches(dataset: Any) -> list[tuple[Any, ...]]:
    return [tuple(part.numpy() for part in batch) for batch in dataset]


def test_every_epoch_is_another_order_of_all_pictures() -> None:
    source = Colours(count=24)
    list(feed(source).training(pipeline(), start=0, stop=6))
    first, second = ([index for epoch, index in source.reads if epoch == wanted] for wanted in (0, 1))
    assert sorted(first) == sorted(second) == list(range(24))
    source.reads.clear()
    by_label = batches(feed(source).training(pipeline(), start=0, stop=6))
    labels = [batch[1].tolist() for batch in by_label]
    assert labels[:3] != labels[3:]
    assert labels != [batch[1].tolist() for batch in batches(feed(source, seed=1).training(pipeline(), start=0, stop=6))]


def test_a_pipeline_that_starts_later_continues_the_same_stream() -> None:
    whole = batches(feed(Colours(), augmentation=Augmentation()).training(pipeline(), start=0, stop=14))
    for start in (1, 5, 6, 13):
        rest = batches(feed(Colours(), augmentation=Augmentation()).training(pipeline(), start=start, stop=14))
        assert len(rest) == 14 - start
        for one, two in zip(whole[start:], rest, strict=True):
            assert all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))


def test_workers_and_replicas_share_each_batch() -> None:
    whole = batches(feed(Colours()).training(pipeline(8), start=0, stop=4))
    parts = [batches(feed(Colours()).training(pipeline(8, 2, worker, 2), start=0, stop=4)) for worker in (0, 1)]
    for step, (pixels, labels) in enumerate(whole):
        of_step = [part[2 * step + replica] for part in parts for replica in (0, 1)]
        assert np.array_equal(np.concatenate([batch[0] for batch in of_step]), pixels)
        assert np.array_equal(np.concatenate([batch[1] for batch in of_step]), labels)


def test_evaluation_shows_each_picture_once() -> None:
    for workers in (1, 2):
        labels: list[int] = []
        for worker in range(workers):
            for _, found, weights in batches(feed(Colours(count=21)).evaluation(pipeline(8, worker=worker, workers=workers))):
                assert found.shape == (8 // workers,)
                labels += found[weights > 0].tolist()
        assert sorted(labels) == sorted(index % CLASSES for index in range(21))


def test_unreadable_pictures_are_replaced_counted_and_named() -> None:
    source = Colours(count=48, bad={3, 17})
    under_test = feed(source, max_bad_share=0.05)
    found = batches(under_test.training(pipeline(), start=0, stop=6))
    assert all(batch[0].shape == (8, 16, 16, 3) for batch in found)
    assert not any((picture == 0).all() for batch in found for picture in batch[0])
    under_test.check()
    assert [tuple(picture) for picture in under_test.skipped] == [
        ("colours/3.png", "cannot be decoded: broken"),
        ("colours/17.png", "cannot be decoded: broken"),
    ]
    judged = feed(source, max_bad_share=0.05)
    assert sum(weights.sum() for _, _, weights in batches(judged.evaluation(pipeline()))) == 46
    assert len(judged.skipped) == 2


def test_too_many_unreadable_pictures_fail() -> None:
    under_test = feed(Colours(bad={3, 17}), max_bad_share=0.03)
    list(under_test.evaluation(pipeline()))
    with pytest.raises(DataError, match=r"2 of 48 pictures cannot be read, expected at most 1 .*colours/3\.png \(cannot be"):
        under_test.check()
    all_bad = feed(Colours(bad=range(48)), max_bad_share=1.0)
    list(all_bad.training(pipeline(), start=0, stop=1))
    with pytest.raises(DataError, match="48 pictures in a row cannot be read"):
        all_bad.check()


def test_whatever_fails_has_the_pictures_name(monkeypatch: pytest.MonkeyPatch) -> None:
    import mhmodels.training.data.feed as module

    def failing(*_: Any) -> Any:
        raise ZeroDivisionError("no side")

    monkeypatch.setattr(module, "random_crop", failing)
    under_test = feed(Colours(), augmentation=Augmentation())
    list(under_test.training(pipeline(), start=0, stop=1))
    with pytest.raises(DataError, match=r"colours/\d+\.png: cannot be made an input .*ZeroDivisionError: no side"):
        under_test.check()


def test_class_counts_and_labels_must_fit() -> None:
    with pytest.raises(DataError, match="has 5 classes, the network 3; set classes to 5"):
        feed(Colours(classes=5))
    unknown = Colours(classes=5)
    unknown.classes = None
    under_test = feed(unknown)
    list(under_test.evaluation(pipeline()))
    with pytest.raises(DataError, match=r"label is [34] with the label offset, expected 0 to 2; set another label offset"):
        under_test.check()


def test_less_than_one_batch() -> None:
    with pytest.raises(DataError, match="48 pictures are fewer than one batch of 64; set a smaller batch size"):
        feed(Colours()).training(pipeline(64), start=0, stop=1)
