from __future__ import annotations

import threading

import numpy as np
import pytest
import vtk
from FLARESegLib.run.exchange import write_raw
from FLARESegLib.scene import volumes
from FLARESegLib.scene.volumes import (
    check_input,
    copy_steps,
    finish,
    node_geometry,
    node_volume,
)

import slicer
from flare_core.errors import Cancelled, InputError
from flare_core.imaging.files import read_volume

SPACING = np.diag([0.8, 0.9, 2.5, 1.0])


def write(path, volume):
    """As a run does for its worker."""
    write_raw(path, volume.array, volume.geometry, threading.Event())


def turned(degrees, axis="z"):
    """A rotation about an axis, 4 x 4."""
    angle = np.radians(degrees)
    a, b = {"z": (0, 1), "y": (0, 2), "x": (1, 2)}[axis]
    matrix = np.eye(4)
    matrix[[a, b], [a, b]] = np.cos(angle)
    matrix[a, b], matrix[b, a] = -np.sin(angle), np.sin(angle)
    return matrix


def moved(*mm):
    matrix = np.eye(4)
    matrix[:3, 3] = mm
    return matrix


PLACES = {
    "RAS": moved(-100, -120, 40) @ SPACING,
    "LPS": moved(100, 120, 40) @ np.diag([-1, -1, 1, 1]) @ SPACING,
    "left-handed": moved(10, 20, 30) @ np.diag([-1, 1, 1, 1]) @ SPACING,
    "sagittal": moved(5, 6, 7) @ np.eye(4)[[2, 0, 1, 3]] @ SPACING,
    "coronal, flipped": moved(5, 6, 7) @ np.eye(4)[[0, 2, 1, 3]] @ np.diag([1, 1, -1, 1]) @ SPACING,
    "oblique": moved(-50, 3, 9) @ turned(10) @ turned(-7, "x") @ SPACING,
}


def lps_of(matrix, index_zyx):
    """Where a voxel is in LPS, straight from the matrix."""
    x, y, z = index_zyx[::-1]
    return (np.diag([-1, -1, 1, 1]) @ matrix @ (x, y, z, 1))[:3]


@pytest.mark.parametrize("place", PLACES)
def test_every_voxel_is_where_the_matrix_says(add_volume, place):
    array = np.arange(4 * 5 * 6, dtype=np.int16).reshape(4, 5, 6) - 60
    volume = node_volume(add_volume(array, PLACES[place]))
    assert np.array_equal(volume.array, array)
    for index in ((0, 0, 0), (3, 4, 5), (1, 0, 5), (2, 4, 1)):
        expected = lps_of(PLACES[place], index)
        assert volume.geometry.voxel_to_lps(index) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("place", PLACES)
def test_the_file_for_the_worker_is_the_volume(add_volume, tmp_path, place):
    array = np.arange(4 * 5 * 6, dtype=np.int16).reshape(4, 5, 6) - 60
    node = add_volume(array, PLACES[place])
    path = tmp_path / "ct.nrrd"
    write(path, node_volume(node))
    read = read_volume(path)
    assert np.array_equal(read.array, array)
    assert read.geometry.same_grid(node_geometry(node), tolerance_mm=1e-3)


@pytest.mark.parametrize("place", PLACES)
def test_linear_transforms_move_the_patient(add_volume, add_transform, place):
    node = add_volume(np.zeros((4, 5, 6), np.int16), PLACES[place])
    inner = turned(30, "y") @ moved(10, -20, 5)
    transform = add_transform(node, inner)
    outer = moved(1, 2, 3) @ turned(-15)
    add_transform(transform, outer)
    geometry = node_geometry(node)
    for index in ((0, 0, 0), (3, 4, 5)):
        expected = lps_of(outer @ inner @ PLACES[place], index)
        assert geometry.voxel_to_lps(index) == pytest.approx(expected, abs=1e-9)
    assert geometry.spacing_mm == pytest.approx((2.5, 0.9, 0.8))


