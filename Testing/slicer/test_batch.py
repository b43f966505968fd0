from __future__ import annotations

import csv
import importlib.util
import shutil
import subprocess
import sys

import numpy as np
import pytest
from FLARESegLib.logic import FLARESegLogic
from FLARESegLib.run import batch_cases
from process_double import ROOT, node_of

from flare_core.errors import InputError
from flare_core.imaging.files import read_labels, write_volume

pytest_plugins = ["process_fixtures"]

SCRIPT = ROOT / "FLARESeg" / "batch.py"


@pytest.fixture(scope="module")
def batch():
    """The script as a module."""
    spec = importlib.util.spec_from_file_location("flareseg_batch", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules["flareseg_batch"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def run(batch, place, stub_model):
    """A function that runs the batch on these words with the stub model; returns the exit code."""

    def go(*words):
        fixed = ["--model", stub_model, "--device", "cpu"]
        return batch.main([*map(str, words), *fixed], FLARESegLogic(workplace=place))

    return go


@pytest.fixture
def scans(tmp_path, stub_scan):
    """A folder with a NIfTI and an NRRD of the scan."""
    folder = tmp_path / "scans with spaces ü"
    folder.mkdir()
    write_volume(folder / "one_0000.nii.gz", stub_scan[0])
    write_volume(folder / "two.nrrd", stub_scan[0])
    return folder


def scene_file(path, volumes):
    """Write volumes into a Slicer scene file."""
    import slicer

    scene = slicer.vtkMRMLScene()
    for name, volume in volumes.items():
        node = node_of(scene, volume, name)
        node.AddDefaultStorageNode()
    assert scene.WriteToMRB(str(path))


def rows_of(path):
    with open(path, encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_a_folder_of_images(run, scans, stub_scan, tmp_path, capsys):
    out = tmp_path / "out"
    (scans / "bad.nii.gz").write_bytes(b"nothing")
    assert run(scans, out) == 1
    names = {path.name for path in out.iterdir()}
    assert names == {
        "all_cases.csv",
        *(f"{case}{end}" for case in ("one", "two")
          for end in (".seg.nrrd", ".nii.gz", "_statistics.csv")),
    }  # fmt: skip
    labels = read_labels(out / "one.nii.gz")
    assert labels.geometry.same_grid(stub_scan[0].geometry)
    assert set(np.unique(labels.array)) == {0, 1, 3}
    rows = rows_of(out / "all_cases.csv")
    assert list(rows[0]) == ["case", "organ", "measure", "value", "unit", "note"]
    assert {row["case"] for row in rows} == {"one", "two"}
    liver = [r for r in rows if (r["organ"], r["measure"]) == ("liver", "volume")]
    assert len({row["value"] for row in liver}) == 1
    assert {row["unit"] for row in liver} == {"mL"}
    told = capsys.readouterr()
    assert "[1/3] bad" in told.out
    assert "2 segmented, 0 skipped, 1 failed." in told.out
    assert "Failed: bad" in told.err


def test_the_segmentation_file_has_names_codes_and_pinned_values(run, scans, tmp_path):
    import slicer

    assert run(scans / "two.nrrd", tmp_path / "out", "--organs", "liver,spleen") == 0
    scene = slicer.vtkMRMLScene()
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    storage = slicer.vtkMRMLSegmentationStorageNode()
    scene.AddNode(storage)
    storage.SetFileName(str(tmp_path / "out" / "two.seg.nrrd"))
    assert storage.ReadData(node)
    segmentation = node.GetSegmentation()
    found = {}
    for number in range(segmentation.GetNumberOfSegments()):
        segment = segmentation.GetNthSegment(number)
        found[segment.GetName()] = (segment.GetLabelValue(), segment.GetTerminology())
    assert {name: value for name, (value, _) in found.items()} == {"Liver": 1, "Spleen": 3}
    assert "10200004" in found["Liver"][1]


def test_done_cases_are_skipped_and_overwritten_on_request(run, scans, tmp_path, capsys):
    out = tmp_path / "out"
    assert run(scans, out) == 0
    mark = out / "one.seg.nrrd"
    before = mark.stat().st_mtime_ns
    (out / "two_statistics.csv").unlink()
    assert run(scans, out) == 0
    assert mark.stat().st_mtime_ns == before
    assert "1 segmented, 1 skipped" in capsys.readouterr().out
    assert {row["case"] for row in rows_of(out / "all_cases.csv")} == {"one", "two"}
    assert run(scans, out, "--overwrite") == 0
    assert mark.stat().st_mtime_ns > before


def test_scenes_give_every_ct_in_them(run, scans, stub_scan, tmp_path, capsys):
    image = stub_scan[0]
    noise = np.random.default_rng(0).random(image.array.shape, np.float32)
    mr = image.with_array(noise)
    scene_file(scans / "single.mrb", {"CT of today": image, "an MR": mr})
    scene_file(scans / "double.mrb", {"venous phase": image, "arterial/phase": image})
    scene_file(scans / "none.mrb", {"an MR": mr})
    out = tmp_path / "out"
    assert run(scans / "single.mrb", scans / "double.mrb", scans / "none.mrb", out) == 1
    done = {path.name for path in out.glob("*.seg.nrrd")}
    assert done == {
        "single.seg.nrrd", "double_venous_phase.seg.nrrd", "double_arterial_phase.seg.nrrd",
    }  # fmt: skip
    told = capsys.readouterr()
    assert "none: failed" in told.err
    assert "an MR" in told.err
    assert run(scans / "double.mrb", out) == 0
    assert "0 segmented, 2 skipped" in capsys.readouterr().out


def test_a_dicom_folder(run, stub_scan, tmp_path):
    from dicom_files import Series, write_series

    folder = tmp_path / "PATIENT"
    folder.mkdir()
    stored = (stub_scan[0].array + 1024).astype(np.uint16)
    write_series(folder, stored, Series(spacing=(3.0, 3.0)), step=(0.0, 0.0, 4.0))
    assert run(folder, tmp_path / "out") == 0
    assert (tmp_path / "out" / "PATIENT.seg.nrrd").is_file()


def test_what_cannot_be_used_is_exit_code_2(run, scans, tmp_path, capsys):
    assert run(tmp_path / "absent", tmp_path / "out") == 2
    (tmp_path / "empty").mkdir()
    assert run(tmp_path / "empty", tmp_path / "out") == 2
    assert run(scans) == 2
    assert run(scans, tmp_path / "out", "--devise", "cpu") == 2
    assert run(scans / "two.nrrd", tmp_path / "out", "--organs", "livr") == 2
    (tmp_path / "file").write_text("")
    assert run(scans, tmp_path / "file" / "out") == 2
    assert run("--help") == 0
    assert "INPUT" in capsys.readouterr().out


def test_inputs_are_never_written_over(run, stub_scan, tmp_path, capsys):
    scan = tmp_path / "ct.nii.gz"
    write_volume(scan, stub_scan[0])
    before = scan.read_bytes()
    assert run(scan, tmp_path) == 2
    assert scan.read_bytes() == before
    assert "would replace an input" in capsys.readouterr().err
    assert not (tmp_path / "ct.seg.nrrd").exists()


def test_own_results_are_no_inputs_and_equal_names_are_told_apart(scans, tmp_path):
    (scans / "one.seg.nrrd").write_bytes(b"")
    assert [case.name for case in batch_cases.find_cases([scans])] == ["one", "two"]
    other = tmp_path / "other"
    shutil.copytree(scans, other)
    names = [case.name for case in batch_cases.find_cases([scans / "two.nrrd", other / "two.nrrd"])]
    assert names == ["scans with spaces ü_two", "other_two"]
    with pytest.raises(InputError, match="2 cases"):
        batch_cases.find_cases([other / "two.nrrd", other / "two.nrrd"])


def test_slicers_own_words_are_left_out(batch):
    words = ["Slicer", "--no-splash", "--python-script", "b.py", "--", "in", "out", "--fast"]
    assert batch.words_for_us(words) == ["in", "out", "--fast"]
    assert batch.words_for_us(["b.py", "in", "out"]) == ["in", "out"]


def test_as_a_script_in_another_folder(tmp_path, scans):
    """The whole way: own process, own worker, the model that comes with the program."""
    done = subprocess.run(
        [sys.executable, SCRIPT, tmp_path / "absent", tmp_path / "out"],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 2
    assert "absent" in done.stderr
    assert "Traceback" not in done.stderr
