"""Presets of a search by weight sharing: how the super-network is trained and judged, as data with JSON files.

`paper` is the search of the multi-hardware paper (arXiv 2008.08178, which takes over TuNAS, arXiv 2008.06120), `tunas` is TuNAS
for one hardware, and `quick` takes three quarters of an hour on two CPU cores.
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
from mhmodels.training.named_recipes import IMAGENET_PREPROCESSING
from mhmodels.training.recipes import (
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


class PolicySettings(Checked, frozen=True, kw_only=True):
    """Settings of the controller without the number of its updates, which the preset decides.

    The fields are those of `mhmodels.search.methods.controller.ControllerSettings`.
    """

    field_error: ClassVar = SearchError
    learning_rate: float = 4.8e-3
    growth: float = 10.0
    delay: Share = 0.25
    momentum: Share = 0.95
    operation_warm_up: Share = 0.25
    width_warm_up: Share = 0.25
    skip: float | None = 0.5


class WalkSettings(Checked, frozen=True, kw_only=True):
    """The beginning of a short search: a network that changes slowly, instead of independent samples.

    Independent samples share few weights, and take thousands of steps until they begin to learn. A walk begins with one network
    near the target, which is trained alone. It then changes one decision at a time, so that most weights of the next network are
    trained already. Each decision of a trained network is that of the walking network with a probability that falls from 1 to
    0, and otherwise that of the policy.

    Attributes:
        fixed: Share of the steps before the first change, 0 to 1.
        end: Share of the steps at which the probability reaches 0, above `fixed`.
        every: Steps between two changes.
    """

    field_error: ClassVar = SearchError
    fixed: Share
    end: Share
    every: Count


class Preset(Checked, frozen=True, kw_only=True):
    """Everything that decides a search by weight sharing, except space, reward, data and seed.

    Attributes:
        name: Name of the preset.
        steps: Number of training steps of the shared weights.
        batch_size: Number of pictures in the batch of each architecture.
        validation_batch: Number of pictures on which an architecture is judged; TuNAS has four times the training batch.
        optimizer: Optimizer of the shared weights.
        learning_rate: Schedule of the learning rate of the shared weights.
        policy: Settings of the controller.
        architectures: Number of sampled architectures in a step; each is trained on its own batch, and their gradients are
            averaged. TuNAS runs one on each of 32 TPU cores; here any number of replicas shares them, and a replica runs several
            one after the other.
        width_multiplier: Width of the networks in training, above 0; latencies are those of the full width.
        input_size: Side of the training pictures in pixels; None for the input size of the space.
        label_smoothing: Label smoothing, 0 to 1.
        l2: Factor of L2 on active kernels, at least 0.
        augmentation: Augmentation of training pictures; None for the central crop.
        preprocessing: Preprocessing of all pictures; None for that of the space.
        scored: Number of fresh samples that an update judges on one batch; None judges the architectures of the step, each on
            a batch of its own (TuNAS).
        train_only: Share of the steps before anything is judged; the schedule of the controller begins after it.
        update_every: Number of training steps for each update of the controller.
        walk: Beginning of the search; None draws networks of the policy from the first step on (TuNAS).
        trained_norms: Range of f, as multiples of the target, of the samples that are trained; None trains any sample (TuNAS).
            Networks far from the target are not searched for, and the larger ones take the time of several steps.
        evenly: Whether networks of the initial policy are trained, whatever the policy has learned since, so that shared weights
            favour no network. False trains samples of the current policy (TuNAS), whose weights then improve where the policy
            is already.
        mixed_operations: Whether all choices of an operation run during its warm-up and are averaged (TuNAS), instead of one at
            random.
        finalists: Number of samples of the policy that are judged on all validation pictures at the end, those within 5 % of the
            target first; the search ends with the best reward among them. 0 ends with the most probable network of the
            controller (TuNAS), which a short search has not settled.
        max_bad_share: Share of the pictures that may be unreadable before the search fails, 0 to 1.

    Raises:
        SearchError: Fields do not go together.

    Example:
        >>> PRESETS["quick"].updates
        400
    """

    field_error: ClassVar = SearchError
    name: str
    steps: Count
    batch_size: Count
    validation_batch: Count
    optimizer: RMSProp | Adam | SGD
    learning_rate: LearningRate
    policy: PolicySettings
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
    walk: WalkSettings | None = None
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
        """Refuses preprocessing that would fail only inside TensorFlow, when the first pictures are read."""
        channels = len(self.preprocessing.mean) if self.preprocessing else 3  # there are as many deviations
        if channels not in (1, 3):
            raise SearchError(
                f"preset '{self.name}': fields 'preprocessing.mean' and 'preprocessing.std' have {channels} values, expected 3 "
                "(of red, green and blue) or 1 for all"
            )

    @property
    def unjudged_steps(self) -> int:
        """Number of training steps before the schedule of the controller begins."""
        return int(self.train_only * self.steps)

    @property
    def updates(self) -> int:
        """Number of updates of the controller in the whole search."""
        return (self.steps - self.unjudged_steps) // self.update_every

    def updates_at(self, step: int) -> int:
        """Number of updates of the controller that are done after a number of training steps."""
        return max(0, step - self.unjudged_steps) // self.update_every

    def controller_settings(self) -> ControllerSettings:
        """Settings of the controller, with the number of its updates.

        Raises:
            SearchError: Settings are out of their range, or the search has no update of the controller.
        """
        return ControllerSettings(steps=self.updates, **msgspec.structs.asdict(self.policy))

    def to_json(self) -> bytes:
        """The content of a preset file: indented JSON with every field, so that it can be copied and changed."""
        return msgspec.json.format(msgspec.json.encode({"format": FORMAT, **msgspec.to_builtins(self)}), indent=2) + b"\n"

    @staticmethod
    def from_json(data: bytes | str, source: str = "preset") -> Preset:
        """Reads the content of a preset file.

        Args:
            data: JSON, as `to_json` writes it.
            source: Name for messages.

        Raises:
            FileFormatError: The data are no JSON, of another format, or have a wrong field; the message names its path.
            SearchError: Fields do not go together.
        """
        return decode_json(data, Preset, FORMAT, source)


PAPER = Preset(
    name="paper",
    steps=108_203,  # 360 epochs of 1,231,121 pictures in batches of 4096
    architectures=32,
    batch_size=128,
    validation_batch=512,
    optimizer=RMSProp(),
    # For each of the 32 parts of a batch; half of the 0.165 for 256 pictures in TuNAS.
    learning_rate=LearningRate(peak=1.32, warmup=0.025),
    label_smoothing=0.1,
    l2=4e-5,
    augmentation=Augmentation(),
    preprocessing=IMAGENET_PREPROCESSING,
    mixed_operations=True,
    policy=PolicySettings(delay=0.5),
)

PRESETS = {
    preset.name: preset
    for preset in (
        PAPER,
        # TuNAS for one hardware: 90 epochs; the controller learns after a quarter of them.
        msgspec.structs.replace(
            PAPER, name="tunas", steps=27_050, learning_rate=LearningRate(peak=2.64, warmup=0.025), policy=PolicySettings()
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
            walk=WalkSettings(fixed=0.04, end=0.4, every=10),
            trained_norms=(0.7, 1.3),
            evenly=True,
            finalists=48,
            policy=PolicySettings(
                learning_rate=0.3, growth=1.0, delay=0.0, momentum=0.8, operation_warm_up=0.0, width_warm_up=0.0
            ),
        ),
    )
}


def load_preset(preset: str | os.PathLike[str]) -> Preset:
    """Gives a preset by name, or reads a preset file.

    Args:
        preset: Name in `PRESETS`, or path of a .json file.

    Raises:
        UnknownNameError: It is neither a name nor a .json file.
        FileFormatError: The file cannot be read or is no preset.

    Example:
        >>> from mhmodels.search import load_preset
        >>> load_preset("quick") == load_preset("quick")
        True
    """
    return named_or_file(preset, "preset", PRESETS, Preset.from_json)
