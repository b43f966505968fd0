from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from core.datasets.augment.unchanged import NO_AUGMENTATION
from flare_core.anatomy.organs import organ
from flare_core.datasets.cache import Sample
from flare_core.datasets.case import Case
from flare_core.datasets.lesions.settings import LesionSettings
from flare_core.models.card import Normalisation
from flare_core.train.batches import Patch, PatchSource, channels_of
from flare_core.train.config import Phase, TrainConfig
from flare_core.train.losses import segmentation_loss
from flare_core.train.processes import Processes
from sample_arrays import sample_of_arrays
from tiny_training import NETWORK, tiny_config

CPU = torch.device("cpu")
PHASE = Phase((5.0, 4.0, 4.0), (16, 10, 12), steps=1)
MIDDLES = [2, 6, 10, 14]
LIVER, SPLEEN, KIDNEY = (organ(key).id for key in ("liver", "spleen", "left_kidney"))


def sample(annotated: tuple[str, ...] = ("liver", "spleen")) -> Sample:
    """Four slices each of nothing, liver 100 HU, spleen -50 HU, kidney 900 HU; a patch in size."""
    labels = np.zeros(PHASE.patch, np.uint8)
    labels[4:8], labels[8:12], labels[12:] = LIVER, SPLEEN, KIDNEY
    hu = np.zeros(256)
    hu[[LIVER, SPLEEN, KIDNEY]] = 100, -50, 900
    case = Case("one", Path("one.nii.gz"), annotated=annotated)
    return sample_of_arrays(case, hu[labels].astype(np.int16), labels, PHASE.spacing_mm)


def still(**changes: object) -> TrainConfig:
    """Patches as they lie in the scan."""
    window = Normalisation("window", -20, 500, 50.0, 100.0)
    return replace(
        tiny_config(Path()), augmentation=NO_AUGMENTATION, normalisation=window, **changes
    )


def draw(config: TrainConfig, one: Sample, start: tuple[int, int] = (0, 0)) -> list[Patch]:
    return PatchSource(config, PHASE, [one], start, CPU).draw()


def test_channels_follow_the_configuration() -> None:
    assert channels_of(still(organs=("spleen", "liver"))) == {"spleen": 1, "liver": 2}


def test_images_are_normalised_and_labels_are_channels() -> None:
    (patch,) = draw(still(organs=("spleen", "liver")), sample())
    assert patch.image.shape == patch.classes.shape == (1, 1, *PHASE.patch)
    assert patch.image.dtype == torch.float32 and patch.classes.dtype == torch.uint8
    in_the_middle = patch.classes[0, 0, MIDDLES, 5, 5].tolist()
    assert in_the_middle == [0, 2, 1, 0]  # the kidney is none of this network's organs
    expected = [(hu - 50) / 100 for hu in (0, 100, -20, 500)]
    assert patch.image[0, 0, MIDDLES, 5, 5].tolist() == pytest.approx(expected, abs=1e-4)


def test_only_annotated_organs_are_told() -> None:
    """A label value of an organ that the case does not annotate is not believed."""
    (patch,) = draw(still(), sample(annotated=("spleen", "left_kidney")))
    assert patch.annotated == (True, False, True)
    assert patch.classes[0, 0, MIDDLES, 5, 5].tolist() == [0, 0, 2, 0]


def test_a_batch_has_its_size() -> None:
    assert len(draw(still(batch_size=3), sample())) == 3


def big_sample() -> Sample:
    random = np.random.default_rng(1)
    image = random.integers(-100, 200, (30, 40, 40)).astype(np.int16)
    labels = np.zeros(image.shape, np.uint8)
    labels[10:20, 10:30, 10:30] = LIVER
    return sample_of_arrays(Case("big", Path("b.nii.gz")), image, labels, PHASE.spacing_mm)


def images(config: TrainConfig, start: tuple[int, int]) -> torch.Tensor:
    source = PatchSource(config, PHASE, [big_sample()], start, CPU)
    return torch.cat([patch.image for _ in range(3) for patch in source.draw()])


