"""What a metric says about itself, so that tables, pages and rankings need no list of their own."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from flare_core.evaluate.metrics.pair import OrganPair

Direction = Literal["higher", "lower", "zero", "none"]


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One number about two masks of the same organ."""

    key: str
    """Name in options, tables and JSON."""
    name: str
    """Name for people."""
    unit: str
    """UCUM code: ``1`` for a share, ``mm``, ``mL``, ``%``, ``{lesions}``."""
    direction: Direction
    """Which value is better: ``higher``, ``lower``, nearest to ``zero``; ``none``: just a count."""
    empty: str
    """What comes out where the reference, the prediction or both lack the organ."""
    missing: float | None
    """What a case without a usable prediction gets; None: what an empty prediction would get."""
    function: Callable[[OrganPair], float]
    """The computation; NaN means that the value is not defined."""
    least: float = 0.0
    """Least value there can be; whoever reads values from a file refuses smaller ones."""
    most: float = math.inf
    """Greatest value there can be; infinite: there is none."""
    lesion_only: bool = False
    """Whether it counts lesions, and means nothing for an organ."""
    official: bool = False
    """Whether FLARE's scripts compute it: then `official` mode rounds it and lets NaN spread."""
    source: str = ""
    """Where the definition comes from."""
