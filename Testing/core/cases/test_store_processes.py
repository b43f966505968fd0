from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from core.cases.small_cases import LIVER, labels, scan
from flare_core.cases.rebuild import rebuild
from flare_core.cases.store import open_store

WRITERS, TURNS = 4, 8

WRITER = """
import sys
from pathlib import Path
from flare_core.cases.store import LabelFacts, open_store
me, folder, inputs = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
print("ready", flush=True)
sys.stdin.readline()
with open_store(folder, create=True) as store:
    for turn in range(int(sys.argv[4])):
        store.add_case(inputs / f"shared{turn}.nii.gz")
        store.add_case(inputs / f"own{me}-{turn}.nii.gz", source=me)
        store.add_labels(f"shared{turn}", inputs / "labels.nii.gz",
                         LabelFacts("pseudo", ("liver",), author=me))
        store.set_scores(f"shared{turn}", {me: turn})
        assert len(store.cases()) >= turn + 1
"""


def test_four_writers_at_once_lose_nothing(tmp_path: Path, repository: Path):
    """They create the store together, add the same scans, and label the same cases."""
    inputs, folder = tmp_path / "in", tmp_path / "store"
    labels(inputs / "labels.nii.gz", {LIVER: 9})
    for turn in range(TURNS):
        scan(inputs / f"shared{turn}.nii.gz", turn)
        for me in range(WRITERS):
            scan(inputs / f"own{me}-{turn}.nii.gz", 100 * (me + 1) + turn)
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(me), str(folder), str(inputs), str(TURNS)],
            cwd=repository, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True,
        )
        for me in range(WRITERS)
    ]  # fmt: skip
    for writer in writers:
        assert writer.stdout and writer.stdout.readline().strip() == "ready"
    told = []
    for writer in writers:
        assert writer.stdin
        writer.stdin.write("go\n")
        writer.stdin.flush()
    for writer in writers:
        told.append((writer.communicate(timeout=240)[1], writer.returncode))
    assert [code for _, code in told] == [0] * WRITERS, told

    everyone = {str(me) for me in range(WRITERS)}
    with open_store(folder) as store:
        assert len(store.cases()) == TURNS * (WRITERS + 1)
        for turn in range(TURNS):
            versions = store.versions(f"shared{turn}")
            assert [v.number for v in versions] == list(range(1, WRITERS + 1))
            assert {v.facts.author for v in versions} == everyone
            assert store.scores(f"shared{turn}") == dict.fromkeys(everyone, float(turn))
        assert all(len(store.cases(text=f"own{me}-")) == TURNS for me in range(WRITERS))
        numbers = [event.number for event in store.history()]
        assert numbers == list(range(1, len(numbers) + 1))
        assert store.verify() == ()
        assert os.listdir(folder / "pending") == []
        scores = store.score_table()
    assert scores == rebuilt_scores(folder)


def rebuilt_scores(folder: Path) -> dict[str, dict[str, float]]:
    rebuild(folder)
    with open_store(folder) as store:
        return store.score_table()
