"""``flare phantom``: write synthetic abdominal CT scans with known truth."""

from __future__ import annotations

import argparse
from dataclasses import asdict, replace
from pathlib import Path

from flare_core.anatomy.organs import LESION
from flare_core.atomic import write_json
from flare_core.datasets.phantom.settings import FIELDS_MM, PHASES, PhantomSettings
from flare_core.errors import InputError

NAME = "phantom"
HELP = "make synthetic abdominal CT scans with known truth"

TABLE = "cases.json"
"""Beside a folder's images/ and labels/: what its label maps have beyond FLARE22's 13 organs."""

WITH_LESIONS = "flare23"
"""Whose numbers they are then."""

SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".mha")
"""What a single case may be named; in a folder it is the first of these."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``flare phantom``."""
    default = PhantomSettings()
    parser.add_argument(
        "out",
        type=Path,
        metavar="OUT",
        help="a file name.nii.gz for one case, or a folder for FLARE's images/ and labels/",
    )
    parser.add_argument("--seed", type=int, default=0, help="the person (default: 0)")
    parser.add_argument(
        "--spacing",
        default=",".join(f"{s:g}" for s in default.spacing_mm),
        metavar="Z,Y,X",
        help="voxel spacing in mm (default: %(default)s)",
    )
    parser.add_argument(
        "--field",
        default=default.field,
        choices=sorted(FIELDS_MM),
        help="what is scanned (default: %(default)s)",
    )
    parser.add_argument(
        "--phase",
        default=default.phase,
        choices=PHASES,
        help="contrast phase (default: %(default)s)",
    )
    parser.add_argument(
        "--noise",
        type=float,
        default=default.noise_hu,
        metavar="HU",
        help="standard deviation of the noise (default: %(default)s)",
    )
    _add_person(parser)


def _add_person(parser: argparse.ArgumentParser) -> None:
    """Declare what is special about the person, and how many there are."""
    _add_lesions(parser)
    parser.add_argument("--absent", default="", metavar="ORGANS", help="removed organs, by comma")
    parser.add_argument(
        "--oblique",
        type=float,
        default=0.0,
        metavar="DEGREES",
        help="tilt of the grid (default: 0)",
    )
    parser.add_argument("--no-table", action="store_true", help="leave the CT table out")
    parser.add_argument(
        "--count", type=int, default=1, metavar="N", help="persons: seed, seed+1, ..."
    )


