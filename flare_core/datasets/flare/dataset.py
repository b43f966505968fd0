"""START HERE for data: find the cases of any FLARE edition in the folders its archives unpack to.

1. `find_dataset` lists folders only: which edition, which cases, what is missing. Quick.
2. `look_into_labels` adds what only the label maps tell: which organs each case of a partly
   labelled edition annotates.
3. Voxels come through `flare_labels.organ_labels`: in our numbers, whatever the edition's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from flare_core.anatomy.label_schemes import LabelScheme, as_listed
from flare_core.anatomy.label_schemes import scheme as scheme_of
from flare_core.datasets.case import table_of_cases
from flare_core.datasets.flare.cases import FlareCase as FlareCase
from flare_core.datasets.flare.cases import scans_of, subset_cases
from flare_core.datasets.flare.folders import Finding, files_of, listed, sub_folders
from flare_core.datasets.flare.labels import annotated_in
from flare_core.datasets.flare.layouts import LAYOUTS, PLAIN, Layout
from flare_core.errors import InputError
from flare_core.imaging.label_map import label_counts
from flare_core.spread.cases import SpreadCases, input_error
from flare_core.spread.here import in_turn

TABLE = "cases.json"
"""May give ``patient``, ``annotated`` and ``scheme`` (what its label values mean) of each case, by
name."""

ARCHIVES = (".zip", ".7z", ".rar", ".tar", ".tar.gz", ".tgz")
"""How a data set comes before it is unpacked."""

MOST_FOLDERS = 200
"""So many folders of a level are looked into; more are no data set but somebody's whole disk."""


@dataclass(frozen=True)
class FlareDataset:
    """A data set on disk."""

    edition: str
    """Key of `flare_layouts.LAYOUTS`."""
    title: str
    """Name for people."""
    scheme: LabelScheme
    """What the numbers in its label maps mean."""
    root: Path
    """The folder whose sub-folders the edition describes."""
    cases: tuple[FlareCase, ...]
    """Every scan, each with a name of its own."""
    findings: tuple[Finding, ...] = ()
    """What listing the folders showed to be missing or doubled."""

    @property
    def labelled(self) -> tuple[FlareCase, ...]:
        """The cases that have a label map."""
        return tuple(case for case in self.cases if case.labels is not None)


def find_dataset(
    folder: str | Path,
    *,
    edition: str | None = None,
    scheme: str | None = None,
    pseudo: str | None = None,
) -> FlareDataset:
    """Find out which edition a folder holds and list its cases; opens no image.

    Parameters
    ----------
    folder : path
        The data set's folder, or one up to three levels above it.
    edition : str, optional
        Key of `flare_layouts.LAYOUTS`; found out if None.
    scheme : str, optional
        Which numbers the label maps use, if not those of the edition.
    pseudo : str, optional
        A part of the name of a folder with other teams' predictions, such as ``aladdin5``:
        unlabelled cases take their labels, and their source, from it.

    Returns
    -------
    FlareDataset
        Cases of partly labelled editions have no `annotated` organs yet: see `look_into_labels`.

    Raises
    ------
    InputError
        If the folder is absent, the edition is unknown, or nothing of it is there.
    """
    layout, root = _layout_of(Path(folder), edition)
    numbers = scheme_of(scheme or layout.scheme)
    source = root.name if layout is PLAIN else layout.edition
    parts = [subset_cases(root, part, numbers, source, pseudo) for part in layout.subsets]
    cases = _own_names([case for found, _ in parts for case in found])
    findings = [finding for _, told in parts for finding in told]
    if pseudo and not any(f"pseudo: {pseudo.lower()}" in c.source.lower() for c in cases):
        raise InputError(
            "pseudo",
            f"{pseudo!r}, but no folder with that in its name has labels for these scans",
            f"a part of the name of a folder of predictions below {root}",
            "Leave it out, or correct it.",
        )
    told = _with_table(cases, root / TABLE, own_numbers=scheme is None)
    numbers = _widest([numbers, *(scheme_of(each.scheme) for each in told)])
    return FlareDataset(layout.edition, layout.title, numbers, root, told, tuple(findings))


def look_into_labels(
    dataset: FlareDataset,
    *,
    spread: SpreadCases = in_turn,
    on_done: Callable[[int, int], None] | None = None,
) -> FlareDataset:
    """Return the data set with `annotated` of every case, read from the label maps if need be.

    Only partly labelled editions need it: there, which organs a file annotates shows in the values
    it holds (see `flare_labels.annotated_in`).

    Parameters
    ----------
    spread : SpreadCases
        What reads the label maps.
    on_done : callable, optional
        Told (cases done, cases in all).

    Raises
    ------
    InputError
        If a label map cannot be read.
    """
    wanted = [case for case in dataset.labelled if not case.annotated]
    found: dict[str, tuple[str, ...]] = {}
    with closing(spread(_annotated, ((case.name, case) for case in wanted))) as outcomes:
        for done, outcome in enumerate(outcomes, start=1):
            error = input_error(outcome)
            if error is not None:
                raise error
            found[outcome.case] = outcome.value
            if on_done:
                on_done(done, len(wanted))
    cases = [_that_annotates(c, found.get(c.name, c.annotated)) for c in dataset.cases]
    return replace(dataset, cases=tuple(cases))


