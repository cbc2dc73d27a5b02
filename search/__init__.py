"""Search spaces, cost models of latency, and the search for networks that suit several hardware.

Each name is imported when it is first used, so that `import mhmodels.search` is fast.

Example:
    >>> from mhmodels.search import fit, get_space, sample
    >>> space = get_space("multi_hardware")
    >>> encodings = sample(space, 60).encodings
    >>> ms = space.madds(encodings) / 5e7  # replace these with measured latencies
    >>> model = fit(space, encodings, ms, "my-phone").model
    >>> model.bind(space).predict(encodings).shape
    (60,)
"""

if __name__ != "mhmodels.search":
    raise ImportError("this package is imported as mhmodels.search")

from typing import TYPE_CHECKING

from mhmodels.lazy import lazy_names

if TYPE_CHECKING:
    from mhmodels.search.adaptation.ada_proxy import ada_proxy
    from mhmodels.search.adaptation.adapting import Adapted, adapt
    from mhmodels.search.adaptation.loop import AdaptStep, MeasuredAdaptation, adapt_by_measuring
    from mhmodels.search.adaptation.monotonicity import (
        DevicePair,
        Monotonicity,
        MonotonicityMatrix,
        monotonicity,
        monotonicity_matrix,
    )
    from mhmodels.search.adaptation.proposing import propose
    from mhmodels.search.adaptation.sources import PreparedSources, prepare_sources
    from mhmodels.search.collecting.collect import collect
    from mhmodels.search.collecting.progress import CollectProgress, CollectReport
    from mhmodels.search.collecting.settings import CollectSettings
    from mhmodels.search.cost_model.fitting import Fit, FitOptions, fit
    from mhmodels.search.cost_model.latencies.dataset import Latencies
    from mhmodels.search.cost_model.latencies.origin import LatencyOrigin
    from mhmodels.search.cost_model.latencies.reading import read_latencies
    from mhmodels.search.cost_model.latencies.samples import read_samples, write_samples
    from mhmodels.search.cost_model.latencies.stored import stored_latencies
    from mhmodels.search.cost_model.model import CostModel, load_cost_model
    from mhmodels.search.cost_model.predicting import LatencyPrediction, predict
    from mhmodels.search.cost_model.predictor import Predictor
    from mhmodels.search.cost_model.shipping import shipped_hardware, shipped_model
    from mhmodels.search.errors import CostModelError, SearchError, SpaceError
    from mhmodels.search.methods.controller import Controller, ControllerSettings
    from mhmodels.search.methods.strategies import Evolution, FrontEvolution, NonDominated, Random, Reinforce
    from mhmodels.search.objective.evaluators import Evaluator
    from mhmodels.search.objective.objective import Objective
    from mhmodels.search.objective.rewards import Reward
    from mhmodels.search.profiling.block_profile import (
        BlockDifference,
        BlockMean,
        BlockProfile,
        DecisionEffect,
        DepthEffect,
        Effect,
        PlacementEffect,
    )
    from mhmodels.search.profiling.conditional import conditional_profile
    from mhmodels.search.profiling.regression import profile
    from mhmodels.search.profiling.shares import LayerShare, cost_model_shares, layer_shares
    from mhmodels.search.reduction.published_accuracy import published_accuracy
    from mhmodels.search.reduction.reduction import ChoiceCost, DepthCap, Reduction, RemovedBlock
    from mhmodels.search.reduction.rule import reduce_space
    from mhmodels.search.run.front.judging import FrontLatencies, MeasuredFront, judge_front
    from mhmodels.search.run.front.measuring import measure_front
    from mhmodels.search.run.pareto import pareto_front
    from mhmodels.search.run.request import RequestError, SearchRequest, WeightSharing
    from mhmodels.search.run.search import SearchResult, run_search
    from mhmodels.search.space.catalogue import get_space, list_spaces
    from mhmodels.search.space.decisions import SKIP, OneOf
    from mhmodels.search.space.loading import load_space
    from mhmodels.search.space.piece_table import BlockGroup, Template
    from mhmodels.search.space.restriction import restrict
    from mhmodels.search.space.sampling import Sample, sample
    from mhmodels.search.space.search_space import SearchSpace
    from mhmodels.search.space.tabular import TabularSpace
    from mhmodels.search.space.template import ArchitectureSpace
    from mhmodels.search.supernet.presets import load_preset

