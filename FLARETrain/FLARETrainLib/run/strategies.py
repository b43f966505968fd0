"""The self-training strategies in words; their names are those of `flare_core.train.strategies`."""

from __future__ import annotations

from collections.abc import Callable

from FLARESegLib.qt.translation import _

STRATEGIES: dict[str, tuple[Callable[[], str], Callable[[], str]]] = {
    "iterative": (
        lambda: _("Steady pseudo labels"),
        lambda: _(
            "The teacher labels all scans; those whose labels change least from round to round are "
            "learned from (FLARE22's winner). A good first choice."
        ),
    ),
    "confident": (
        lambda: _("Confident pseudo labels"),
        lambda: _("Organs that the teacher is sure of, with a sharp border, are learned from."),
    ),
    "agreement": (
        lambda: _("Agreeing networks"),
        lambda: _(
            "Several networks are trained; scans on which they agree are learned from. Takes the "
            "budget once for each network."
        ),
    ),
    "soft_labels": (
        lambda: _("Soft labels"),
        lambda: _("The student learns the teacher's doubt along with its labels."),
    ),
    "mean_teacher": (
        lambda: _("Mean teacher"),
        lambda: _("A slower copy of the student labels the scans that nobody has labelled."),
    ),
    "cross_pseudo": (
        lambda: _("Two decoders"),
        lambda: _("Two halves of the network label unlabelled scans for each other."),
    ),
    "supervised": (
        lambda: _("People's labels only"),
        lambda: _("Learns from expert, corrected and accepted labels; other scans teach nothing."),
    ),
}
"""Name -> title, explanation; both translated when they are shown."""

FOLDS = {"agreement": 3}
"""Networks that a strategy needs; one is enough for the others."""
