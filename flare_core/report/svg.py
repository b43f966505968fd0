"""Charts as SVG text: they need no library, stay sharp when printed, and sit inside a page."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from html import escape

from flare_core.anatomy.organs import Organ
from flare_core.report.case.lettering import millilitres

WIDTH = 800
NAME_WIDTH = 160
VALUE_WIDTH = 180
ROW = 26
BASELINE = 17
AXIS_HEIGHT = 34
"""Pixels; the baseline is a row's, from its top."""
INK, FAINT, BAND, ALERT = "#222", "#8a8a8a", "#d9dee3", "#a84300"


def volume_chart(
    volumes_ml: Mapping[str, Sequence[float]], organs: Sequence[Organ], flagged: Sequence[str] = ()
) -> str:
    """Draw organ volumes on a logarithmic axis, over the usual range of adults where known.

    Parameters
    ----------
    volumes_ml : mapping
        Organ key -> volumes, mL: one for a case, many for a cohort. Zero, NaN and missing mean
        that the organ was not found.
    organs : sequence of Organ
        One row each, in this order.
    flagged : sequence of str
        Keys of organs whose volume is called out of range. The caller judges: a volume below the
        range means nothing where the scan cuts the organ.

    Returns
    -------
    str
        An ``<svg>`` element. Logarithmic, because a liver has 300 times an adrenal gland's volume.
    """
    found = {each.key: _positive(volumes_ml.get(each.key, ())) for each in organs}
    low, high = _decades([*(v for values in found.values() for v in values), *_limits(organs)])
    height = ROW * len(organs) + AXIS_HEIGHT
    rows = []
    for number, each in enumerate(organs):
        rows.append(_name_and_range(each, ROW * number, (low, high)))
        rows.append(_dots(each, found[each.key], ROW * number, (low, high)))
        rows.append(_figures(found[each.key], ROW * number, each.key in flagged))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" '
        f'height="{height}" role="img" font-family="sans-serif" font-size="13" fill="{INK}">'
        "<title>Organ volumes, mL, and the usual range of adults</title>"
        f"{_axis(low, high, height - AXIS_HEIGHT)}{''.join(rows)}</svg>"
    )


def _name_and_range(organ: Organ, y: int, axis: tuple[int, int]) -> str:
    name = (
        f'<text x="{NAME_WIDTH - 10}" y="{y + BASELINE}" text-anchor="end">'
        f"{escape(organ.name)}</text>"
    )
    if organ.volume_range_ml is None:
        return name
    left, right = (_x(limit, axis) for limit in organ.volume_range_ml)
    return (
        f'{name}<rect x="{left:.1f}" y="{y + 6}" width="{right - left:.1f}" '
        f'height="{ROW - 12}" rx="3" fill="{BAND}"/>'
    )


def _dots(organ: Organ, values: Sequence[float], y: int, axis: tuple[int, int]) -> str:
    """Draw a dot for each volume; many let each other show through."""
    colour = "#{:02x}{:02x}{:02x}".format(*organ.colour)
    opacity = 1.0 if len(values) == 1 else 0.6
    return "".join(
        f'<circle cx="{_x(value, axis):.1f}" cy="{y + ROW / 2}" r="5" fill="{colour}" '
        f'fill-opacity="{opacity}" stroke="{INK}" stroke-width="0.8">'
        f"<title>{value:.4g} mL</title></circle>"
        for value in values
    )


def _figures(values: Sequence[float], y: int, flagged: bool) -> str:
    """Write the volume, or the median of many."""
    if not values:
        text = "not found"
    elif len(values) == 1:
        text = millilitres(values[0])
    else:
        text = f"median {millilitres(statistics.median(values))}, n = {len(values)}"
    colour = ALERT if flagged else INK if values else FAINT
    return (
        f'<text x="{WIDTH - VALUE_WIDTH + 14}" y="{y + BASELINE}" fill="{colour}">'
        f"{text}{', outside range' if flagged else ''}</text>"
    )


def _axis(low: int, high: int, y: int) -> str:
    """Draw a line and its number for every power of ten."""
    parts = []
    for power in range(low, high + 1):
        x = _x(10.0**power, (low, high))
        parts.append(
            f'<line x1="{x:.1f}" y1="0" x2="{x:.1f}" y2="{y}" stroke="#e6e6e6"/>'
            f'<text x="{x:.1f}" y="{y + 18}" text-anchor="middle" fill="{FAINT}">'
            f"{10.0**power:g}</text>"
        )
    parts.append(
        f'<text x="{NAME_WIDTH - 30}" y="{y + 18}" text-anchor="end" fill="{FAINT}">mL</text>'
    )
    return "".join(parts)


def _x(volume_ml: float, axis: tuple[int, int]) -> float:
    share = (math.log10(volume_ml) - axis[0]) / (axis[1] - axis[0])
    return NAME_WIDTH + share * (WIDTH - NAME_WIDTH - VALUE_WIDTH)


def _decades(values: Sequence[float]) -> tuple[int, int]:
    """Return the powers of ten around all values."""
    if not values:
        return 0, 3
    low = math.floor(math.log10(min(values)))
    return low, max(low + 1, math.ceil(math.log10(max(values))))


def _limits(organs: Sequence[Organ]) -> list[float]:
    return [limit for each in organs for limit in each.volume_range_ml or ()]


def _positive(values: Sequence[float]) -> list[float]:
    return [value for value in values if math.isfinite(value) and value > 0]
