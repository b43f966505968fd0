from __future__ import annotations

from flare_core.cli.watch import Watch


def test_it_tells_how_far_a_run_is(capsys):
    with Watch("bar", "reading", title="store") as watch:
        watch.tell(1, 2)
        watch.tell(2, 2)
    told = capsys.readouterr().err
    assert "store:  50 % reading 2 cases" in told and "left" in told


def test_it_can_be_silent_and_survives_nothing_to_do(capsys):
    with Watch("none", "reading") as watch:
        watch.tell(0, 0)
    assert capsys.readouterr().err == ""
