"""``flare phantom``: write synthetic abdominal CT scans with known truth."""

from __future__ import annotations

import argparse
from dataclasses import asdict, replace
from pathlib import Path

from flare_core.atomic import write_json
from flare_core.datasets.phantom import FIELDS_MM, PHASES, PhantomSettings, make_phantom
from flare_core.errors import InputError
from flare_core.imaging.files import write_labels, write_volume

NAME = "phantom"
HELP = "make synthetic abdominal CT scans with known truth"

SUFFIX = ".nii.gz"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``flare phantom``."""
    default = PhantomSettings()
    parser.add_argument(
        "out",
        type=Path,
        metavar="OUT",
        help="a file OUT.nii.gz for one case, or a folder for FLARE's images/ and labels/",
    )
    parser.add_argument("--seed", type=int, default=0, help="the person (default: 0)")
    parser.add_argument(
        "--spacing",
        default=",".join(f"{s:g}" for s in default.spacing_mm),
        metavar="Z,Y,X",
        help="voxel spacing in mm (default: %(default)s)",
    )
    parser.add_argument("--field", default=default.field, choices=sorted(FIELDS_MM))
    parser.add_argument("--phase", default=default.phase, choices=PHASES)
    parser.add_argument("--noise", type=float, default=default.noise_hu, metavar="HU")
    parser.add_argument("--lesions", type=int, default=0, metavar="N", help="lesions in the liver")
    parser.add_argument("--absent", default="", metavar="ORGANS", help="removed organs, by comma")
    parser.add_argument("--oblique", type=float, default=0.0, metavar="DEGREES")
    parser.add_argument("--no-table", action="store_true", help="leave the CT table out")
    parser.add_argument(
        "--count", type=int, default=1, metavar="N", help="persons: seed, seed+1, ..."
    )


def run(arguments: argparse.Namespace) -> int:
    """Make the phantoms and write image, truth and settings of each."""
    first = _settings(arguments)
    if arguments.count < 1:
        raise InputError("--count", str(arguments.count), "1 or more", "Ask for one case at least.")
    for number in range(arguments.count):
        settings = replace(first, seed=first.seed + number)
        image, labels, facts = _paths(arguments.out, settings.seed, arguments.count)
        _write(settings, image, labels, facts)
        print(image)
    return 0


def _write(settings: PhantomSettings, image: Path, labels: Path, facts: Path) -> None:
    """Make one phantom and write its three files."""
    case = make_phantom(settings)
    for path in (image, labels, facts):
        path.parent.mkdir(parents=True, exist_ok=True)
    write_volume(image, case.image)
    write_labels(labels, case.labels)
    write_json(facts, {"settings": asdict(settings), "volume_ml": case.truth})


def _paths(out: Path, seed: int, count: int) -> tuple[Path, Path, Path]:
    """Return where image, truth and settings of one case go.

    Examples
    --------
    >>> [str(p) for p in _paths(Path("a/demo.nii.gz"), 0, 1)]
    ['a/demo_0000.nii.gz', 'a/demo_truth.nii.gz', 'a/demo_truth.json']
    >>> [str(p) for p in _paths(Path("set"), 7, 2)][:2]
    ['set/images/phantom_0007_0000.nii.gz', 'set/labels/phantom_0007.nii.gz']
    """
    if count == 1 and out.name.endswith(SUFFIX):
        stem = out.name[: -len(SUFFIX)].removesuffix("_0000")
        return tuple(
            out.with_name(stem + end)
            for end in ("_0000" + SUFFIX, "_truth" + SUFFIX, "_truth.json")
        )  # type: ignore[return-value]
    name = f"phantom_{seed:04d}"
    return (
        out / "images" / f"{name}_0000{SUFFIX}",
        out / "labels" / f"{name}{SUFFIX}",
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
        absent=tuple(name.strip() for name in arguments.absent.split(",") if name.strip()),
        oblique_degrees=arguments.oblique,
        table=not arguments.no_table,
    )


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
