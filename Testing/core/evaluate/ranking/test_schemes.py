from __future__ import annotations

import json

import pytest

from flare_core.errors import InputError
from flare_core.evaluate.protocols import EDITIONS
from flare_core.evaluate.ranking.schemes import SCHEMES, find_scheme, scheme_from


def test_schemes_rank_what_the_papers_say():
    keys = {name: [rule.key for rule in scheme.metrics] for name, scheme in SCHEMES.items()}
    assert keys == {
        "flare21": ["organ_dsc", "organ_nsd", "runtime", "gpu_memory"],
        "flare22": ["organ_dsc", "organ_nsd", "runtime", "auc_gpu", "auc_cpu"],
        "flare23": ["organ_dsc", "organ_nsd", "lesion_dsc", "lesion_nsd", "runtime", "auc_gpu"],
    }
    assert all(
        rule.higher_is_better == rule.key.endswith(("dsc", "nsd"))
        for scheme in SCHEMES.values()
        for rule in scheme.metrics
    )


def test_tolerances_of_flare23_are_fifteen_seconds_and_four_gigabytes():
    runtime, auc = SCHEMES["flare23"].metrics[-2:]
    assert runtime.tolerance == 15 == EDITIONS["flare23"].limits.tolerated_s
    assert (auc.tolerance, auc.tolerance_column) == (4096, "gpu_max_mib")
    assert auc.tolerance == 1024 * EDITIONS["flare23"].limits.tolerated_gpu_gb


def test_resource_columns_are_those_that_measure_writes():
    from flare_core.evaluate.efficiency.measure import CASE_COLUMNS

    for scheme in SCHEMES.values():
        for rule in scheme.metrics:
            if not rule.key.endswith(("dsc", "nsd")):
                assert set(rule.columns) <= set(CASE_COLUMNS)
                assert rule.tolerance_column in ("", *CASE_COLUMNS)


def test_capitals_do_not_matter():
    assert find_scheme("FLARE23") is SCHEMES["flare23"]


def test_a_scheme_survives_json(tmp_path):
    for scheme in SCHEMES.values():
        path = tmp_path / f"{scheme.key}.json"
        path.write_text(json.dumps(scheme.record()))
        assert find_scheme(str(path)) == scheme


METRIC = {"key": "dsc", "higher_is_better": True, "columns": ["dsc"]}


@pytest.mark.parametrize(
    ("facts", "told"),
    [
        ([], "no list of metrics"),
        ({"metrics": []}, "at least one metric"),
        ({"metrics": [METRIC, METRIC]}, "each key once"),
        ({"metrics": ["dsc"]}, "an object with fields"),
        ({"metrics": [{"key": "dsc", "columns": ["dsc"]}]}, "higher_is_better"),
        ({"metrics": [{**METRIC, "columns": "dsc"}]}, "columns"),
        ({"metrics": [{**METRIC, "columns": []}]}, "columns"),
        ({"metrics": [{**METRIC, "tolerance": True}]}, "tolerance"),
        ({"metrics": [{**METRIC, "weight": 2}]}, "weight"),
    ],
)
def test_bad_schemes_are_refused(facts, told):
    with pytest.raises(InputError, match=told):
        scheme_from(facts, "own.json")


def test_unknown_names_and_broken_files_are_refused(tmp_path):
    with pytest.raises(InputError, match="flare21, flare22, flare23, or a JSON file"):
        find_scheme("flare99")
    path = tmp_path / "x.json"
    path.write_text("{")
    with pytest.raises(InputError, match="not readable as JSON"):
        find_scheme(str(path))
