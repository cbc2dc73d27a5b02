"""How a super-network is trained and asked, as data: presets, JSON in and out.

`paper` is the multi-hardware paper's search (arXiv 2008.08178, which takes over TuNAS, arXiv 2008.06120) and pure TuNAS;
`quick` fits into three quarters of an hour on two CPU cores.
"""

from __future__ import annotations

import os
from typing import Annotated, ClassVar, Literal

import msgspec

from mhmodels.architecture import MAX_WIDTH, MIN_INPUT, Preprocessing, decode_json
from mhmodels.formats.checked import Checked
from mhmodels.formats.json_files import named_or_file
from mhmodels.search.errors import SearchError
from mhmodels.search.methods.controller import ControllerSettings
from mhmodels.training.recipes import (
    IMAGENET_PREPROCESSING,
    SGD,
    Adam,
    Augmentation,
    Count,
    LearningRate,
    NotNegative,
    Positive,
    RMSProp,
    Share,
)

FORMAT: Literal["mhmodels.supernet_preset/1"] = "mhmodels.supernet_preset/1"


class Policy(Checked, frozen=True, kw_only=True):
    """The controller's settings but for the number of its updates; see `search.methods.controller.ControllerSettings`."""

    field_error: ClassVar = SearchError
    learning_rate: float = 4.8e-3
    growth: float = 10.0
    delay: Share = 0.25
    momentum: Share = 0.95
    operation_warm_up: Share = 0.25
    width_warm_up: Share = 0.25
    skip: float | None = 0.5


class Walk(Checked, frozen=True, kw_only=True):
    """How a short search begins: networks that share nothing but chance take thousands of steps until they begin to learn.

    There is one network near the target. It is trained alone at first, then it walks through the space, a decision at a time, so
    that what is trained next is always nearly known; meanwhile every decision of a trained network is the walking network's with
    a probability that falls from 1 to 0, and else as the policy has it.

    Attributes:
        fixed: share of the steps before the first move.
        end: share of the steps at which the probability is 0.
        every: steps between two moves.
    """

    field_error: ClassVar = SearchError
    fixed: Share
    end: Share
    every: Count


