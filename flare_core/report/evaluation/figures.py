"""The charts and pictures of an evaluation's page."""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image

from flare_core.anatomy.organs import ORGANS, Organ, organ
from flare_core.errors import InputError
from flare_core.evaluate.evaluate import CaseResult, Evaluation, Files, in_edition
from flare_core.evaluate.metrics import METRICS
from flare_core.evaluate.metrics.descriptor import Metric
from flare_core.evaluate.pairing import CasePair, pair_cases
from flare_core.evaluate.protocols import Target
from flare_core.evaluate.summary import case_means, scores_of
from flare_core.imaging.apart import read_labels, read_volume
from flare_core.imaging.inputs import case_name, stem_of, suffix_of
from flare_core.imaging.volume import Volume
from flare_core.report.case.panel import Pixels
from flare_core.report.charts.axis import decade_axis, distance_axis, share_axis
from flare_core.report.charts.distribution import Group, distribution_chart
from flare_core.report.charts.plane import Point, scatter_chart
from flare_core.report.charts.svg import Colour, score_text
from flare_core.report.evaluation.overlay import Comparison, comparison_picture

JPEG_QUALITY = 82
BEST, WORST = 2, 3
"""Cases to show pictures of, as in the FLARE23 paper's Fig. 4e."""
SPARE_COLOURS: tuple[Colour, ...] = (
    (90, 140, 200),
    (200, 140, 60),
    (120, 170, 90),
    (170, 100, 170),
)
"""For structures that are not in the organ table."""


@dataclass(frozen=True)
class Figure:
    """A chart or a picture."""

    caption: str
    """What it shows; empty where the section's title says it."""
    svg: str = ""
    """An ``<svg>`` element of our own charts; inserted as it is."""
    picture: bytes = b""
    """JPEG, from `jpeg_bytes`."""


@dataclass(frozen=True)
class Sources:
    """Where label maps and scans come from."""

    prediction: Path
    """PRED."""
    reference: Path
    """REF."""
    images: Path | None = None
    """Folder of scans, if there is one."""
    files: Files = Files()
    """How the label files are read."""


def colour_of(target: Target, number: int) -> Colour:
    """Return the colour of a structure: its organ's, or a spare one."""
    if target.organs:
        return organ(target.organs[0]).colour
    return SPARE_COLOURS[number % len(SPARE_COLOURS)]


def drawn_organs(targets: Sequence[Target]) -> tuple[Organ, ...]:
    """Return structures as the pictures need them: by the edition's label value."""
    return tuple(
        replace(ORGANS[0], id=t.value, key=t.key, name=t.name, colour=colour_of(t, k))
        for k, t in enumerate(targets)
    )


def extremes(evaluation: Evaluation) -> list[tuple[CaseResult, float]]:
    """Return the best and the worst scored cases with their mean DSC, best first, none twice."""
    edition = evaluation.rules.edition
    means = case_means(evaluation, edition.organ_targets or edition.lesion_targets, "dsc")
    pairs = zip(evaluation.cases, means.tolist(), strict=True)
    known = [(c, m) for c, m in pairs if c.status == "scored" and math.isfinite(m)]
    ordered = sorted(known, key=lambda pair: -pair[1])
    best = ordered[:BEST]
    return best + [pair for pair in ordered[-WORST:] if pair not in best]


def distribution(evaluation: Evaluation, metric: Metric) -> Figure:
    """Return a chart of one metric, a row for each structure."""
    series = [
        Group(target.name, _values(evaluation, target, metric), colour=colour_of(target, k))
        for k, target in enumerate(evaluation.rules.edition.targets)
    ]
    label = metric.name if metric.unit == "1" else f"{metric.name}, {metric.unit}"
    values = [value for each in series for value in each.values]
    axis = share_axis(label, values) if metric.unit == "1" else distance_axis(label, values)
    return Figure("", svg=distribution_chart(series, axis, label))


def lesion_distribution(evaluation: Evaluation) -> tuple[Figure, ...]:
    """Return a chart of the lesion-wise shares, a row for each; none if there are no lesions."""
    metrics = [METRICS[key] for key in evaluation.rules.metrics]
    series = [
        Group(_brief(metric), _values(evaluation, target, metric), colour=colour_of(target, 0))
        for target in evaluation.rules.edition.lesion_targets
        for metric in metrics
        if metric.lesion_only and metric.unit == "1"
    ]
    if not series:
        return ()
    axis = share_axis("share", [value for each in series for value in each.values])
    return (Figure("", svg=distribution_chart(series, axis, "Lesion-wise metrics")),)