def test_the_same_start_draws_the_same_patches_and_another_draws_others() -> None:
    config = tiny_config(Path())
    first = images(config, (0, 0))
    assert torch.equal(first, images(config, (0, 0)))
    for other in (
        images(config, (0, 40)),
        images(config, (1, 0)),
        images(replace(config, seed=1), (0, 0)),
    ):
        assert not torch.equal(first, other)


def equal(a: Patch, b: Patch) -> bool:
    return torch.equal(a.image, b.image) and torch.equal(a.classes, b.classes)


def test_patches_made_ahead_are_those_made_when_needed() -> None:
    config = tiny_config(Path(), batch_size=2)
    made = {}
    for prefetch in (0, 3):
        settings = replace(config, prefetch=prefetch)
        with PatchSource(settings, PHASE, [big_sample()], (0, 5), CPU) as source:
            made[prefetch] = [patch for _ in range(4) for patch in source.draw()]
    assert all(equal(a, b) for a, b in zip(made[0], made[3], strict=True))


def test_a_run_that_goes_on_sees_what_it_would_have_seen() -> None:
    config = tiny_config(Path(), batch_size=2)
    whole = PatchSource(config, PHASE, [big_sample()], (0, 0), CPU)
    parts = PatchSource(config, PHASE, [big_sample()], (0, 3), CPU)
    batches = [whole.draw() for _ in range(5)]
    assert all(equal(a, b) for a, b in zip(batches[3], parts.draw(), strict=True))
    assert not equal(batches[3][0], batches[4][0])


def test_processes_share_a_batch() -> None:
    config = tiny_config(Path(), batch_size=4, prefetch=0)
    alone = PatchSource(config, PHASE, [big_sample()], (0, 0), CPU).batch(7)
    for rank in (0, 1):
        part = PatchSource(
            config, PHASE, [big_sample()], (0, 0), CPU, processes=Processes(rank, 2)
        ).batch(7)
        assert len(part) == 2
        assert all(equal(a, b) for a, b in zip(alone[rank::2], part, strict=True))


def test_an_error_in_the_thread_is_told() -> None:
    broken = replace(sample(), places={LIVER: np.empty((0, 3), np.int16)})
    config = tiny_config(Path(), centred=1.0)
    with PatchSource(config, PHASE, [broken], (0, 0), CPU) as source, pytest.raises(ValueError):
        source.draw()


def test_edited_voxels_weigh_more() -> None:
    one = sample()
    edited = one.labels == LIVER
    (patch,) = draw(still(edited_weight=4.0), replace(one, edited=edited))
    assert patch.weights is not None
    assert patch.weights[0, 0, MIDDLES, 5, 5].tolist() == [1, 4, 1, 1]
    assert draw(still(edited_weight=1.0), replace(one, edited=edited))[0].weights is None
    assert draw(still(), one)[0].weights is None


def test_a_network_without_lesions_leaves_them_out() -> None:
    """A lesion lies in an organ; called background, it would teach holes."""
    one = sample(("liver", "spleen", "lesion"))
    labels = one.labels.copy()
    labels[12:] = organ("lesion").id
    case = replace(one.case, annotated=("liver", "spleen", "lesion"))
    one = sample_of_arrays(case, one.image, labels, PHASE.spacing_mm)
    (patch,) = draw(still(), one)
    assert patch.weights is not None
    assert patch.weights[0, 0, MIDDLES, 5, 5].tolist() == [1, 1, 1, 0]
    network = replace(NETWORK, output_channels=4)
    (patch,) = draw(still(organs=("liver", "spleen", "lesion"), network=network), one)
    assert patch.weights is None and patch.classes[0, 0, MIDDLES, 5, 5].tolist() == [0, 1, 2, 3]


def test_soft_labels_become_channels_too() -> None:
    one = sample()
    soft = np.where(one.labels == LIVER, 256 * SPLEEN + 204, 255).astype(np.int16)
    (patch,) = draw(still(), replace(one, soft=soft))
    assert patch.second is not None and patch.share is not None
    assert patch.second[0, 0, MIDDLES, 5, 5].tolist() == [0, 2, 0, 0]
    assert patch.share[0, 0, MIDDLES, 5, 5].tolist() == pytest.approx([1, 0.8, 1, 1])