def test_a_scaling_transform_changes_the_spacing_and_a_mirror_is_kept(add_volume, add_transform):
    node = add_volume(np.zeros((4, 5, 6), np.int16), PLACES["RAS"])
    add_transform(node, np.diag([-2.0, 1.5, 1.0, 1.0]))
    geometry = node_geometry(node)
    assert geometry.spacing_mm == pytest.approx((2.5, 1.35, 1.6))
    expected = lps_of(np.diag([-2.0, 1.5, 1.0, 1.0]) @ PLACES["RAS"], (3, 4, 5))
    assert geometry.voxel_to_lps((3, 4, 5)) == pytest.approx(expected)


def test_a_shearing_transform_is_refused_in_words(add_volume, add_transform):
    node = add_volume(np.zeros((4, 5, 6), np.int16), PLACES["oblique"])
    add_transform(node, np.diag([1.0, 1.3, 1.0, 1.0]))  # stretches across the oblique axes
    with pytest.raises(InputError, match=r"right angles[\s\S]*resample the volume"):
        node_geometry(node)


def test_a_transform_that_bends_is_refused_in_words(add_volume, scene):
    node = add_volume(np.zeros((4, 5, 6), np.int16))
    spline = vtk.vtkThinPlateSplineTransform()
    spline.SetBasisToR()
    for source, target in (((0, 0, 0), (0, 0, 0)), ((9, 0, 0), (9, 2, 0)), ((0, 9, 0), (0, 9, 3))):
        points = [spline.GetSourceLandmarks(), spline.GetTargetLandmarks()]
        if points[0] is None:
            spline.SetSourceLandmarks(vtk.vtkPoints())
            spline.SetTargetLandmarks(vtk.vtkPoints())
        spline.GetSourceLandmarks().InsertNextPoint(source)
        spline.GetTargetLandmarks().InsertNextPoint(target)
    transform = scene.AddNewNodeByClass("vtkMRMLTransformNode", "warp")
    transform.SetAndObserveTransformToParent(spline)
    node.SetAndObserveTransformNodeID(transform.GetID())
    with pytest.raises(InputError, match=r"'warp', which bends space[\s\S]*Harden transform"):
        check_input(node)


def test_what_is_no_ct_is_refused_in_words(add_volume, scene):
    labels = scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "organs")
    colour = scene.AddNewNodeByClass("vtkMRMLVectorVolumeNode", "photo")
    empty = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "gone")
    slice_only = add_volume(np.zeros((1, 50, 60), np.int16), PLACES["RAS"], "localizer")
    tiny = add_volume(np.zeros((4, 5, 6), np.int16), np.diag([0.01, 0.01, 0.01, 1]), "micro CT")
    for node, words in (
        (labels, "a label map"),
        (colour, "a colour or vector volume"),
        (empty, "a volume without voxels"),
        (slice_only, "a 2D image or single slice"),
        (tiny, "a voxel spacing of 0.01"),
    ):
        with pytest.raises(InputError) as error:
            check_input(node)
        assert words in str(error.value)
        assert repr(node.GetName()) in error.value.parts[0]
    with pytest.raises(InputError, match="Load a CT"):
        check_input(None)


def test_an_extent_that_does_not_start_at_zero_counts(add_volume):
    array = np.arange(4 * 5 * 6, dtype=np.int16).reshape(4, 5, 6)
    node = add_volume(array, PLACES["oblique"])
    before = node_geometry(node).voxel_to_lps((2, 1, 0))
    image = vtk.vtkImageData()
    image.DeepCopy(node.GetImageData())
    image.SetExtent(7, 12, 3, 7, 1, 4)
    node.SetAndObserveImageData(image)
    shifted = node_geometry(node).voxel_to_lps((1, -2, -7))
    assert shifted == pytest.approx(before)


def test_the_copy_is_the_volume_and_independent_of_it(add_volume, monkeypatch):
    monkeypatch.setattr(volumes, "STEP_VOXELS", 70)  # two planes a step, and a rest
    array = np.arange(5 * 5 * 6, dtype=np.int16).reshape(5, 5, 6)
    node = add_volume(array, PLACES["LPS"])
    shares = []
    steps = copy_steps(node)
    while True:
        try:
            shares.append(next(steps))
        except StopIteration as end:
            copy = end.value
            break
    assert shares == [0.4, 0.8, 1.0]
    volumes.voxels(node)[:] = 7
    assert np.array_equal(copy.array, array)
    assert copy.geometry == node_geometry(node)


