"""The second look for bright lesions: around what is bright, and at the whole liver, in one run.

    python benchmarks/default_model/looks.py [MODEL] [--cases hcc002a,hcc006]

Scans of ../shared/data as they are. Each goes once through localiser, organs and first look; then
the second look runs both ways on what that saw, in turn and on one thread. A line for each scan
that is looked at again: the share of what the stage sees that it looks at, processor seconds, what
is found (mL), and the DSC of the two findings. No expert marked lesions in these scans.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from unittest import mock

import numpy as np
import numpy.typing as npt
import torch

from flare_core import Volume, read_volume
from flare_core.datasets.case import cases_of_folder
from flare_core.errors import NothingFound
from flare_core.models.package import load_package
from flare_core.segment import cascade, second_look
from flare_core.segment.cascade import Plan, Stages, load_stages, run_cascade
from flare_core.segment.lesion_edges import OrganHu
from flare_core.segment.lesions import connected
from flare_core.segment.runtime import choose_runtime
from flare_core.segment.stage import LoadedStage

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"

Mask = npt.NDArray[np.bool_]
Asked = tuple[LoadedStage, OrganHu, Mask]


def asked(image: Volume, stages: Stages) -> Asked | None:
    """Return what the second look is asked on a scan; None if nothing is to be looked at."""
    noted: list[Asked] = []

    def note(stage: LoadedStage, organs: OrganHu, first: Mask, **_: object) -> None:
        noted.append((stage, organs, first))

    with mock.patch.object(cascade, "bright_scores", note):
        run_cascade(image, stages, Plan(), lambda step, share: None)
    return noted[0] if noted else None


def looked(what: Asked, most_share: float) -> tuple[Mask, float, float]:
    """Return what is found (Z, Y, X), the share that is looked at and processor seconds."""
    shares: list[float] = []
    around = second_look._around

    def note(*given: object) -> object:
        box = around(*given)  # type: ignore[arg-type]
        shares.append(float(np.prod(box.shape)) / what[1].seen.mask.size)
        return box

    start = time.process_time()
    with (
        mock.patch.object(second_look, "MOST_SHARE", most_share),
        mock.patch.object(second_look, "_around", note),
    ):
        scores = second_look.bright_scores(*what)
    seconds = time.process_time() - start
    nothing = np.zeros(what[1].seen.mask.shape, np.bool_)
    found = nothing if scores is None else (scores > 0).numpy()
    return found, shares[0] if shares else 0.0, seconds


def tell(name: str, what: Asked) -> None:
    """Print a scan's line."""
    part, share, seconds = looked(what, second_look.MOST_SHARE)
    if not share:
        return
    whole, _, longer = looked(what, 0.0)
    both = np.count_nonzero(part) + np.count_nonzero(whole)
    dsc = 2 * np.count_nonzero(part & whole) / both if both else 1.0
    voxel_ml = what[1].seen.geometry.voxel_ml
    sizes = [
        ", ".join(f"{each.voxels * voxel_ml:.1f}" for each in connected(found)) or "nothing"
        for found in (part, whole)
    ]
    print(f"{name:12s} share {share:.2f}  {seconds:5.1f} s, {longer:5.1f} s  DSC {dsc:.2f}"
          f"  {sizes[0]} | {sizes[1]}", flush=True)  # fmt: skip


def main() -> None:
    """Print a line for each scan that is looked at again."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("model", nargs="?", default="default")
    parser.add_argument("--cases", default="", help="names, separated by commas; all without it")
    arguments = parser.parse_args()
    wanted = set(arguments.cases.split(",")) - {""}
    torch.set_num_threads(1)
    stages = load_stages(load_package(arguments.model), choose_runtime(threads=1))
    for case in cases_of_folder(DATA):
        if wanted and case.name not in wanted:
            continue
        try:
            what = asked(read_volume(case.image).canonical()[0], stages)
        except NothingFound:
            continue
        if what is not None:
            tell(case.name, what)


if __name__ == "__main__":
    main()