def test_what_is_known_of_a_patch() -> None:
    (full,), (part,) = draw(still(), sample()), draw(still(), sample(("liver",)))
    (bare,) = draw(still(), sample(()))
    assert [p.fully_labelled for p in (full, part, bare)] == [True, False, False]
    assert [p.unlabelled for p in (full, part, bare)] == [False, False, True]
    assert not bare.classes.any() and bare.plain is not None


def test_lesions_are_pasted_as_often_as_asked() -> None:
    donor, host = big_sample(), replace(big_sample(), case=Case("host", Path("h")))
    labels = donor.labels.copy()
    labels[13:16, 18:22, 18:22] = organ("lesion").id
    case = Case("donor", Path("d"), annotated=("liver", "lesion"))
    donor = sample_of_arrays(case, donor.image, labels, PHASE.spacing_mm)
    config = replace(tiny_config(Path()), organs=("liver", "lesion"), prefetch=0, centred=0.0)
    phase = replace(PHASE, patch=(20, 24, 24))
    for share, least, most in ((0.0, 0, 0), (1.0, 30, 40)):
        source = PatchSource(replace(config, lesion_mix=share), phase, [donor, host], (0, 0), CPU)
        hosts = [p for p in (source.patch(i) for i in range(40)) if not p.fully_labelled or share]
        shown = sum(bool((p.classes == 2).any()) for p in hosts)
        assert least <= shown <= most


def big_liver(annotated: tuple[str, ...]) -> tuple[Sample, Phase]:
    """A liver of 100 HU with a rim of fat, a patch in size."""
    phase = Phase((3.0, 2.0, 2.0), (32, 48, 48), steps=1)
    labels = np.zeros(phase.patch, np.uint8)
    labels[2:-2, 4:-4, 4:-4] = LIVER
    case = Case("one", Path("one.nii.gz"), annotated=annotated)
    image = np.where(labels > 0, 100, -100).astype(np.int16)
    return sample_of_arrays(case, image, labels, phase.spacing_mm), phase


TUMOURS = LesionSettings(lesions=(2, 2), sizes=("small",), organs=("liver",), decoys=(0, 0))


@pytest.mark.parametrize("learned", ["lesion", "liver"])
def test_synthetic_tumours_are_lesions_or_a_part_of_their_organ(learned: str) -> None:
    which, phase = big_liver(("liver", "lesion"))
    network = replace(NETWORK, output_channels=2)
    config = still(
        organs=(learned,), network=network, synthetic_share=1.0, synthetic=TUMOURS,
        centre_on=("liver",),
    )  # fmt: skip
    (patch,) = PatchSource(config, phase, [which], (0, 0), CPU).draw()
    (plain,) = PatchSource(replace(config, synthetic_share=0.0), phase, [which], (0, 0), CPU).draw()
    differs = patch.image != plain.image
    assert bool(differs.any())
    marked = patch.classes == 1
    if learned == "lesion":
        assert 30 < int(marked.sum()) < 2000 and bool(differs[marked].all())
        assert not bool((plain.classes == 1).any())
    else:
        assert int(marked.sum()) >= int((plain.classes == 1).sum()), "the tumour stays liver"
    assert patch.weights is None, "no voxel is left out: what each is, is known"


def test_no_tumour_is_painted_where_real_ones_are_not_labelled() -> None:
    which, phase = big_liver(("liver",))
    network = replace(NETWORK, output_channels=2)
    config = still(organs=("lesion",), network=network, synthetic_share=1.0, synthetic=TUMOURS)
    (patch,) = PatchSource(config, phase, [which], (0, 0), CPU).draw()
    assert not bool((patch.classes == 1).any()) and patch.unlabelled


LESION_ID = organ("lesion").id


def partly(labels: np.ndarray, case: Case) -> Patch:
    """A patch of a scan with these labels, for a network of lesions."""
    config = still(organs=("lesion",), network=replace(NETWORK, output_channels=2))
    config = replace(config, partial_reach_mm=10.0)
    made = sample_of_arrays(case, np.zeros(labels.shape, np.int16), labels, PHASE.spacing_mm)
    (patch,) = draw(config, made)
    return patch


def lesion_case(**changes: object) -> Case:
    return replace(Case("one", Path("one.nii.gz"), annotated=("lesion",)), **changes)