def test_copying_stops_when_the_volume_goes(add_volume, scene, monkeypatch):
    monkeypatch.setattr(volumes, "STEP_VOXELS", 30)
    node = add_volume(np.zeros((5, 5, 6), np.int16))
    steps = copy_steps(node)
    next(steps)
    scene.RemoveNode(node)
    with pytest.raises(Cancelled):
        next(steps)


def test_copying_stops_when_the_volume_gets_other_voxels(add_volume, monkeypatch):
    monkeypatch.setattr(volumes, "STEP_VOXELS", 30)
    node = add_volume(np.zeros((5, 5, 6), np.int16))
    steps = copy_steps(node)
    next(steps)
    node.SetAndObserveImageData(vtk.vtkImageData())
    with pytest.raises(Cancelled):
        next(steps)


def test_the_view_outlives_its_node(add_volume, scene):
    node = add_volume(np.full((5, 5, 6), 3, np.int16))
    view = node_volume(node).array
    scene.RemoveNode(node)
    del node
    assert (view == 3).all()


@pytest.mark.parametrize("dtype", ["u1", "i1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"])
def test_every_voxel_type_reaches_the_worker(add_volume, tmp_path, dtype):
    array = np.arange(2 * 3 * 4).reshape(2, 3, 4).astype(dtype)
    node = add_volume(array, SPACING)
    write(tmp_path / "ct.nrrd", finish(copy_steps(node)))
    assert np.array_equal(read_volume(tmp_path / "ct.nrrd").array, array)


def test_paths_with_blanks_umlauts_and_over_200_characters(add_volume, tmp_path):
    folder = tmp_path / "Bäuche und CT 图像" / ("lang " * 20) / ("sehr " * 20)
    folder.mkdir(parents=True)
    path = folder / "ct ü.nrrd"
    assert len(str(path)) > 200
    node = add_volume(np.full((3, 4, 5), -1000, np.int16), SPACING)
    write(path, node_volume(node))
    assert read_volume(path).array.shape == (3, 4, 5)


def test_a_geometry_agrees_with_slicer_itself(add_volume, add_transform):
    node = add_volume(np.zeros((4, 5, 6), np.int16), PLACES["oblique"])
    add_transform(node, turned(25, "x"))
    bounds = [0.0] * 6
    node.GetRASBounds(bounds)
    geometry = node_geometry(node)
    corners = [
        (z, y, x) for z in (-0.5, 3.5) for y in (-0.5, 4.5) for x in (-0.5, 5.5)
    ]  # cells reach half a voxel beyond the centres
    ras = geometry.voxel_to_lps(corners) * (-1, -1, 1)
    assert ras.min(axis=0) == pytest.approx(bounds[::2], abs=1e-6)
    assert ras.max(axis=0) == pytest.approx(bounds[1::2], abs=1e-6)
    assert isinstance(node, slicer.vtkMRMLScalarVolumeNode)


@pytest.mark.parametrize(
    ("modality", "words"),
    [("MR", "choose a CT"), ("PT", "PET/CT"), ("NM", "SPECT/CT"), ("SEG", "drawn on")],
)
def test_what_dicom_calls_another_kind_is_refused_by_its_name(scene, add_volume, modality, words):
    volume = add_volume(np.zeros((4, 5, 6), np.int16))
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    item = hierarchy.CreateItem(hierarchy.GetSceneItemID(), volume)
    volumes.check_input(volume)
    hierarchy.SetItemAttribute(item, "DICOM.Modality", modality)
    with pytest.raises(InputError, match="as DICOM says") as refusal:
        volumes.check_input(volume)
    assert words in refusal.value.parts[3] and "1024" not in str(refusal.value)
    hierarchy.SetItemAttribute(item, "DICOM.Modality", "CT")
    volumes.check_input(volume)
