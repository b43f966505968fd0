from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from core.evaluate.label_folders import labels, scored, write_case
from flare_core.evaluate import tables
from flare_core.evaluate.evaluate import Evaluation
from flare_core.evaluate.metrics import METRICS
from flare_core.jobs.outputs import plain


@pytest.fixture
def found(tmp_path: Path) -> Evaluation:
    """Case a: liver half found; case b: no prediction."""
    write_case(tmp_path / "ref", "a", labels(v1=(0, 4, 2, 4), v14=(4, 6, 2, 4)))
    write_case(tmp_path / "ref", "b", labels(v1=(0, 4, 2, 4)))
    write_case(tmp_path / "pred", "a", labels(v1=(0, 2, 2, 4), v14=(4, 6, 2, 4)))
    return scored(tmp_path, "flare23")


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_every_number_on_a_line(found: Evaluation) -> None:
    lines = rows(tables.scores_csv(found))
    assert len(lines) == len(found.rows)
    assert lines[0] == {
        "case": "a", "organ": "liver", "metric": "dsc", "value": "0.6667", "unit": "1",
    }  # fmt: skip
    distance = [r["value"] for r in lines if (r["case"], r["metric"]) == ("b", "hd95")]
    assert set(distance) == {"inf"}


def test_one_line_for_each_case(found: Evaluation) -> None:
    first, second = rows(tables.per_case_csv(found))
    assert (first["case"], first["status"], first["problem"]) == ("a", "scored", "")
    assert first["liver_dsc"] == "0.6667" and first["liver_true_ml"] == "0.192"
    assert float(first["organs_mean_dsc"]) == pytest.approx((12 + 0.6667) / 13, abs=1e-6)
    assert second["status"] == "missing" and second["problem"] == "no prediction called b"
    assert second["organs_mean_dsc"] == second["lesion_dsc"] == "0"
    assert second["liver_predicted_ml"] == "nan"


def test_one_line_for_each_structure_and_metric(found: Evaluation) -> None:
    lines = {(r["organ"], r["metric"]): r for r in rows(tables.per_organ_csv(found))}
    liver = lines["liver", "dsc"]
    assert liver["mean"] == "0.3334" and liver["n"] == "2" and liver["unit"] == "1"
    assert lines["liver", "hd95"]["infinite"] == "1"
    assert ("liver", "lesion_f1") not in lines and ("lesion", "lesion_f1") in lines


def test_the_summary_is_strict_json(found: Evaluation) -> None:
    record = tables.summary_record(found)
    text = json.dumps(plain(record), allow_nan=False)
    again = json.loads(text)
    assert again["scored_zero"] == {"b": "missing: no prediction called b"}
    assert again["tolerance_mm"]["duodenum"] == 7.0 and again["mode"] == "official"
    assert again["metrics"]["nsd"]["empty"] == METRICS["nsd"].empty
    assert {"organ_dsc", "lesion_nsd"} <= {one["key"] for one in again["scores"]}


def test_text_for_a_terminal(found: Evaluation) -> None:
    text = tables.summary_text(found)
    assert "Liver                       0.3334" in text and "Organ DSC" in text
    assert all(len(line) < 100 for line in text.splitlines())


def test_problems_are_named(found: Evaluation) -> None:
    assert tables.problems_text(found) == ["b: scores 0, missing: no prediction called b"]


def test_text_without_the_usual_metrics(tmp_path: Path) -> None:
    from flare_core.evaluate.evaluate import evaluate_folders
    from flare_core.evaluate.protocols import edition
    from flare_core.evaluate.scoring import ScoringRules

    write_case(tmp_path, "a", labels(v1=(0, 4, 2, 4)))
    rules = ScoringRules(edition("flare22"), metrics=("msd",))
    found = evaluate_folders(tmp_path, tmp_path, rules)
    assert "Liver" in tables.summary_text(found)
    assert rows(tables.per_case_csv(found))[0]["liver_msd"] == "0"