def test_far_from_a_labelled_lesion_a_partly_labelled_scan_says_nothing() -> None:
    labels = np.zeros(PHASE.patch, np.uint8)
    labels[3:5, 4:6, 4:6] = LESION_ID
    complete, partial = (
        partly(labels, lesion_case()),
        partly(labels, lesion_case(partly=("lesion",))),
    )
    assert complete.weights is None and partial.weights is not None
    kept = partial.weights[0, 0].bool().numpy()
    assert kept[3:5, 4:6, 4:6].all()
    assert kept[1, 4, 4] and not kept[0, 4, 4]  # 10 mm are two slices of 5 mm
    assert kept[3, 4, 7] and not kept[3, 4, 9]
    assert set(partial.weights.unique().tolist()) == {0.0, 1.0}


def test_an_unlabelled_lesion_far_away_is_not_punished_and_a_false_one_nearby_is() -> None:
    labels = np.zeros(PHASE.patch, np.uint8)
    labels[1:3, 2:4, 2:4] = LESION_ID
    patch = partly(labels, lesion_case(partly=("lesion",)))

    def loss_where(z: int) -> float:
        """The loss of a network that also sees a lesion in slice z."""
        logits = torch.zeros(1, 2, *PHASE.patch)
        logits[:, 1] = torch.where(patch.classes[:, 0] == 1, 8.0, -8.0)
        logits[:, 1, z, 2:4, 2:4] = 8.0
        loss = segmentation_loss(logits, patch.classes, patch.annotated, weights=patch.weights)
        return float(loss)

    right = loss_where(1)
    assert loss_where(12) == pytest.approx(right)  # nobody labelled there
    assert loss_where(3) > right + 0.05


def organs_and_lesion(labels: np.ndarray) -> Patch:
    """A patch of a scan whose liver is labelled, and its lesions in part, for both."""
    config = still(organs=("liver", "lesion"), partial_reach_mm=10.0)
    case = lesion_case(annotated=("liver", "lesion"), partly=("lesion",))
    made = sample_of_arrays(case, np.zeros(labels.shape, np.int16), labels, PHASE.spacing_mm)
    (patch,) = draw(config, made)
    return patch


def test_organs_of_a_scan_whose_lesions_are_labelled_in_part_are_learnt_everywhere() -> None:
    labels = np.zeros(PHASE.patch, np.uint8)
    labels[:, 2:10, 2:10] = 1
    without = organs_and_lesion(labels)
    assert without.annotated == (True, True, False) and without.weights is None
    labels[0:2, 4:6, 3:5] = LESION_ID
    patch = organs_and_lesion(labels)
    assert patch.annotated == (True, True, True) and patch.weights is not None
    kept = patch.weights[0, 0].bool().numpy()
    assert kept[labels != 0].all(), "the liver is known far from the lesion too"
    assert kept[0, 4, 1] and not kept[-1, 4, 1], "nobody looked for lesions there"


def test_a_patch_without_any_labelled_lesion_of_such_a_scan_teaches_nothing() -> None:
    patch = partly(np.zeros(PHASE.patch, np.uint8), lesion_case(partly=("lesion",)))
    assert patch.weights is not None and not patch.weights.any()
    logits = torch.zeros(1, 2, *PHASE.patch, requires_grad=True)
    loss = segmentation_loss(logits, patch.classes, patch.annotated, weights=patch.weights)
    loss.backward()
    assert loss.item() == 0 and logits.grad is not None and not logits.grad.any()


def test_a_batch_of_one_set_and_a_phase_with_its_own_share_of_centred_patches() -> None:
    liver, spleen = sample(("liver",)), sample(("spleen",))
    for one_set, kinds in ((True, 1), (False, 2)):
        config = still(one_set_batches=one_set, batch_size=8, prefetch=0)
        source = PatchSource(config, PHASE, [liver, spleen], (0, 0), CPU)
        seen = [{patch.annotated for patch in source.batch(step)} for step in range(6)]
        assert max(len(each) for each in seen) == kinds
        assert len(set.union(*seen)) == 2
    source = PatchSource(still(centred=0.1), replace(PHASE, centred=1.0), [liver], (0, 0), CPU)
    assert source.sampler.centred == 1.0