def _add_lesions(parser: argparse.ArgumentParser) -> None:
    """Declare how many lesions there are, and where."""
    default = PhantomSettings()
    parser.add_argument(
        "--lesions", type=int, default=0, metavar="N", help="lesions, label 14 (default: 0)"
    )
    parser.add_argument(
        "--lesion-organs",
        default=",".join(default.lesion_organs),
        metavar="ORGANS",
        help="where they are, by comma (default: %(default)s)",
    )
    parser.add_argument(
        "--lesion-sizes",
        default=",".join(default.lesion_sizes),
        metavar="SIZES",
        help="of tiny (< 10 mm), small (< 20), medium (< 50), large (default: %(default)s)",
    )
    parser.add_argument(
        "--lesion-push",
        action="store_true",
        help="lesions push their surroundings and grow out of their organ",
    )
    parser.add_argument(
        "--decoys",
        type=int,
        default=0,
        metavar="N",
        help="cysts, fissures, stones and the like, which are no lesions (default: 0)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Make the phantoms and write image, truth and settings of each."""
    first = _settings(arguments)
    _check_count(arguments.out, arguments.count)
    _check_lesions(arguments)
    for number in range(arguments.count):
        _spare(*_paths(arguments.out, first.seed + number))
    for number in range(arguments.count):
        settings = replace(first, seed=first.seed + number)
        image, labels, facts = _paths(arguments.out, settings.seed)
        _write(settings, image, labels, facts)
        if not _suffix(arguments.out):
            _tell_labels(arguments.out / TABLE, labels, settings)
        print(image)
    return 0


def _write(settings: PhantomSettings, image: Path, labels: Path, facts: Path) -> None:
    """Make one phantom and write its three files."""
    # Here, because every `flare` command imports this module to list its options.
    from flare_core.datasets.phantom.make import make_phantom
    from flare_core.imaging.files import write_labels, write_volume

    case = make_phantom(settings)
    for path in (image, labels, facts):
        path.parent.mkdir(parents=True, exist_ok=True)
    truth = {
        "settings": asdict(settings),
        "volume_ml": case.truth,
        "lesions": [asdict(each) for each in case.lesions],
        "decoys": [asdict(each) for each in case.decoys],
    }
    is_new = not facts.exists()
    try:
        write_json(facts, truth)  # first: it says that the other two are ours to replace
        write_volume(image, case.image)
        write_labels(labels, case.labels)
    except BaseException:  # Ctrl-C too
        for path in (image, labels, facts) if is_new else ():
            path.unlink(missing_ok=True)
        raise


def _tell_labels(table: Path, labels: Path, settings: PhantomSettings) -> None:
    """Say in the folder's table of cases that a label map has lesions: FLARE22's numbers have none.

    Others need no row; one of before goes.
    """
    from flare_core.datasets.case import ALL_ORGANS, table_of_cases

    rows = table_of_cases(table)
    row = {"annotated": [*ALL_ORGANS, LESION.key], "scheme": WITH_LESIONS}
    name = labels.name.removesuffix(SUFFIXES[0])
    if settings.lesions:
        write_json(table, rows | {name: row})
    elif rows.get(name) == row:
        del rows[name]
        write_json(table, rows) if rows else table.unlink()


def _spare(image: Path, labels: Path, facts: Path) -> None:
    """Refuse to write over a scan or labels that are no phantom of before."""
    strange = [path for path in (image, labels) if path.exists()]
    if strange and not facts.exists():
        raise InputError(
            "OUT",
            f"{strange[0]}, which is there and is no phantom ({facts.name} is not beside it)",
            "a name or folder of which nothing is there but phantoms",
            "Choose another name; the phantom's scan is called NAME_0000.",
        )


def _check_lesions(arguments: argparse.Namespace) -> None:
    """Refuse to say of no lesions where and how large they are."""
    default = PhantomSettings()
    given = {
        "--lesion-organs": _names(arguments.lesion_organs) != default.lesion_organs,
        "--lesion-sizes": _names(arguments.lesion_sizes) != default.lesion_sizes,
        "--lesion-push": arguments.lesion_push,
    }
    for name, differs in given.items():
        if differs and not arguments.lesions:
            legal = "nothing, where no lesions are made"
            raise InputError(name, f"{name} without --lesions", legal, "Add --lesions N.")


def _check_count(out: Path, count: int) -> None:
    """Refuse no case, and several cases in one file."""
    if count < 1:
        raise InputError("--count", str(count), "1 or more", "Ask for one case at least.")
    if count > 1 and _suffix(out):
        legal = "a folder, when there are several cases"
        raise InputError("OUT", f"the file {out}", legal, "Name a folder, or leave --count out.")


def _suffix(out: Path) -> str:
    """Return the image suffix of a file name, or nothing for a folder."""
    return next((end for end in SUFFIXES if out.name.lower().endswith(end)), "")


def _paths(out: Path, seed: int) -> tuple[Path, Path, Path]:
    """Return where image, truth and settings of one case go.

    Examples
    --------
    >>> [path.as_posix() for path in _paths(Path("a/demo.nii.gz"), 0)]
    ['a/demo_0000.nii.gz', 'a/demo_truth.nii.gz', 'a/demo_truth.json']
    >>> [path.as_posix() for path in _paths(Path("set"), 7)][:2]
    ['set/images/phantom_0007_0000.nii.gz', 'set/labels/phantom_0007.nii.gz']
    """
    from flare_core.imaging.inputs import CHANNEL, TRUTH

    suffix = _suffix(out)
    if suffix:
        stem = out.name[: -len(suffix)].removesuffix(CHANNEL)
        names = f"{CHANNEL}{suffix}", f"{TRUTH}{suffix}", f"{TRUTH}.json"
        image, labels, facts = (out.with_name(stem + name) for name in names)
        return image, labels, facts
    name = f"phantom_{seed:04d}"
    return (
        out / "images" / f"{name}{CHANNEL}{SUFFIXES[0]}",
        out / "labels" / f"{name}{SUFFIXES[0]}",
        out / "truth" / f"{name}.json",
    )


def _settings(arguments: argparse.Namespace) -> PhantomSettings:
    """Turn parsed options into settings."""
    return PhantomSettings(
        seed=arguments.seed,
        spacing_mm=_spacing(arguments.spacing),
        field=arguments.field,
        phase=arguments.phase,
        noise_hu=arguments.noise,
        lesions=arguments.lesions,
        lesion_organs=_names(arguments.lesion_organs),
        lesion_sizes=_names(arguments.lesion_sizes),
        lesion_push=arguments.lesion_push,
        decoys=arguments.decoys,
        absent=_names(arguments.absent),
        oblique_degrees=arguments.oblique,
        table=not arguments.no_table,
    )


def _names(text: str) -> tuple[str, ...]:
    """Read names by comma.

    Examples
    --------
    >>> _names("liver, spleen"), _names("")
    (('liver', 'spleen'), ())
    """
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _spacing(text: str) -> tuple[float, float, float]:
    """Read ``"2.5,0.8,0.8"``.

    Raises
    ------
    InputError
        If these are not three numbers.
    """
    try:
        z, y, x = (float(part) for part in text.split(","))
    except ValueError as error:
        raise InputError(
            "--spacing",
            repr(text),
            "three numbers Z,Y,X in mm",
            "For example --spacing 2.5,0.8,0.8",
        ) from error
    return z, y, x
