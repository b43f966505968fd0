from __future__ import annotations

import json
from pathlib import Path

import pytest

from flare_core.evaluate.ranking.rank import Ranking, rank_teams
from flare_core.evaluate.ranking.schemes import find_scheme
from flare_core.evaluate.ranking.table import read_results
from flare_core.jobs import outputs
from flare_core.jobs.result_files import RANKING_PAGE, write_ranking

HEAD = "case,organ_dsc,organ_nsd,lesion_dsc,lesion_nsd,runtime_s,gpu_max_mib,auc_gpu_mib_s\n"


@pytest.fixture
def ranking(tmp_path: Path) -> Ranking:
    """Two teams, two cases; the first one is better in everything."""
    folder = tmp_path / "results"
    folder.mkdir()
    for team, score in (("good", 0.9), ("poor", 0.5)):
        rows = [f"c{k},{score},{score},{score},{score},{9 / score},3000,9000\n" for k in (1, 2)]
        (folder / f"{team}.csv").write_text(HEAD + "".join(rows))
    table = read_results(folder, find_scheme("flare23"))
    return rank_teams(table, bootstraps=0, seed=0)


def test_the_page_of_a_ranking_is_the_last_of_its_files(ranking: Ranking, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    files = write_ranking(out, ranking)
    assert files[-1].name == RANKING_PAGE and set(files) == set(out.iterdir())
    record = json.loads((out / "ranking.json").read_text("utf-8"))
    assert record["intended_use"] == outputs.RESEARCH_USE and record["made_by"].startswith("flare ")


def test_a_file_that_cannot_be_written_leaves_the_ranking_before(
    ranking: Ranking, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    before = {path: path.read_bytes() for path in write_ranking(out, ranking)}
    write = Path.write_bytes

    def disk_full(self: Path, data: bytes) -> int:
        if b"<html" in data:
            raise OSError(28, "No space left on device")
        return write(self, data + b" ")

    monkeypatch.setattr(Path, "write_bytes", disk_full)
    with pytest.raises((OSError, ValueError), match="space"):
        write_ranking(out, ranking)
    assert {path: path.read_bytes() for path in out.iterdir()} == before
