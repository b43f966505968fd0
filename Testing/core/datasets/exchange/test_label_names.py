"""Names of labels as other programs and radiotherapy departments write them."""

from __future__ import annotations

import pytest

from flare_core.anatomy.organs import ALL_TARGETS, ORGANS
from flare_core.datasets.exchange.label_names import organs_called


@pytest.mark.parametrize(
    ("names", "organ"),
    [
        ("Liver LIVER hepar", "liver"),
        ("Kidney_L kidney-left L_Kidney Lt.Kidney Kidney_Lt", "left_kidney"),
        ("Kidney_R Kidney,Right RK", "right_kidney"),
        ("Glnd_Adrenal_L Adrenal_L left_adrenal_gland", "left_adrenal_gland"),
        ("A_Aorta aorta arota Abdominal_Aorta", "aorta"),
        ("postcava", "inferior_vena_cava"),
        ("V_Venacava_I IVC V_VenaCava_Inf", "inferior_vena_cava"),
        ("Esophagus Oesophagus", "esophagus"),
        ("GallBladder Gall_Bladder", "gallbladder"),
        ("Bowel_Duodenum Duodenum", "duodenum"),
        ("liver_tumour HCC Metastases Cancer hepatocarcinoma Lesion_No_2", "lesion"),
    ],
)
def test_names_of_one_organ(names, organ):
    assert {organs_called(name) for name in names.split()} == {(organ,)}


@pytest.mark.parametrize(
    "name", ["Kidneys", "kidney", "Adrenals", "Adrenal_Gland", "Glnd_Adrenals"]
)
def test_pairs(name):
    assert len(organs_called(name)) == 2


@pytest.mark.parametrize(
    "name",
    ["Liver-GTV", "liver minus tumour", "PRV Kidney_L", "Liver w/o lesion", "PTV", "GTV", "CTV_50",
     "no tumor", "No_lesions", "tumor-free liver", "peritumoral", "Tumour bed", "tumor_margin",
     "BODY", "Lung_L", "", "L", "all", "organs", "Kidney_L_R", "liver_exp 5mm", "Bowel", "-3", "5"],
)  # fmt: skip
def test_names_of_nothing_of_ours(name):
    assert organs_called(name) == ()


def test_our_own_keys_and_names_all_are():
    for target in ALL_TARGETS:
        assert organs_called(target.key) == organs_called(target.name) == (target.key,)
    assert len(ORGANS) == 13