def _values(evaluation: Evaluation, target: Target, metric: Metric) -> tuple[float, ...]:
    return tuple(scores_of(evaluation, target, metric.key).tolist())


def _brief(metric: Metric) -> str:
    """Return a lesion-wise metric's name without what all of them have in common.

    Examples
    --------
    >>> _brief(METRICS["lesion_specificity"])
    'specificity'
    """
    return metric.name.removeprefix("Lesion-wise ").partition(" as ")[0]


def volumes(evaluation: Evaluation) -> tuple[Figure, ...]:
    """Return predicted against true volume, and lesion volume against DSC."""
    edition = evaluation.rules.edition
    points = list(_volume_points(evaluation, edition.organ_targets))
    lesions = list(_volume_points(evaluation, edition.lesion_targets))
    figures = []
    for name, found in (("organ", points), ("lesion", lesions)):
        if found:
            figures.append(_agreement(f"Predicted against true {name} volume", found))
    against = list(_lesion_points(evaluation))
    if against:
        figures.append(_size_and_score(against))
    return tuple(figures)


def _agreement(title: str, points: Sequence[Point]) -> Figure:
    volumes = [value for point in points for value in (point.x, point.y)]
    x, y = decade_axis("true volume, mL", volumes), decade_axis("predicted volume, mL", volumes)
    return Figure(title, svg=scatter_chart(points, x, y, title, diagonal=True))


def _size_and_score(points: Sequence[Point]) -> Figure:
    title = "Lesion volume against DSC"
    x = decade_axis("true lesion volume, mL", [point.x for point in points])
    y = share_axis("DSC", [0.0])
    return Figure(title, svg=scatter_chart(points, x, y, title))


def _volume_points(evaluation: Evaluation, targets: Sequence[Target]) -> Iterable[Point]:
    numbers = {target.key: (k, target) for k, target in enumerate(targets)}
    for case in evaluation.cases:
        for one in case.scores:
            if one.target in numbers and (one.true_ml or one.predicted_ml):
                number, target = numbers[one.target]
                text = (
                    f"{case.case}, {target.name}: {one.true_ml:.1f} mL, {one.predicted_ml:.1f} mL"
                )
                yield Point(one.true_ml, one.predicted_ml, colour_of(target, number), text)


def _lesion_points(evaluation: Evaluation) -> Iterable[Point]:
    targets = {target.key: target for target in evaluation.rules.edition.lesion_targets}
    for case in evaluation.cases:
        for one in case.scores:
            if one.target in targets and one.true_ml > 0 and "dsc" in one.values:
                text = f"{case.case}: {one.true_ml:.1f} mL, DSC {one.values['dsc']:.3f}"
                yield Point(one.true_ml, one.values["dsc"], colour_of(targets[one.target], 0), text)


def pictures(evaluation: Evaluation, sources: Sources) -> tuple[Figure, ...]:
    """Return the best and worst cases as pictures."""
    if "dsc" not in evaluation.rules.metrics:
        return ()
    paths = {pair.name: pair for pair in pair_cases(sources.prediction, sources.reference).cases}
    figures = []
    for case, mean in extremes(evaluation):
        title = f"{case.case}, mean DSC {score_text(mean)}"
        what = _comparison(paths[case.case], evaluation, sources)
        picture = comparison_picture(what, drawn_organs(evaluation.rules.edition.targets), title)
        figures.append(Figure(title, picture=jpeg_bytes(picture)))
    return tuple(figures)


def jpeg_bytes(pixels: Pixels) -> bytes:
    """Encode uint8 (H, W, 3) as JPEG: a page with several pictures stays small enough to mail."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=JPEG_QUALITY)
    return stream.getvalue()


def _comparison(pair: CasePair, evaluation: Evaluation, sources: Sources) -> Comparison:
    rules, files = evaluation.rules, sources.files
    true = read_labels(pair.reference)
    found = read_labels(pair.prediction or pair.reference)
    return Comparison(
        reference=true.with_array(in_edition(true, files.reference_scheme, rules)),
        prediction=true.with_array(in_edition(found, files.prediction_scheme, rules)),
        image=_scan({pair.name, stem_of(pair.reference)}, true, sources.images),
    )


def _scan(names: set[str], labels: Volume, folder: Path | None) -> Volume | None:
    """Return the case's scan, if the folder has one that fits."""
    if folder is None:
        return None
    for path in sorted(folder.iterdir()):
        if suffix_of(path) and case_name(path) in names:
            try:
                scan = read_volume(path)
            except InputError:  # a picture less; the scores do not need it
                return None
            return scan if scan.geometry.shape == labels.geometry.shape else None
    return None
