"""What ``flare models`` says to people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from flare_core.anatomy.organs import organ
from flare_core.wording import many

if TYPE_CHECKING:
    from flare_core.models.catalogue import PublicModel
    from flare_core.models.listing import ModelRow
    from flare_core.models.package import Package


def mib(count: int | None) -> str:
    """Return a number of bytes in MiB.

    Examples
    --------
    >>> mib(11_639_193), mib(None)
    ('11.1 MiB', 'size unknown')
    """
    return "size unknown" if count is None else f"{count / 2**20:.1f} MiB"


def table(rows: Sequence[ModelRow]) -> str:
    """Return the list of models as lines of text."""
    names = [row.name for row in rows]
    width = max(len(name) for name in names)
    lines = []
    for row, name in zip(rows, names, strict=True):
        mark = "*" if row.in_use else " "
        lines.append(f"{mark} {name:<{width}}  {row.state:<11}  {row.summary}")
    return "\n".join([*lines, "* what the plain name means"])


def card_text(package: Package) -> str:
    """Return the facts of a card that a person wants before using a model."""
    card = package.card
    lines = [
        f"{card.name} {card.version}: {card.description}",
        f"  organs:       {', '.join(organ(key).name.lower() for key in card.found_organs)}",
        f"  licence:      {card.licence}",
        f"  intended use: {card.intended_use}",
        f"  limitations:  {card.limitations}",
    ]
    for stage in card.stages:
        size = sum(weights.size_bytes for weights in stage.weights_files)
        spacing = " x ".join(f"{mm:g}" for mm in stage.spacing_mm)
        folds = f", {many(len(stage.weights_files), 'fold')}" if stage.folds else ""
        lines.append(f"  {stage.name + ':':<13} {spacing} mm, {mib(size)}{folds}")
    return "\n".join(lines)


def wish_text(model: PublicModel, *, sizes: Sequence[tuple[str, int | None]] | None) -> str:
    """Return what a person must know before a public model is fetched.

    `sizes` are (address, bytes or None); None: the server was not asked.
    """
    lines = [
        f"{model.key} {model.version}: {model.title}. {model.summary}",
        f"  organs:   {', '.join(organ(key).name.lower() for key in model.organs)}",
        f"  licence:  {model.licence}",
        f"  page:     {model.page}",
        f"  cite:     {model.citation}",
    ]
    if sizes is None:
        lines += [f"  file:     {each.file.url}" for each in model.archives if each.file.url]
    else:
        lines += [f"  file:     {url} ({mib(size)})" for url, size in sizes]
    return "\n".join(lines)
