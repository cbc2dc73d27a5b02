"""The preprocessing that a user states, by a name or by a mean and a standard deviation. No Keras needed."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from mhmodels.architecture import Preprocessing
from mhmodels.errors import UnknownNameError
from mhmodels.export.errors import ExportError

_UNIT = Preprocessing(mean=(0.0,), std=(255.0,), crop_fraction=1.0)
PIXELS = Preprocessing(mean=(0.0,), std=(1.0,), crop_fraction=1.0)
"""Pixels from 0 to 255 as they are, of the whole picture."""


class StatedRule(NamedTuple):
    """Preprocessing that a user states: the input of the model is (pixel - mean) / std, with pixels from 0 to 255.

    Attributes:
        mean: Mean in pixel units, one value for each channel, or one for all channels.
        std: Standard deviation in pixel units, as many values as `mean`.
        whole: Whole preprocessing of a named rule, with crop and interpolation. None to keep crop and interpolation of the
            model.

    Example:
        >>> StatedRule(mean=(127.5,), std=(127.5,)).over(StatedRule.named("imagenet").whole).mean
        (127.5,)
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    whole: Preprocessing | None = None

    @classmethod
    def named(cls, name: str) -> StatedRule:
        """Returns the rule with this name, such as `imagenet` or `symmetric`; see `named_rule`."""
        rule = named_rule(name)
        return cls(rule.mean, rule.std, rule)

    def over(self, known: Preprocessing) -> Preprocessing:
        """Returns a preprocessing in which the stated values replace the known ones."""
        return self.whole or msgspec.structs.replace(known, mean=self.mean, std=self.std)


def named_rule(name: str) -> Preprocessing:
    """Returns the preprocessing of a name.

    Args:
        name: `pixels` (0 to 255 as they are), `unit` (0 to 1), `symmetric` (-1 to 1), `imagenet`, `tf_model_garden`, a network
            of the zoo or an architecture file (what it expects), registered weights, or the path of a weights file or of a
            `.keras` file (what it states).

    Raises:
        UnknownNameError: None of them; the message lists the rules.
        MhmodelsError: A file that cannot be read, or states none.
    """
    from mhmodels.inference import preprocessing_of
    from mhmodels.registry import zoo
    from mhmodels.weights.downloading.registered import entries, fetch
    from mhmodels.weights.importing import PREPROCESSINGS

    rules = {"pixels": PIXELS, "unit": _UNIT, **PREPROCESSINGS}
    if name in rules:
        return rules[name]
    registered = [entry for entry in entries() if entry.name == name]
    if registered and name not in zoo():
        if len(registered) > 1:
            models = ", ".join(entry.model for entry in registered[:4])
            raise ExportError(f"preprocessing '{name}': weights of several networks ({models}, …); give the name of the network")
        return preprocessing_of(fetch(registered[0]))
    try:
        return preprocessing_of(name)
    except UnknownNameError:
        raise UnknownNameError(
            "preprocessing", name, rules, "(or give a network of the zoo, registered weights, or a file that states one)"
        ) from None
