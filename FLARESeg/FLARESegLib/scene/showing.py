"""From a run's labels to the scene: which organs, which segmentation, which facts go with it."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any

from flare_core.anatomy.organs import organ

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from FLARESegLib.run.run import Run


def show_steps(run: Run, labels: npt.NDArray[np.uint8]) -> Generator[float, None, Any]:
    """Put a run's labels into the scene in short steps; return the segmentation node.

    Without a segmentation node to update, the newest result for the volume is updated.
    """
    from FLARESegLib.scene.results import import_steps, result_of

    assert run.result is not None
    keys = dict.fromkeys(row["organ"] for row in run.result.rows)
    run.segmentationNode = run.segmentationNode or result_of(run.volumeNode)
    return (
        yield from import_steps(
            run.volumeNode,
            labels,
            [organ(key) for key in keys],
            segmentationNode=run.segmentationNode,
            facts={**run.result.provenance, "notes": list(run.result.notes)},
            lesions=run.result.lesions or (),
        )
    )
