"""Label values of other files and of own schemes, for an edition.

`own_edition` reads a person's own scheme from JSON::

    {"title": "Our ward", "structures": [
      {"value": 1, "name": "liver"},
      {"value": 2, "name": "kidneys", "organs": ["right_kidney", "left_kidney"]},
      {"value": 7, "name": "heart", "tolerance_mm": 3.0},
      {"value": 9, "name": "metastasis", "lesion": true, "tolerance_mm": 2.0}]}

A name that the organ table knows brings its tolerance along; any other needs one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from flare_core.anatomy.label_schemes import LabelScheme
from flare_core.anatomy.organs import organ
from flare_core.errors import InputError
from flare_core.evaluate.protocols import LONG_ORGANS, TOLERANCE_MM, Edition, Target
from flare_core.json_fields import decode, read_json

VALUES = 256
"""Label maps are uint8."""


@dataclass(frozen=True)
class Structure:
    """One line of an own scheme's file."""

    value: int
    """Label value, 1 to 255."""
    name: str
    """Name in tables; an organ's key, name or synonym stands for that organ."""
    organs: tuple[str, ...] = ()
    """The organs it consists of, if its own name is not one."""
    tolerance_mm: float | None = None
    """For NSD; None: as the edition has it for this organ, or FLARE22 where it has none."""
    labelled_slices: bool | None = None
    """Whether it is compared on the reference's labelled slices only; None: as in FLARE."""
    lesion: bool | None = None
    """Whether it gets the lesion-wise metrics; None: if it is the organ table's lesion."""


@dataclass(frozen=True)
class SchemeFile:
    """An own scheme."""

    structures: tuple[Structure, ...]
    """What the label values mean."""
    title: str = "own label scheme"
    """Name for people."""


def own_edition(path: str | Path, rules: Edition) -> Edition:
    """Return `rules` applied to the label scheme in a JSON file.

    Raises
    ------
    InputError
        If the file is absent, no such JSON, or names a value twice, a structure twice or an
        unknown structure without a tolerance.
    """
    where = str(path)
    file = decode(SchemeFile, read_json(_text(Path(path)), where), where)
    usual = TOLERANCE_MM | {key: one.tolerance_mm for one in rules.targets for key in one.organs}
    targets = tuple(_target(each, usual, where) for each in file.structures)
    _check(targets, where)
    scheme = LabelScheme(
        key="own",
        title=file.title,
        organs=tuple((target.value, target.organs) for target in targets if target.organs),
        annotated=tuple(key for target in targets for key in target.organs),
        highest=max(target.value for target in targets),
    )
    return replace(rules, title=f"{file.title}, rules of {rules.key}", scheme=scheme,
                   targets=targets, strict_labels=False)  # fmt: skip


def value_table(scheme: LabelScheme, goal: Edition) -> npt.NDArray[np.uint8]:
    """Return the edition's value (256,) for every label value of files that follow `scheme`.

    Index it with a label map. Values without a target become 0.

    Raises
    ------
    InputError
        If the files have in one value what the edition tells apart.

    Examples
    --------
    >>> from flare_core.anatomy.label_schemes import FLARE22
    >>> from flare_core.evaluate.protocols import edition
    >>> value_table(FLARE22, edition("flare21"))[[1, 2, 13, 5]].tolist()
    [1, 2, 2, 0]
    """
    table = np.zeros(VALUES, np.uint8)
    for value, organs in scheme.organs:
        for target in goal.targets:
            if set(organs) <= set(target.organs):
                table[value] = target.value
            elif set(organs) & set(target.organs):
                raise _merged(scheme, organs, goal)
    return table


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            "--scheme",
            f"{path}: {getattr(error, 'strerror', None) or error}",
            "a JSON file with the label values",
            "Correct the path; flare evaluate --help shows an example.",
        ) from error


def _target(one: Structure, usual_mm: Mapping[str, float], where: str) -> Target:
    """Fill in what the organ table and the edition know."""
    organs = tuple(organ(key).key for key in one.organs) or _known(one.name)
    tolerance = one.tolerance_mm
    if tolerance is None and organs:
        tolerance = max(usual_mm[key] for key in organs)
    if tolerance is None or tolerance < 0:
        raise InputError(
            f"{where}: {one.name}",
            "no tolerance of 0 mm or more",
            '"tolerance_mm" for every structure that is not one of our organs',
            f'Add "tolerance_mm", or correct the name if "{one.name}" is meant to be an organ.',
        )
    key = organs[0] if len(organs) == 1 and not one.organs else _key(one.name)
    is_long = len(organs) == 1 and organs[0] in LONG_ORGANS
    return Target(
        key=key,
        name=organ(organs[0]).name if key in organs else one.name,
        value=one.value,
        organs=organs,
        tolerance_mm=tolerance,
        labelled_slices=is_long if one.labelled_slices is None else one.labelled_slices,
        lesion=organs == ("lesion",) if one.lesion is None else one.lesion,
    )


def _known(name: str) -> tuple[str, ...]:
    """Return the organ of this name, if there is one."""
    try:
        return (organ(name).key,)
    except InputError:
        return ()


def _key(name: str) -> str:
    """Return a name as it stands in a table's column.

    Examples
    --------
    >>> _key("Left atrium, upper")
    'left_atrium_upper'
    """
    letters = "".join(c if c.isalnum() else " " for c in name)
    return "_".join(letters.lower().split())


def _check(targets: tuple[Target, ...], where: str) -> None:
    """Refuse an empty scheme, values out of range, and what comes twice."""
    values = [target.value for target in targets]
    keys = [target.key for target in targets]
    legal = "each value (1 to 255) and each name once, and at least one"
    if not targets or "" in keys or not all(1 <= value < VALUES for value in values):
        raise InputError(where, f"the values {values}", legal, "Correct the file.")
    counts = [*Counter(map(str, values)).items(), *Counter(keys).items()]
    twice = [name for name, n in counts if n > 1]
    if twice:
        raise InputError(where, f"{', '.join(twice)} more than once", legal, "Correct the file.")


def _merged(scheme: LabelScheme, organs: tuple[str, ...], goal: Edition) -> InputError:
    return InputError(
        "label scheme",
        f"{scheme.title}, which has {' and '.join(organs)} in one value",
        f"files that tell apart what {goal.key} scores apart",
        "Choose an edition that merges them too, such as flare21.",
    )
