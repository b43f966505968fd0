"""A worker that is warm already finds a model that is installed later, under the same process."""

from __future__ import annotations

from process_double import in_state

from flare_core.errors import InputError
from flare_core.home import Home
from stub_models import stub_package

pytest_plugins = ("process_fixtures",)


def test_a_warm_worker_finds_a_model_that_is_new(ct, place, follow, tmp_path):
    home = Home(tmp_path / "home")
    options = {"model": "stub@1.2.3", "home": str(home.path)}
    run, told = follow(ct, **options)
    in_state(place, run, "failed")
    assert isinstance(told["failed"][0], InputError)
    pid = place.worker.pid
    stub_package(home.model("stub", "1.2.3"))
    run, told = follow(ct, **options)
    in_state(place, run, "done")
    assert told["finished"] and place.worker.pid == pid
    assert home.models.is_dir()
