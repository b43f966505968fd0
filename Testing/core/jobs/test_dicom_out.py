"""A run's result as DICOM: what others read from it is what was found, on the scan's own grid."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dicom_files import Series, place, write_series, write_slice
from drawn_files import AXES, write_ct
from flare_core.anatomy.organs import LESION, organ
from flare_core.datasets.exchange.drawn_labels import write_drawn_labels
from flare_core.errors import InputError, NothingFound
from flare_core.imaging.dicom.segmentation_out import SERIES_NUMBER
from flare_core.imaging.files import read_labels, read_volume, write_volume
from flare_core.imaging.inputs import CaseInput
from flare_core.imaging.volume import Volume
from flare_core.jobs import dicom_out
from flare_core.jobs.batch import plan_jobs
from flare_core.jobs.engine import Engine
from flare_core.jobs.one_case import Caller, run_case
from flare_core.jobs.outputs import (
    CaseSource,
    check_dicom,
    check_outputs,
    output_paths,
    write_outputs,
)
from flare_core.jobs.worker import job_of
from flare_core.segment.lesion_list import list_lesions
from flare_core.segment.pipeline import Segmentation
from flare_core.segment.settings import Settings
from flare_core.segment.statistics import organ_statistics

pytest.importorskip("highdicom")
pydicom = pytest.importorskip("pydicom")

LIVER, KIDNEY = organ("liver").id, organ("left_kidney").id
FACTS = {"model": "flare-abdomen", "model_version": "1.2", "flareseg_version": "0.1.0"}


def result(folder: Path, series: str | None = None) -> tuple[Volume, Segmentation]:
    """Return a scan and labels with a gap, two lesions and an organ at the edge."""
    image = read_volume(folder, series=series)
    labels = np.zeros(image.array.shape, np.uint8)
    labels[1:5, 8:20, 8:20] = LIVER
    labels[7, 9:20, 8:21] = LIVER
    labels[3:9, 22:29, 22:31] = KIDNEY
    labels[2:4, 10:14, 11:14] = LESION.id
    labels[7, 12:14, 12:16] = LESION.id
    found = Volume(labels, image.geometry)
    rows = organ_statistics(image, found)
    return image, Segmentation(found, rows, {}, FACTS, (), list_lesions(image, found))


def written(folder: Path, ct: Path, outputs: tuple[str, ...], series: str | None = None):
    """Write DICOM outputs of `result` and return it and the files."""
    image, found = result(ct, series)
    folder.mkdir()
    paths = output_paths(folder, "x").files(outputs)
    write_outputs(paths, image, found, CaseSource("x", ct, {}, series=series))
    return found, paths


def labels_of(path: Path, shape: tuple[int, ...], slices: list[str]) -> np.ndarray:
    """Return segment numbers (Z, Y, X) as a stranger reads them: by pydicom, slice by its UID."""
    read = pydicom.dcmread(path)
    labels = np.zeros(shape, np.uint8)
    for own, pixels in zip(read.PerFrameFunctionalGroupsSequence, read.pixel_array, strict=True):
        source = own.DerivationImageSequence[0].SourceImageSequence[0]
        z = slices.index(source.ReferencedSOPInstanceUID)
        number = own.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        assert not labels[z][pixels > 0].any()
        labels[z][pixels > 0] = number
    return labels


def slice_uids(ct: Path, found: Segmentation) -> list[str]:
    """Return the SOP instance UIDs of a series in the order of its volume."""
    placed = {}
    for path in ct.iterdir():
        header = pydicom.dcmread(path, stop_before_pixels=True)
        z = found.labels.geometry.lps_to_voxel(header.ImagePositionPatient)[0]
        placed[round(z)] = str(header.SOPInstanceUID)
    return [placed[z] for z in sorted(placed)]


@pytest.mark.parametrize("way", AXES)
@pytest.mark.parametrize("step_mm", [2.5, -2.5])
def test_segments_are_the_labels_slice_by_slice(tmp_path, way, step_mm):
    write_ct(tmp_path / "ct", way, step_mm=step_mm)
    found, paths = written(tmp_path / "out", tmp_path / "ct", ("dicom-seg",))
    labels = found.labels.array
    numbers = labels_of(paths["dicom_seg"], labels.shape, slice_uids(tmp_path / "ct", found))
    assert np.array_equal(numbers == 1, labels == LIVER)
    assert np.array_equal(numbers == 2, labels == KIDNEY)
    assert np.array_equal(numbers >= 3, labels == LESION.id)
    assert set(np.unique(numbers)) == {0, 1, 2, 3, 4}


def test_slices_a_little_beside_one_another_come_back_as_they_were(tmp_path):
    """Such a series is read with a note; its own segmentation was refused."""
    write_ct(tmp_path / "ct", "axial")
    for path in (tmp_path / "ct").iterdir():
        header = pydicom.dcmread(path)
        x, y, z = map(float, header.ImagePositionPatient)
        header.ImagePositionPatient = [x, y + 0.03 * (z + 300), z]
        header.save_as(path)
    found, paths = written(tmp_path / "out", tmp_path / "ct", ("dicom-seg",))
    scan, target = tmp_path / "scan.nii.gz", tmp_path / "labels.nii.gz"
    write_volume(scan, read_volume(tmp_path / "ct"))
    drawn = write_drawn_labels(paths["dicom_seg"], scan, target)
    assert np.array_equal(read_labels(target).array, found.labels.array)
    assert any("each was taken as its slice" in note for note in drawn.notes)


def test_highdicom_finds_the_same_volume_in_space(tmp_path):
    import highdicom

    write_ct(tmp_path / "ct", "oblique", step_mm=-2.5)
    found, paths = written(tmp_path / "out", tmp_path / "ct", ("dicom-seg",))
    volume = highdicom.seg.segread(paths["dicom_seg"]).get_volume(combine_segments=True)
    place = found.labels.geometry
    voxels = np.argwhere(volume.array == 2)
    lps = volume.map_indices_to_reference(voxels)
    ours = np.rint(place.lps_to_voxel(lps)).astype(int)
    assert np.abs(place.lps_to_voxel(lps) - ours).max() < 0.01
    there = np.zeros(place.shape, bool)
    there[tuple(ours.T)] = True
    assert np.array_equal(there, found.labels.array == KIDNEY)


def test_what_the_segments_say_of_themselves(tmp_path):
    series = write_ct(tmp_path / "ct")
    found, paths = written(tmp_path / "out", tmp_path / "ct", ("dicom-seg",))
    read = pydicom.dcmread(paths["dicom_seg"])
    assert (read.SegmentationType, read.BitsAllocated, read.Modality) == ("BINARY", 1, "SEG")
    assert read.SeriesNumber == SERIES_NUMBER
    assert read.PatientID == "phantom"
    assert read.ReferencedSeriesSequence[0].SeriesInstanceUID == series.uid
    assert len(read.ReferencedSeriesSequence[0].ReferencedInstanceSequence) == 9
    liver, kidney, *lesions = read.SegmentSequence
    assert [s.SegmentLabel for s in lesions] == ["Lesion 1", "Lesion 2"]
    assert (kidney.SegmentedPropertyTypeCodeSequence[0].CodeValue) == "64033007"
    side = kidney.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence
    assert side[0].CodeMeaning == "Left"
    algorithm = liver.SegmentationAlgorithmIdentificationSequence[0]
    assert (algorithm.AlgorithmName, algorithm.AlgorithmVersion) == ("flare-abdomen", "1.2")
    assert [s.AnatomicRegionSequence[0].CodeMeaning for s in lesions] == ["Liver", "Liver"]
    assert len({s.TrackingUID for s in read.SegmentSequence}) == 4
    assert len(found.lesions) == 2


def test_the_report_says_the_same_numbers_about_the_same_segments(tmp_path):
    import highdicom

    write_ct(tmp_path / "ct")
    found, paths = written(tmp_path / "out", tmp_path / "ct", ("dicom-seg", "dicom-sr"))
    segmentation = pydicom.dcmread(paths["dicom_seg"])
    report = highdicom.sr.srread(paths["dicom_sr"])
    groups = report.content.get_volumetric_roi_measurement_groups()
    assert len(groups) == 4
    values = {}
    for group, segment in zip(groups, segmentation.SegmentSequence, strict=True):
        assert group.tracking_uid == segment.TrackingUID
        drawn = group.referenced_segment
        assert drawn.referenced_sop_instance_uid == segmentation.SOPInstanceUID
        assert drawn[0].referenced_segment_numbers == [segment.SegmentNumber]
        for each in group.get_measurements():
            values[group.tracking_identifier, each.name.meaning] = (each.value, each.unit.value)
    rows = {(row.organ, row.measure): row.value for row in found.rows}
    assert values["Liver", "Volume"] == (pytest.approx(rows["liver", "volume"], abs=5e-4), "mL")
    less = rows["liver", "volume_without_lesions"]
    assert values["Liver", "Volume without lesions"][0] == pytest.approx(less, abs=5e-4)
    assert ("Left kidney", "Volume without lesions") not in values
    assert values["Left kidney", "Attenuation Coefficient"] == (pytest.approx(40), "[hnsf'U]")
    for lesion in found.lesions:
        long_mm, unit = values[f"Lesion {lesion.number}", "Long Axis"]
        assert (long_mm, unit) == (pytest.approx(lesion.long_axis_mm, abs=5e-4), "mm")
        short_mm = values[f"Lesion {lesion.number}", "Short Axis"][0]
        assert short_mm == pytest.approx(lesion.short_axis_mm, abs=5e-4)
    cut = [
        group.tracking_identifier
        for group in groups
        if any(each.name.value == "CUT" for each in group.get_qualitative_evaluations())
    ]
    assert cut == ["Left kidney"]
    assert len({segmentation.SOPInstanceUID, report.SOPInstanceUID}) == 2


@pytest.mark.parametrize(
    ("charset", "name"),
    [
        (r"\ISO 2022 IR 87", "Yamada^Tarou=山田^太郎=やまだ^たろう"),
        (r"\ISO 2022 IR 149", "Hong^Gildong=洪^吉洞=홍^길동"),
        ("ISO_IR 100", "Müller^Jörg"),
    ],
)
def test_names_in_the_alphabets_of_hospitals(tmp_path, charset, name):
    """The first is what every Japanese scanner writes; highdicom does not take it as it is."""
    codes = charset.split("\\")
    changes = [(0x0008, 0x0005, "CS", charset)]
    for element in ((0x0010, 0x0010), (0x0008, 0x0090)):
        text = pydicom.valuerep.PersonName(name).encode(pydicom.charset.convert_encodings(codes))
        changes.append((*element, "PN", text))
    stack = np.full((9, 37, 41), 1064, np.uint16)
    write_series(tmp_path / "ct", stack, replace(Series(), changes=tuple(changes)))
    _, files = written(tmp_path / "out", tmp_path / "ct", ("dicom-seg", "dicom-sr"))
    for kind in ("dicom_seg", "dicom_sr"):
        read = pydicom.dcmread(files[kind])
        assert str(read.PatientName) == str(read.ReferringPhysicianName) == name


def test_one_series_of_several_in_a_folder(tmp_path):
    write_ct(tmp_path / "ct" / "a")
    other = write_ct(tmp_path / "ct" / "b", number=2)
    _, paths = written(tmp_path / "out", tmp_path / "ct", ("dicom-seg",), other.uid)
    read = pydicom.dcmread(paths["dicom_seg"])
    assert read.ReferencedSeriesSequence[0].SeriesInstanceUID == other.uid


def test_a_series_without_what_is_needed_leaves_nothing(tmp_path):
    shared = replace(Series(), changes=((0x0008, 0x0018, "UI", "1.2.3"),))
    write_series(
        tmp_path / "ct", np.arange(9 * 37 * 41, dtype=np.uint16).reshape(9, 37, 41), shared
    )
    with pytest.raises(InputError, match="share a SOP instance UID"):
        written(tmp_path / "out", tmp_path / "ct", ("dicom-seg", "labels"))
    assert not [*(tmp_path / "out").iterdir()]


def test_nothing_found_is_no_object(tmp_path):
    write_ct(tmp_path / "ct")
    image, found = result(tmp_path / "ct")
    nothing = Segmentation(image.with_array(np.zeros(image.array.shape, np.uint8)), (), {}, {})
    with pytest.raises(NothingFound):
        dicom_out.content_of(image, nothing)
    assert dicom_out.content_of(image, found).labels.max() == 4


def test_lesions_are_counted_again_where_the_list_has_others(tmp_path):
    write_ct(tmp_path / "ct")
    image, found = result(tmp_path / "ct")
    bare = Segmentation(found.labels, found.rows, {}, FACTS)
    again = dicom_out.content_of(image, bare)
    assert [g.segment.label for g in again.groups[2:]] == ["Lesion 1", "Lesion 2"]
    assert again.groups[2].numbers == dicom_out.content_of(image, found).groups[2].numbers


def test_only_for_dicom_series(tmp_path):
    (tmp_path / "ct").mkdir()
    check_dicom(("dicom-seg",), [tmp_path / "ct"])
    check_dicom(("labels",), [tmp_path / "a.nii.gz"])
    with pytest.raises(InputError, match="no DICOM series") as caught:
        check_dicom(("labels", "dicom-sr"), [tmp_path / "ct", tmp_path / "a.nii.gz"])
    assert caught.value.parts[0] == "--outputs dicom-sr"


def test_a_missing_package_is_told_with_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr("flare_core.imaging.dicom.extra.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"flareseg\[dicom\]"):
        check_dicom(("dicom-seg",), [tmp_path])


def test_a_run_writes_them_for_the_series_it_read(tmp_path):
    write_ct(tmp_path / "ct" / "a")
    other = write_ct(tmp_path / "ct" / "b", number=2)
    outputs = check_outputs(["labels", "dicom-sr"])
    (job,) = plan_jobs([CaseInput("x", tmp_path / "ct", other.uid)], tmp_path, outputs=outputs)
    engine = Engine(
        read=lambda path, series: read_volume(path, series=series),
        preload=lambda settings: None,
        segment=lambda image, *_: result(tmp_path / "ct", other.uid)[1],
    )
    files = run_case(job, Settings(), engine, Caller()).files
    assert [path.name for path in files.values()] == ["x_seg.dcm", "x_sr.dcm", "x.nii.gz"]
    read = pydicom.dcmread(files["dicom_seg"])
    assert read.ReferencedSeriesSequence[0].SeriesInstanceUID == other.uid
    assert pydicom.dcmread(files["dicom_sr"]).SOPClassUID == "1.2.840.10008.5.1.4.1.1.88.33"


def test_batch_and_worker_refuse_before_anything_is_computed(tmp_path):
    scan = tmp_path / "a.nii.gz"
    scan.write_bytes(b"")
    with pytest.raises(InputError, match="no DICOM series"):
        plan_jobs([CaseInput("a", scan)], tmp_path / "out", outputs=("dicom-seg",))
    asked = {"input": str(scan), "output": str(tmp_path / "out"), "outputs": ["dicom-seg"]}
    with pytest.raises(InputError, match="no DICOM series"):
        job_of(asked)


@pytest.mark.parametrize(
    ("element", "words"),
    [((0x0008, 0x0018), "share a SOP instance UID"), ((0x0020, 0x0052), "2 frames of reference")],
)
def test_a_series_that_cannot_be_referred_to_is_not_segmented(tmp_path, element, words):
    shared = replace(Series(), changes=((*element, "UI", "1.2.3"),))
    stack = np.arange(9 * 37 * 41, dtype=np.uint16).reshape(9, 37, 41)
    paths = write_series(tmp_path / "ct", stack, shared)
    if "frames" in words:
        other = replace(Series(), changes=((*element, "UI", "1.2.4"),))
        write_slice(paths[0], stack[0], place(0), other)
    jobs = plan_jobs([CaseInput("x", tmp_path / "ct")], tmp_path, outputs=("labels", "dicom-seg"))
    engine = Engine(
        read=lambda path, series: read_volume(path),
        preload=lambda settings: None,
        segment=lambda *_: pytest.fail("it was segmented"),
    )
    with pytest.raises(InputError, match=words):
        run_case(jobs[0], Settings(), engine, Caller())
