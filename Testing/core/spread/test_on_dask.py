from __future__ import annotations

import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest

import spread_cases
from flare_core.errors import InputError
from flare_core.spread import on_dask as module
from flare_core.spread.cases import WorkerLost
from flare_core.spread.on_dask import Terms, check_resources, spread, unwanted
from spread_cases import numbers


def test_each_case_has_its_value_and_both_workers_help(workers, proof):
    found = list(spread(workers, spread_cases.double, numbers(40), Terms(proof)))
    assert {each.case: each.value[0] for each in found} == {f"case{n}": 2 * n for n in range(40)}
    assert len({each.value[1] for each in found}) == 2


def test_cases_are_read_only_as_fast_as_they_are_done(workers, proof):
    read = []

    def cases():
        for case in numbers(30):
            read.append(case)
            yield case

    ahead = [
        len(read) - done
        for done, _ in enumerate(spread(workers, spread_cases.double, cases(), Terms(proof)))
    ]
    assert max(ahead) <= 2 * 2 + 2
    assert len(read) == 30


def test_a_case_that_raises_is_named_with_its_traceback(workers, proof):
    found = {o.case: o for o in spread(workers, spread_cases.refuse, numbers(6), Terms(proof))}
    assert len(found) == 6
    assert [each.case for each in found.values() if each.error] == ["case3"]
    error = found["case3"].error
    assert isinstance(error, ValueError)
    files = [frame.tb_frame.f_code.co_filename for frame in _frames(error)]
    assert any(file.endswith("spread_cases.py") for file in files)


def _frames(error):
    frame = error.__traceback__
    while frame is not None:
        yield frame
        frame = frame.tb_next


def test_a_case_that_kills_its_worker_is_tried_twice_and_the_others_are_done(
    mortal_workers, proof, tmp_path
):
    do = partial(spread_cases.deadly, tmp_path)
    found = {each.case: each for each in spread(mortal_workers, do, numbers(8), Terms(proof))}
    assert sorted(found) == [f"case{n}" for n in range(8)]
    assert [each.case for each in found.values() if each.error] == ["case2"]
    assert isinstance(found["case2"].error, WorkerLost)
    assert "2 times" in str(found["case2"].error)
    assert (tmp_path / "tried_2").read_text() == "xx"
    assert (tmp_path / "tried_4").read_text() in ("xx", "xxx")  # it may have waited behind case 2


def test_only_what_a_worker_had_begun_is_held_against_a_case():
    one, two = SimpleNamespace(address="a", nthreads=1), SimpleNamespace(address="b", nthreads=2)
    tries = [module._Try((f"case{n}", n), number=n) for n in range(5)]
    lost = list(zip(tries, [one, one, two, two, two], strict=True))
    module._count_begun(lost[::-1], alone=False)
    assert [each.begun for each in tries] == [1, 0, 1, 1, 0]
    module._count_begun(lost, alone=True)
    assert [each.begun for each in tries] == [2, 1, 2, 2, 1]


def test_cases_under_way_stop_when_the_caller_does(workers, proof, tmp_path):
    do = partial(spread_cases.until_unwanted, tmp_path)
    outcomes = spread(workers, _first_or(do), [("quick", -1), *numbers(2)], Terms(proof))
    assert next(outcomes).case == "quick"
    _wait_for(tmp_path, "begun_*", 2)
    outcomes.close()
    _wait_for(tmp_path, "stopped_*", 2)


def _first_or(do):
    return partial(spread_cases.quick_or, do)


def _wait_for(folder, pattern, count):
    end = time.monotonic() + 30
    while len(list(folder.glob(pattern))) < count:
        assert time.monotonic() < end, list(folder.iterdir())
        time.sleep(0.02)


def test_resources_that_nobody_offers_are_refused(workers):
    check_resources(workers, {})
    with pytest.raises(InputError, match="GPU=1"):
        check_resources(workers, {"GPU": 1.0})


def test_workers_that_stay_away_are_told_and_those_that_are_back():
    said = []
    crew = module._Crew(said.append)
    for now_s, there in ((0, 1), (5, 3), (10, 2), (20, 3), (25, 2), (45, 2)):
        crew.count(there, now_s)
    assert said == []  # they were back in time
    crew.count(2, 51 + module.AWAY_S)
    crew.count(2, 52 + module.AWAY_S)
    assert said == ["2 of 3 workers are left; the cases go on with them."]
    crew.count(3, 60 + module.AWAY_S)
    assert said[1:] == ["All 3 workers are there again."]


def test_outside_a_worker_everything_is_wanted():
    pytest.importorskip("distributed")
    assert not unwanted()()


def test_dask_need_not_be_there_to_be_wanted():
    code = (
        "import sys\n"
        "from flare_core.spread.on_dask import unwanted\n"
        "sys.exit(unwanted()() or 'distributed' in sys.modules)"
    )
    root = Path(module.__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0
