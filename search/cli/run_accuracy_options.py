"""Options of `search run` for the source of accuracies: an evaluator, or a super-network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from mhmodels.cli.option_groups import option_group

if TYPE_CHECKING:
    from mhmodels.search.run.request import DistributionStrategy, WeightSharing


@dataclass(frozen=True)
class AccuracyOptions:
    """Where accuracies come from: an evaluator, or a super-network that is trained on pictures."""

    evaluator: str | None
    data: str | None
    preset: str | None
    label_offset: int | None
    classes: int | None
    strategy: DistributionStrategy
    recompute: bool

    def weight_sharing(self) -> WeightSharing | None:
        """The super-network; None with an evaluator. The preset is read now, so that a changed file changes no search.

        Raises:
            MhmodelsError: There is no such preset.
        """
        if self.data is None:
            return None
        from mhmodels.search.run.request import WeightSharing
        from mhmodels.search.supernet.presets import load_preset

        return WeightSharing(
            preset=load_preset(self.preset or ("quick" if self.data.startswith("digits64") else "paper")),
            data=self.data,
            label_offset=self.label_offset,
            classes=self.classes,
            strategy=self.strategy,
            recompute=self.recompute,
        )


accuracy_options = option_group(
    "accuracy",
    AccuracyOptions,
    click.option(
        "--evaluator",
        default=None,
        metavar="FILE|MODULE:FUNCTION",
        help="Source of accuracies: a published table (FILE.npz[:COLUMN] or FILE.csv); FILE.jsonl with encodings and "
        "accuracies, to which a predictor is fitted; or a function that takes the space and encodings (n, decisions) and "
        "returns n accuracies from 0 to 1.",
    ),
    click.option(
        "--data",
        default=None,
        metavar="DIR|TFRECORDS|idx:DIR|digits64",
        help="Train a super-network on these pictures and evaluate networks with its shared weights, instead of --evaluator: "
        "a folder with one subfolder per class, TFRecord files, a folder of IDX files (idx:DIR), or the generated data sets "
        "digits64 and digits64-hard.",
    ),
    click.option(
        "--preset",
        default=None,
        metavar="NAME|FILE.json",
        help="With --data: training settings of the super-network: quick, paper, tunas, or a JSON file. Default: quick for "
        "digits64 and digits64-hard, else paper.",
    ),
    click.option(
        "--label-offset",
        type=int,
        default=None,
        help="With --data: number added to every stored label, for example -1 for labels that begin at 1. Required for "
        "TFRecords; 0 by default for folders and IDX files.",
    ),
    click.option(
        "--classes",
        type=click.IntRange(1),
        default=None,
        help="With --data: number of classes of the super-network. Default: the number in the data.",
    ),
    click.option(
        "--strategy",
        type=click.Choice(["none", "mirrored", "multi_worker", "tpu"]),
        default="none",
        show_default=True,
        help="With --data: how to distribute the training of the super-network, as in `mhmodels train`: none (one device), "
        "mirrored (all GPUs of this machine), multi_worker (one process per machine) or tpu (never run).",
    ),
    click.option(
        "--recompute",
        is_flag=True,
        help="With --data: compute activations again in the backward pass, which needs less memory and more time.",
    ),
)
