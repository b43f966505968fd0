"""Folders of tiny label maps to evaluate."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from flare_core.evaluate.evaluate import Evaluation, Files, evaluate_folders
from flare_core.evaluate.protocols import Mode, edition
from flare_core.evaluate.scoring import ScoringRules
from flare_core.imaging.files import write_labels
from flare_core.imaging.geometry import Geometry
from flare_core.imaging.volume import Volume

SHAPE = (6, 8, 10)
GRID = Geometry(SHAPE, (3.0, 2.0, 1.0), origin_mm=(-20.0, 5.0, 100.0))


def labels(**blocks: tuple[int, int, int, int]) -> np.ndarray:
    """A map with a block for each ``v5=(z0, z1, x0, x1)``: label 5, y from 2 to 5."""
    array = np.zeros(SHAPE, np.uint8)
    for name, (z0, z1, x0, x1) in blocks.items():
        array[z0:z1, 2:6, x0:x1] = int(name[1:])
    return array


def write_case(folder: Path, name: str, array: np.ndarray, grid: Geometry = GRID) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.nii.gz"
    write_labels(path, Volume(array, grid.with_shape(array.shape) if grid is GRID else grid))
    return path


def scored(
    root: Path, key: str = "flare22", mode: Mode = "official", files: Files | None = None
) -> Evaluation:
    """Evaluate ``root/pred`` against ``root/ref``."""
    rules = ScoringRules(edition(key), mode)
    return evaluate_folders(root / "pred", root / "ref", rules, files or Files())


def value(found: Evaluation, case: str, organ: str, metric: str = "dsc") -> float:
    (number,) = [
        row.value
        for row in found.rows
        if (row.case, row.organ, row.metric) == (case, organ, metric)
    ]
    return number
