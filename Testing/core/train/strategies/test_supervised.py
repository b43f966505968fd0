from __future__ import annotations

from collections.abc import Callable

from flare_core.train.batches import Patch
from flare_core.train.strategies.candidate import Candidate
from flare_core.train.strategies.supervised import Supervised
from flare_core.train.training_step import TrainingStep


def test_no_predicted_label_is_used(candidate: Callable[..., Candidate]) -> None:
    (decision,) = Supervised().select([candidate(liver={})])
    assert not decision.accepted and "people" in decision.reason


def test_there_is_no_network_but_the_student(training: Callable[..., TrainingStep]) -> None:
    made = training({"kind": "supervised"})
    assert not made.extra and len(made.trained()) == len(list(made.student.parameters()))


def test_its_loss_is_that_of_the_labels(
    training: Callable[..., TrainingStep], patch: Callable[..., Patch]
) -> None:
    made, one = training({"kind": "supervised"}), patch()
    assert float(made(one)) == float(made.loss(made.levels(one.image), one)) > 0.5
