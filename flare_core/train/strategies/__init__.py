"""How unlabelled scans help: which predicted labels are believed, and what a step's loss is.

★ ADD A STRATEGY: one file beside this one and one line in STRATEGIES. `training_step.Strategy` says
what it must do; `supervised.Supervised` does the least of it and can be inherited from. What
needs torch is imported in the function that uses it: reading a run's settings must not load it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flare_core.errors import InputError
from flare_core.json_fields import decode
from flare_core.train.strategies.agreement import Agreement
from flare_core.train.strategies.confident import Confident
from flare_core.train.strategies.cross_pseudo import CrossPseudo
from flare_core.train.strategies.iterative import Iterative
from flare_core.train.strategies.mean_teacher import MeanTeacher
from flare_core.train.strategies.soft_labels import SoftLabels
from flare_core.train.strategies.supervised import Supervised

if TYPE_CHECKING:
    from flare_core.train.config import TrainConfig
    from flare_core.train.training_step import Strategy

STRATEGIES: dict[str, type[Supervised]] = {
    "supervised": Supervised,
    "confident": Confident,
    "agreement": Agreement,
    "iterative": Iterative,
    "mean_teacher": MeanTeacher,
    "cross_pseudo": CrossPseudo,
    "soft_labels": SoftLabels,
}

__all__ = ["STRATEGIES", "build_strategy", "strategy_of"]


def strategy_of(config: TrainConfig) -> Strategy:
    """Return the strategy of a training configuration.

    Raises
    ------
    InputError
        As `build_strategy`; or if there are scans without labels from which it learns nothing, or
        the network cannot be trained like this.
    """
    strategy = build_strategy(config.strategy)
    strategy.check(config)
    if config.unlabelled and not strategy.uses_unlabelled:
        raise InputError(
            "unlabelled",
            str(config.unlabelled),
            f"none: strategy {config.strategy['kind']} learns nothing from bare scans",
            "Correct the training configuration.",
        )
    return strategy


def build_strategy(settings: dict[str, Any]) -> Strategy:
    """Return the strategy of the settings in a configuration.

    Raises
    ------
    InputError
        If the kind is missing or unknown, or a setting is unknown or illegal.

    Examples
    --------
    >>> build_strategy({"kind": "agreement", "least_mean": 0.9})
    Agreement(least_mean=0.9, least_organ=0.7, weight=1.0)
    """
    kind = settings.get("kind")
    if kind not in STRATEGIES:
        raise InputError(
            "strategy: kind",
            repr(kind),
            ", ".join(STRATEGIES),
            "Choose one of these.",
        )
    rest = {name: value for name, value in settings.items() if name != "kind"}
    return decode(STRATEGIES[kind], rest, f"strategy {kind}")
