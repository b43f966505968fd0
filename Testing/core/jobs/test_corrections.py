from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import fake_engine
from flare_core.errors import Cancelled, InputError
from flare_core.imaging.files import read_labels, write_volume
from flare_core.imaging.geometry import Geometry
from flare_core.imaging.volume import Volume
from flare_core.jobs.corrections import LastScores, correct, correction_of
from flare_core.segment.belief import ClassScores
from flare_core.segment.settings import Settings

GRID = Geometry((12, 40, 40), (4.0, 2.0, 2.0))
LIVER = np.zeros(GRID.shape, bool)
LIVER[3:10, 8:32, 6:30] = True


def never() -> bool:
    return False


def whatever() -> None:
    """Writing may begin."""


@pytest.fixture
def request_of(tmp_path):
    """A function that writes a scan, half a liver and a stroke: ``(**fields) -> request``."""
    noise = np.random.default_rng(0).normal(0, 8, GRID.shape)
    scan = Volume((np.where(LIVER, 100, -90) + noise).astype(np.int16), GRID)
    half = LIVER.astype(np.uint8)
    half[:, :18] = 0
    strokes = np.zeros(GRID.shape, np.uint8)
    strokes[6, 11:14, 10:26] = 1
    write_volume(tmp_path / "image.nrrd", scan)
    write_volume(tmp_path / "labels.nrrd", Volume(half, GRID))
    write_volume(tmp_path / "strokes.nrrd", Volume(strokes, GRID))

    def make(**fields):
        paths = {name: str(tmp_path / f"{name}.nrrd") for name in ("image", "labels", "strokes")}
        output = str(tmp_path / "after.nrrd")
        return {**paths, "organ": "liver", "output": output, **fields}

    return make


def run(request, last=None, engine=fake_engine.FAKE, cancelled=never, commit=whatever):
    job = correction_of(request)
    return correct(job, Settings(), engine, last or LastScores(), cancelled, commit)


def test_labels_are_corrected_and_the_program_is_told_where(request_of) -> None:
    told = run(request_of())
    before, after = (read_labels(request_of()[name]).array for name in ("labels", "output"))
    assert told["file"] == request_of()["output"] and not told["with_scores"]
    assert told["added"] == np.count_nonzero((after == 1) & (before != 1)) > 500
    assert told["removed"] == np.count_nonzero((before == 1) & (after != 1))
    start, stop = told["box"]
    changed = np.argwhere(before != after)
    assert (changed.min(axis=0) == start).all() and (changed.max(axis=0) + 1 == stop).all()
    assert 0 < told["seconds"] < 60


def test_scores_of_the_last_run_are_used_and_of_no_other(request_of, tmp_path) -> None:
    last = LastScores()
    likely = np.stack([~LIVER, LIVER]).astype(np.float16)
    last.remember(tmp_path / "gone.nrrd", ClassScores(likely, (0, 1), GRID))
    assert run(request_of(scan=str(tmp_path / "gone.nrrd")), last)["with_scores"]
    assert not run(request_of(scan=str(tmp_path / "other.nrrd")), last)["with_scores"]
    last.remember(tmp_path / "other.nrrd", None)
    assert not run(request_of(scan=str(tmp_path / "gone.nrrd")), last)["with_scores"]


def test_scores_that_are_gone_are_worked_out_anew_if_asked(request_of) -> None:
    asked = []

    def segment(image, settings, on_progress, cancelled):
        asked.append(image)
        found = fake_engine.segment(image, settings, on_progress, cancelled)
        likely = np.stack([~LIVER, LIVER]).astype(np.float16)
        return replace(found, scores=ClassScores(likely, (0, 1), GRID))

    engine, last = replace(fake_engine.FAKE, segment=segment), LastScores()
    assert not run(request_of(), last, engine)["with_scores"] and not asked
    assert run(request_of(recompute=True), last, engine)["with_scores"] and len(asked) == 1
    assert run(request_of(recompute=True), last, engine)["with_scores"] and len(asked) == 1


def test_protected_organs_keep_their_voxels(request_of) -> None:
    labels = read_labels(request_of()["labels"])
    labels.array[3:10, 8:12, 6:30] = 3
    write_volume(request_of()["labels"], labels)
    run(request_of(protected=["spleen"]))
    after = read_labels(request_of()["output"]).array
    assert (after[labels.array == 3] == 3).all()


def test_nothing_is_written_for_a_program_that_no_longer_wants_it(request_of, tmp_path) -> None:
    with pytest.raises(Cancelled):
        run(request_of(), cancelled=lambda: True)
    assert not (tmp_path / "after.nrrd").exists()


def test_what_cannot_be_used_is_said(request_of, tmp_path) -> None:
    with pytest.raises(InputError, match="no input"):
        correction_of(request_of(output=request_of()["labels"]))
    with pytest.raises(InputError, match="organ"):
        correction_of(request_of(organ="toe"))
    small = GRID.with_shape((6, 20, 20))
    write_volume(tmp_path / "small.nrrd", Volume(np.ones(small.shape, np.uint8), small))
    with pytest.raises(InputError, match="grid"):
        run(request_of(strokes=str(tmp_path / "small.nrrd")))
