"""Self-tests of the result in Slicer: codes, colours, place, label values, surfaces, export."""

from __future__ import annotations

import numpy as np
from self_test_scene import BLOCKS, PanelTestCase, add_ct, blocks, library, pump, until

import slicer


class FLARESegResultTestCase(PanelTestCase):
    """What the segmentation node is worth to the rest of Slicer."""

    def segmented(self) -> tuple:
        volume = add_ct()
        self.open_panel()
        self.apply()
        return volume, self.ui.outputSelector.currentNode()

    def test_voxels_are_where_the_blocks_are(self) -> None:
        volume, node = self.segmented()
        labels = library("correction.corrections").current_labels(node, volume).array
        expected = np.zeros_like(labels)
        for number, part in BLOCKS.items():
            expected[part] = number
        self.assertTrue(np.array_equal(labels, expected))
        self.assertTrue(np.array_equal(slicer.util.arrayFromVolume(volume), blocks()))

    def test_every_segment_has_name_colour_and_code(self) -> None:
        library("core_path").make_importable()
        from flare_core.anatomy.organs import organ

        _, node = self.segmented()
        for key, number in library("scene.segment_identity").organ_segment_ids(node).items():
            segment, target = node.GetSegmentation().GetSegment(number), organ(key)
            self.assertEqual(segment.GetName(), target.name)
            self.assertEqual([round(255 * part) for part in segment.GetColor()],
                             list(target.colour))  # fmt: skip
            self.assertEqual(segment.GetLabelValue(), target.id)
            self.assertIn(target.type_code.value, segment.GetTerminology())

    def test_it_lies_in_its_patients_study_and_knows_its_grid(self) -> None:
        volume = add_ct()
        hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
        patient = hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), "patient")
        study = hierarchy.CreateStudyItem(patient, "study")
        hierarchy.CreateItem(study, volume)  # as loading from the DICOM database does
        self.open_panel()
        self.apply()
        node = self.ui.outputSelector.currentNode()
        role = slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole()
        self.assertEqual(node.GetNodeReference(role), volume)
        self.assertEqual(hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node)), study)

    def test_show_3d_makes_smooth_surfaces(self) -> None:
        _, node = self.segmented()
        self.assertTrue(self.ui.show3DButton.enabled)
        self.assertTrue(node.CreateClosedSurfaceRepresentation())
        number = library("scene.segment_identity").organ_segment_ids(node)["liver"]
        import vtk

        surface = vtk.vtkPolyData()
        node.GetClosedSurfaceRepresentation(number, surface)
        self.assertGreater(surface.GetNumberOfPoints(), 100)

    def test_the_button_shows_and_drops_surfaces(self) -> None:
        _, node = self.segmented()
        name = slicer.vtkSegmentationConverter.GetSegmentationClosedSurfaceRepresentationName()
        self.ui.show3DButton.click()
        until(lambda: not self.panel.show_3d.busy, "the surfaces")
        self.assertTrue(node.GetSegmentation().ContainsRepresentation(name))
        self.assertTrue(node.GetDisplayNode().GetVisibility3D())
        self.assertEqual(self.ui.show3DButton.text, "Show 3D")
        self.ui.show3DButton.click()
        self.assertFalse(node.GetDisplayNode().GetVisibility3D())
        until(lambda: not self.panel.show_3d.busy, "the surfaces' end")
        self.assertFalse(node.GetSegmentation().ContainsRepresentation(name))

    def test_removing_the_result_while_surfaces_are_made_is_no_trouble(self) -> None:
        _, node = self.segmented()
        self.ui.show3DButton.click()
        slicer.mrmlScene.RemoveNode(node)
        until(lambda: not self.panel.show_3d.busy, "the end of it")
        pump(0.1)
        self.assertFalse(self.ui.show3DButton.enabled)
        self.assertEqual(self.ui.statisticsTable.rowCount, 0)

    def test_what_the_person_drew_survives_a_second_run(self) -> None:
        _, node = self.segmented()
        node.GetSegmentation().AddEmptySegment("mine", "My finding")
        self.apply()
        self.assertIsNotNone(node.GetSegmentation().GetSegment("mine"))
        self.assertEqual(node.GetSegmentation().GetNumberOfSegments(), 5)
