"""What may never be put into use, whoever asks."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from flare_core.errors import InputError
from flare_core.train.rounds.promote import put_round_in_use


def test_a_model_that_finds_nothing_is_never_put_into_use(tmp_path):
    home = tmp_path / "home"
    run = SimpleNamespace(settings=SimpleNamespace(home=str(home)))
    folder = SimpleNamespace(number=2, read=lambda name: {"finds_nothing": True})
    with pytest.raises(InputError, match="round 2"):
        put_round_in_use(run, folder, before=None, reason="promoted by a person")
    assert not home.exists()