class Preset(Checked, frozen=True, kw_only=True):
    """Everything that decides a search by weight sharing, except space, reward, data and seed.

    Attributes:
        steps: training steps of the shared weights.
        architectures: sampled for each step, each trained on its own batch; their gradients are averaged. TuNAS has one on
            each of 32 TPU cores; here any number of replicas shares them, one replica one after the other.
        batch_size: pictures for each of them.
        width_multiplier, input_size: of the networks in training; what they cost is asked at the space's own. The input size
            is None for the space's own, too.
        augmentation: of training pictures; None feeds the central crop.
        preprocessing: of all pictures; None keeps the space's.
        validation_batch: pictures on which an architecture is judged; TuNAS has four times the training batch.
        scored: None judges the architectures of the step, each on a batch of its own (TuNAS); a number samples as many anew
            and compares them on one batch.
        train_only: share of the steps before anything is judged; the controller's schedule begins behind it.
        update_every: training steps for each update of the controller.
        walk: how it begins; None draws networks of the policy from the first step on (TuNAS).
        trained_norms: only samples of the policy are trained whose f is from the first to the second of these times the target;
            None trains any (TuNAS). Networks far from the target are not looked for, and the larger ones cost several steps.
        evenly: train networks of the policy as it began, whatever it has learned since, so that shared weights favour nobody;
            False trains what the policy draws (TuNAS), whose weights then get better where the policy has gone already.
        mixed_operations: while operations are warmed up, run all choices and average them (TuNAS), instead of one at random.
        finalists: 0 ends with the controller's most probable network (TuNAS), which a short search has not settled; a number
            judges as many samples of the policy, those within 5 % of the target first, on all validation pictures, and ends
            with the best reward.
        policy: of the controller.
        max_bad_share: share of the pictures that may be unreadable before the search fails.
    """

    field_error: ClassVar = SearchError
    name: str
    steps: Count
    batch_size: Count
    validation_batch: Count
    optimizer: RMSProp | Adam | SGD
    learning_rate: LearningRate
    policy: Policy
    architectures: Count = 1
    width_multiplier: Annotated[float, msgspec.Meta(gt=0, le=MAX_WIDTH)] = 1.0
    input_size: Annotated[int, msgspec.Meta(ge=MIN_INPUT)] | None = None
    label_smoothing: Share = 0.0
    l2: NotNegative = 0.0
    augmentation: Augmentation | None = None
    preprocessing: Preprocessing | None = None
    scored: Count | None = None
    train_only: Share = 0.0
    update_every: Count = 1
    walk: Walk | None = None
    trained_norms: tuple[NotNegative, Positive] | None = None
    evenly: bool = False
    mixed_operations: bool = False
    finalists: Annotated[int, msgspec.Meta(ge=0)] = 0
    max_bad_share: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.scored is None and self.update_every > 1:
            raise SearchError(
                f"preset '{self.name}': field 'update_every' is {self.update_every}, expected 1 where 'scored' is null"
            )
        if self.scored is None and self.evenly:
            raise SearchError(f"preset '{self.name}': field 'evenly' is true, expected false where 'scored' is null")
        warm = [name for name in ("operation_warm_up", "width_warm_up") if getattr(self.policy, name)]
        if self.evenly and (self.mixed_operations or warm):
            field = "mixed_operations" if self.mixed_operations else f"policy.{warm[0]}"
            raise SearchError(
                f"preset '{self.name}': fields 'evenly' and '{field}' are both set, expected one: both spread training"
            )
        if self.mixed_operations and self.walk:
            raise SearchError(f"preset '{self.name}': fields 'mixed_operations' and 'walk' are both set, expected one")
        if self.walk and not self.walk.fixed < self.walk.end:
            raise SearchError(
                f"preset '{self.name}': field 'walk.fixed' is {self.walk.fixed}, expected less than 'walk.end', {self.walk.end}"
            )
        if self.trained_norms is not None and not self.trained_norms[0] < 1 < self.trained_norms[1]:
            raise SearchError(
                f"preset '{self.name}': field 'trained_norms' is {list(self.trained_norms)}, expected a range around 1"
            )
        self._check_pictures()
        self.controller_settings()

    def _check_pictures(self) -> None:
        """Refuses what would fail only when the first pictures are fed, behind TensorFlow."""
        channels = len(self.preprocessing.mean) if self.preprocessing else 3  # there are as many deviations
        if channels not in (1, 3):
            raise SearchError(
                f"preset '{self.name}': fields 'preprocessing.mean' and 'preprocessing.std' have {channels} values, expected 3 "
                "(of red, green and blue) or 1 for all"
            )

    @property
    def unjudged_steps(self) -> int:
        """Training steps before the controller's schedule begins."""
        return int(self.train_only * self.steps)

    @property
    def updates(self) -> int:
        """Updates of the controller in the whole search."""
        return (self.steps - self.unjudged_steps) // self.update_every

    def updates_at(self, step: int) -> int:
        """Updates of the controller that are done after so many training steps."""
        return max(0, step - self.unjudged_steps) // self.update_every

    def controller_settings(self) -> ControllerSettings:
        """What the controller is made with.

        Raises:
            SearchError: settings that cannot be, or no update at all.
        """
        return ControllerSettings(steps=self.updates, **msgspec.structs.asdict(self.policy))

    def to_json(self) -> bytes:
        """The preset file: indented JSON with every field, so that it can be copied and changed."""
        return msgspec.json.format(msgspec.json.encode({"format": FORMAT, **msgspec.to_builtins(self)}), indent=2) + b"\n"

    @staticmethod
    def from_json(data: bytes | str, source: str = "preset") -> Preset:
        """Reads what `to_json` wrote.

        Raises:
            FileFormatError: not JSON, another format, or a wrong field; the message has `source` and the field's path.
            SearchError: fields that do not go together.
        """
        return decode_json(data, Preset, FORMAT, source)


PAPER = Preset(
    name="paper",
    steps=108_203,  # 360 epochs of 1,231,121 pictures in batches of 4096
    architectures=32,
    batch_size=128,
    validation_batch=512,
    optimizer=RMSProp(),
    # For each of the 32 parts of a batch: half of TuNAS' 0.165 for 256 pictures.
    learning_rate=LearningRate(peak=1.32, warmup=0.025),
    label_smoothing=0.1,
    l2=4e-5,
    augmentation=Augmentation(),
    preprocessing=IMAGENET_PREPROCESSING,
    mixed_operations=True,
    policy=Policy(delay=0.5),
)

PRESETS = {
    preset.name: preset
    for preset in (
        PAPER,
        # TuNAS with one hardware: 90 epochs, logits wait a quarter of them.
        msgspec.structs.replace(
            PAPER, name="tunas", steps=27_050, learning_rate=LearningRate(peak=2.64, warmup=0.025), policy=Policy()
        ),
        Preset(
            name="quick",
            steps=5000,
            batch_size=64,
            validation_batch=250,
            optimizer=Adam(),
            learning_rate=LearningRate(peak=8e-3, warmup=0.03),
            width_multiplier=0.25,
            input_size=64,
            preprocessing=Preprocessing(mean=(128.0,) * 3, std=(128.0,) * 3, crop_fraction=1.0),
            scored=8,
            train_only=0.84,
            update_every=2,
            walk=Walk(fixed=0.04, end=0.4, every=10),
            trained_norms=(0.7, 1.3),
            evenly=True,
            finalists=48,
            policy=Policy(learning_rate=0.3, growth=1.0, delay=0.0, momentum=0.8, operation_warm_up=0.0, width_warm_up=0.0),
        ),
    )
}


def load_preset(preset: str | os.PathLike[str]) -> Preset:
    """What a `--preset` argument means: a name of `PRESETS`, or the path of a preset file.

    Raises:
        UnknownNameError: neither a name nor a .json file.
        FileFormatError: the file cannot be read or is not a preset.
    """
    return named_or_file(preset, "preset", PRESETS, Preset.from_json)