def _that_annotates(case: FlareCase, annotated: tuple[str, ...]) -> FlareCase:
    """Return a case with what its label map annotates."""
    partly = tuple(key for key in case.partly if key in annotated)
    return replace(case, annotated=annotated, partly=partly)


def _annotated(case: FlareCase) -> tuple[str, ...]:
    assert case.labels is not None  # the caller asks labelled cases only
    counts = label_counts(case.labels)
    return annotated_in(scheme_of(case.scheme), [v for v, n in enumerate(counts) if n])


def _layout_of(folder: Path, edition: str | None) -> tuple[Layout, Path]:
    """Return the layout that fits best and the folder it starts from, the shallowest one."""
    edition = edition and as_listed(edition, LAYOUTS)
    if edition is not None and edition not in LAYOUTS:
        raise InputError(
            "edition", repr(edition), f"one of {', '.join(LAYOUTS)}", "Leave it out to find out."
        )
    layouts = list(LAYOUTS.values()) if edition is None else [LAYOUTS[edition]]
    level = [folder]
    for _ in range(4):
        fits = [(_fit(root, layout), layout, root) for root in level for layout in layouts]
        best = max(fits, key=lambda fit: fit[0], default=None)
        if best is not None and best[0] > 0:
            return best[1], best[2]
        level = [below for root in level for below in sub_folders(root)][:MOST_FOLDERS]
    raise _unknown(folder, layouts)


def _fit(root: Path, layout: Layout) -> int:
    """Return how many parts of a layout are there; 0 if none of them would tell."""
    there = [part for part in layout.subsets if scans_of(root, part)]
    return len(there) if any(part.telling for part in there) else 0


def _unknown(folder: Path, layouts: Sequence[Layout]) -> InputError:
    """Return the error for a folder that no layout fits: what it holds, what was looked for."""
    inside = [p.name + "/" for p in sub_folders(folder)] + [p.name for p in files_of(folder, 0)]
    packed = sorted(p.name for p in folder.iterdir() if p.name.lower().endswith(ARCHIVES))
    inside += packed
    unpack = f"Unpack {listed(packed)} first. " if packed else ""
    return InputError(
        "data set",
        f"{folder}, which holds {listed(inside) if inside else 'no folder and no scan'}",
        "scans (*.nii.gz) in the folders of one of\n    "
        + "\n    ".join(layout.looked_for for layout in layouts),
        f"{unpack}Give the folder that holds them, or make images/ and labels/ with files of equal"
        " names.",
    )


def _own_names(cases: Sequence[FlareCase]) -> list[FlareCase]:
    """Put the part's name before names that two parts use, as FLARE22's tuning and testing do."""
    names = Counter(case.name for case in cases)
    longer = [
        replace(c, name=f"{c.subset}-{c.name}", patient=c.patient) if names[c.name] > 1 else c
        for c in cases
    ]
    seen: Counter[str] = Counter()
    result = []
    for case in longer:
        seen[case.name] += 1
        more = f"-{case.source}-{seen[case.name]}" if seen[case.name] > 1 else ""
        result.append(replace(case, name=case.name + more))
    return result


def _widest(schemes: Sequence[LabelScheme]) -> LabelScheme:
    """Return the first scheme, or one that says the same of its numbers and knows more."""
    first = schemes[0]
    wider = [each for each in schemes if first.has_our_ids and each.has_our_ids]
    return max(wider, key=lambda each: each.highest, default=first)


def _with_table(
    cases: Sequence[FlareCase], path: Path, *, own_numbers: bool
) -> tuple[FlareCase, ...]:
    """Take over what a table beside the folders says of the cases, if there is one.

    `own_numbers`: also what their label values mean.
    """
    table = table_of_cases(path, [case.name for case in cases])
    result = []
    for case in cases:
        row = table.get(case.name, {})
        changes: dict[str, Any] = {"patient": str(row.get("patient", case.patient))}
        if "weight" in row:
            changes["weight"] = float(row["weight"])
        if case.labels is not None:
            told = [name for name in ("annotated", "absent", "partly") if name in row]
            changes |= {name: tuple(row[name]) for name in told}
        if case.labels is not None and "kind" in row and case.kind != "pseudo":
            changes["kind"] = row["kind"]
        if case.labels is not None and "scheme" in row and own_numbers:
            changes["scheme"] = scheme_of(row["scheme"]).key
        result.append(replace(case, **changes))
    return tuple(result)
