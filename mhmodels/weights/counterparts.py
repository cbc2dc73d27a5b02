"""Which networks of the zoo take the state dicts of a PyTorch package: those that compute the same, padding and epsilon included.

Shapes do not tell: a network of TensorFlow and one of PyTorch may have equal shapes and pad in different ways. The zoo's entries
list their counterparts, and only these are taken.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from mhmodels.architecture import Architecture
from mhmodels.errors import WeightsError
from mhmodels.families.rows import ZooModel
from mhmodels.registry import zoo
from mhmodels.weights.matching import Match, fit, same_network, takes
from mhmodels.weights.sources.pytorch.names import SCHEMES
from mhmodels.weights.sources.pytorch.timm_config import TimmConfig
from mhmodels.weights.sources.source import WeightsSource

PACKAGES = tuple(scheme.origin for scheme in SCHEMES)
_TITLES = {scheme.origin: scheme.title for scheme in SCHEMES}
_TAG = re.compile(r"\.[a-z0-9_]+$|-[0-9a-f]{8,}$")
"""Ends of the names of weights: the tag of timm's, and the hash of a file."""


def stated_name(source: WeightsSource, config: TimmConfig | None) -> str:
    """Returns the package's name of the network of a source: from the configuration, or from the name of the file; else ""."""
    names = {name for _, name in _names(source.origin)}
    if config is not None:
        return config.architecture
    stem = Path(source.path).name
    for _ in range(3):
        stem = stem.removesuffix(".pth").removesuffix(".pt").removesuffix(".safetensors")
        if stem in names:
            return stem
        stem = _TAG.sub("", stem)
    return stem if stem in names else ""


def _names(origin: str) -> Iterator[tuple[ZooModel, str]]:
    for entry in zoo().values():
        yield from ((entry, counterpart.name) for counterpart in entry.counterparts if counterpart.package == origin)


def check_counterpart(source: WeightsSource, found: Match, config: TimmConfig | None) -> tuple[str, ...]:
    """Checks that a network of the zoo computes what the network of a state dict does.

    Args:
        source: The state dict; a source of another program passes.
        found: Network that was found in it by its shapes.
        config: timm's configuration beside the file.

    Returns:
        What the user should know, in sentences.

    Raises:
        WeightsError: The package's network pads otherwise or has another epsilon; the message names the network that fits.
    """
    network = found.architecture
    named = zoo().get(network.name)
    if source.origin not in PACKAGES or named is None or not same_network(_at(named, network), network):
        return ()  # an architecture of the user is taken at its word
    fitting = [entry for entry in zoo().values() if takes(entry, source.origin) and _fits(entry, network, found)]
    equal = [entry for entry in fitting if same_network(_at(entry, network), network)]
    title, name = _TITLES[source.origin], stated_name(source, config)
    wanted = [entry for entry in fitting if any(c.package == source.origin and c.name == name for c in entry.counterparts)]
    if not equal or (wanted and not any(same_network(_at(entry, network), network) for entry in wanted)):
        right = wanted or fitting
        hint = (
            f"; name {' or '.join(entry.architecture.name for entry in right)} as the model (argument 'model')" if right else ""
        )
        told = f" of '{name}'" if name else ""
        rule = _rule(right[0].architecture) if right else "differs"
        raise WeightsError(
            f"{source.path}: weights{told} with {title}'s names, whose network {rule}; '{network.name}' {_rule(network)}{hint}"
        )
    others = [entry for entry in fitting if entry not in equal]
    if wanted or not others:
        return ()
    names = " or ".join(entry.architecture.name for entry in others)
    return (
        f"{title}'s names do not tell networks apart that pad in different ways: '{network.name}' {_rule(network)}; if these "
        f"weights are of {_counterparts(others, source.origin)}, name {names} as the model",
    )


def _fits(entry: ZooModel, network: Architecture, found: Match) -> bool:
    """Returns whether an entry has the shapes of a network that was found."""
    return fit(found.part, entry.architecture, (network.width_multiplier, 1.0)) is not None


def _at(entry: ZooModel, network: Architecture) -> Architecture:
    return entry.architecture.at(width_multiplier=network.width_multiplier, input_channels=network.input_channels)


def _rule(network: Architecture) -> str:
    how = {"same": "as TensorFlow's SAME", "symmetric": "symmetrically", "trailing": "behind the map only"}[network.padding]
    return f"pads {how} with epsilon {network.batch_norm_epsilon:g}"


def _counterparts(entries: list[ZooModel], origin: str) -> str:
    return ", ".join(counterpart.name for entry in entries for counterpart in entry.counterparts if counterpart.package == origin)