_MODULE_OF = {
    "BlockDifference": "profiling.block_profile",
    "ChoiceCost": "reduction.reduction",
    "DepthCap": "reduction.reduction",
    "Reduction": "reduction.reduction",
    "RemovedBlock": "reduction.reduction",
    "published_accuracy": "reduction.published_accuracy",
    "reduce_space": "reduction.rule",
    "BlockMean": "profiling.block_profile",
    "BlockProfile": "profiling.block_profile",
    "DecisionEffect": "profiling.block_profile",
    "DepthEffect": "profiling.block_profile",
    "Effect": "profiling.block_profile",
    "PlacementEffect": "profiling.block_profile",
    "LayerShare": "profiling.shares",
    "conditional_profile": "profiling.conditional",
    "cost_model_shares": "profiling.shares",
    "layer_shares": "profiling.shares",
    "profile": "profiling.regression",
    "AdaptStep": "adaptation.loop",
    "Adapted": "adaptation.adapting",
    "MeasuredAdaptation": "adaptation.loop",
    "adapt_by_measuring": "adaptation.loop",
    "propose": "adaptation.proposing",
    "PreparedSources": "adaptation.sources",
    "ada_proxy": "adaptation.ada_proxy",
    "adapt": "adaptation.adapting",
    "prepare_sources": "adaptation.sources",
    "ArchitectureSpace": "space.template",
    "BlockGroup": "space.piece_table",
    "CollectProgress": "collecting.progress",
    "CollectReport": "collecting.progress",
    "CollectSettings": "collecting.settings",
    "Controller": "methods.controller",
    "ControllerSettings": "methods.controller",
    "CostModel": "cost_model.model",
    "CostModelError": "errors",
    "DevicePair": "adaptation.monotonicity",
    "Evaluator": "objective.evaluators",
    "Evolution": "methods.strategies",
    "Fit": "cost_model.fitting",
    "FitOptions": "cost_model.fitting",
    "FrontEvolution": "methods.strategies",
    "FrontLatencies": "run.front.judging",
    "Latencies": "cost_model.latencies.dataset",
    "LatencyOrigin": "cost_model.latencies.origin",
    "LatencyPrediction": "cost_model.predicting",
    "MeasuredFront": "run.front.judging",
    "Monotonicity": "adaptation.monotonicity",
    "MonotonicityMatrix": "adaptation.monotonicity",
    "NonDominated": "methods.strategies",
    "Objective": "objective.objective",
    "OneOf": "space.decisions",
    "Predictor": "cost_model.predictor",
    "Random": "methods.strategies",
    "Reinforce": "methods.strategies",
    "RequestError": "run.request",
    "Reward": "objective.rewards",
    "SKIP": "space.decisions",
    "Sample": "space.sampling",
    "SearchError": "errors",
    "SearchRequest": "run.request",
    "SearchResult": "run.search",
    "SearchSpace": "space.search_space",
    "SpaceError": "errors",
    "TabularSpace": "space.tabular",
    "Template": "space.piece_table",
    "WeightSharing": "run.request",
    "collect": "collecting.collect",
    "fit": "cost_model.fitting",
    "get_space": "space.catalogue",
    "judge_front": "run.front.judging",
    "list_spaces": "space.catalogue",
    "load_cost_model": "cost_model.model",
    "load_space": "space.loading",
    "load_preset": "supernet.presets",
    "measure_front": "run.front.measuring",
    "monotonicity": "adaptation.monotonicity",
    "monotonicity_matrix": "adaptation.monotonicity",
    "pareto_front": "run.pareto",
    "predict": "cost_model.predicting",
    "read_latencies": "cost_model.latencies.reading",
    "read_samples": "cost_model.latencies.samples",
    "restrict": "space.restriction",
    "run_search": "run.search",
    "sample": "space.sampling",
    "shipped_hardware": "cost_model.shipping",
    "shipped_model": "cost_model.shipping",
    "stored_latencies": "cost_model.latencies.stored",
    "write_samples": "cost_model.latencies.samples",
}
"""Module of each public name, under this package."""

__all__ = [
    "SKIP",
    "AdaptStep",
    "Adapted",
    "ArchitectureSpace",
    "BlockDifference",
    "BlockGroup",
    "BlockMean",
    "BlockProfile",
    "ChoiceCost",
    "CollectProgress",
    "CollectReport",
    "CollectSettings",
    "Controller",
    "ControllerSettings",
    "CostModel",
    "CostModelError",
    "DecisionEffect",
    "DepthCap",
    "DepthEffect",
    "DevicePair",
    "Effect",
    "Evaluator",
    "Evolution",
    "Fit",
    "FitOptions",
    "FrontEvolution",
    "FrontLatencies",
    "Latencies",
    "LatencyOrigin",
    "LatencyPrediction",
    "LayerShare",
    "MeasuredAdaptation",
    "MeasuredFront",
    "Monotonicity",
    "MonotonicityMatrix",
    "NonDominated",
    "Objective",
    "OneOf",
    "PlacementEffect",
    "Predictor",
    "PreparedSources",
    "Random",
    "Reduction",
    "Reinforce",
    "RemovedBlock",
    "RequestError",
    "Reward",
    "Sample",
    "SearchError",
    "SearchRequest",
    "SearchResult",
    "SearchSpace",
    "SpaceError",
    "TabularSpace",
    "Template",
    "WeightSharing",
    "ada_proxy",
    "adapt",
    "adapt_by_measuring",
    "collect",
    "conditional_profile",
    "cost_model_shares",
    "fit",
    "get_space",
    "judge_front",
    "layer_shares",
    "list_spaces",
    "load_cost_model",
    "load_preset",
    "load_space",
    "measure_front",
    "monotonicity",
    "monotonicity_matrix",
    "pareto_front",
    "predict",
    "prepare_sources",
    "profile",
    "propose",
    "published_accuracy",
    "read_latencies",
    "read_samples",
    "reduce_space",
    "restrict",
    "run_search",
    "sample",
    "shipped_hardware",
    "shipped_model",
    "stored_latencies",
    "write_samples",
]

__getattr__, __dir__ = lazy_names(__name__, _MODULE_OF)
