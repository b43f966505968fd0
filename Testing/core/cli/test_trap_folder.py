"""A folder of data is never executable: no process of ours runs a file because of its name there.

Each kind of process is started in a folder whose files are called like modules, and marks who ran
them. The heavy commands stand in `Testing/force/traps.py`.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fake_engine
from flare_core.imaging.files import write_labels, write_volume

ROOT = Path(__file__).parents[3]
HERE = Path(__file__).parent
NAMES = (
    "org", "copy", "numpy", "json", "pickle", "struct", "typing", "contextlib", "SimpleITK",
    "scipy", "torch", "queue", "random", "multiprocessing", "dataclasses", "sqlite3", "argparse",
    "flare_core", "fake_engine", "runpy", "importlib", "csv", "uuid",
)  # fmt: skip

ALL = """import json, sys
from flare_core.cli import main
for words in json.loads(sys.argv[1]):
    print("exit code", main(words), "of", words[0], flush=True)
"""
"""Commands one after the other in one process, which loads only once what they need."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two scans, their labels, two teams, a trap under every name."""
    place = tmp_path_factory.mktemp("traps")
    code = f"open({str(place / 'TRAPPED')!r}, 'a').write(__file__ + chr(10))\n"
    for name in NAMES:
        (place / f"{name}.py").write_text(code, "utf-8")
    image = fake_engine.scan()
    truth = image.with_array((image.array > 0).astype(np.uint8))
    for kind in ("scans", "pred", "ref", "images", "labels", "teams"):
        (place / kind).mkdir()
    for name in ("a", "b", "c", "d"):
        write_volume(place / "scans" / f"{name}.nii.gz", image)
        for kind in ("pred", "ref"):
            write_labels(place / kind / f"{name}.nii.gz", truth)
    write_volume(place / "images" / "a_0000.nii.gz", image)
    write_labels(place / "labels" / "a.nii.gz", truth)
    head = "case,organ_dsc,organ_nsd,runtime_s,gpu_stable_max_mib\n"
    for team in ("x", "y"):
        rows = (f"case{n},0.{5 + n},0.{4 + n},10,1000\n" for n in range(4))
        (place / "teams" / f"{team}.csv").write_text(head + "".join(rows), "utf-8")
    (place / "program").mkdir()  # what pip makes of the entry point
    start = "import sys\nfrom flare_core.cli import main\nsys.exit(main())\n"
    (place / "program" / "flare").write_text(start, "utf-8")
    (place / "program" / "all").write_text(ALL, "utf-8")
    return place


def run(folder: Path, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Run something in the folder; fail if a trap ran."""
    done = subprocess.run(
        words, cwd=folder, input=stdin, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT), "HOME": str(folder)},
    )  # fmt: skip
    trapped = folder / "TRAPPED"
    who = trapped.read_text() if trapped.exists() else ""
    trapped.unlink(missing_ok=True)
    assert not who, who
    return done


SCHEME = ("--scheme", "flare21")

COMMANDS = (
    ("models", "list"),
    ("cases", "list", "--store", "store"),
    ("evaluate", "pred", "ref", "--workers", "2", "--progress", "none"),
    ("rank", "teams", "-o", "ranking", "--bootstraps", "20", *SCHEME),
    ("dataset", "check", ".", "--workers", "2"),
    ("train", "none.json", "-o", "run"),
    ("rounds", "status", "run"),
    ("measure", "-o", "measured", "--", "true"),
)


def test_no_command_runs_what_lies_there(folder: Path) -> None:
    done = run(folder, sys.executable, "program/all", json.dumps(COMMANDS))
    assert done.returncode == 0, done.stderr
    codes = re.findall("^exit code ([012]) of (.*)$", done.stdout, re.MULTILINE)
    assert [name for _, name in codes] == [words[0] for words in COMMANDS]
    assert "Traceback" not in done.stderr


def test_nor_does_a_batch_or_its_reader(folder: Path) -> None:
    fake = fake_engine.__file__
    done = run(folder, sys.executable, fake, "segment", "scans", "-o", "out")
    assert done.returncode == 0, done.stderr
    code = "from flare_core.imaging.apart import read_volume; print(read_volume(sys.argv[1]))"
    safe = "import sys; sys.path = [p for p in sys.path if p]; " + code
    assert "6 x 20 x 24" in run(folder, sys.executable, "-c", safe, "scans/a.nii.gz").stdout


@pytest.mark.skipif(sys.version_info < (3, 11), reason="PYTHONSAFEPATH came with 3.11")
def test_nor_do_the_workers_of_a_cluster(folder: Path) -> None:
    pytest.importorskip("distributed")
    words = ("segment", "scans", "-o", "spread", "--cluster", "local:1")
    done = run(folder, sys.executable, fake_engine.__file__, *words)
    assert done.returncode == 0, done.stderr


def test_nor_does_the_worker_of_slicer(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "FLARESeg"))
    from FLARESegLib.core_path import flare_arguments

    words = flare_arguments(["segment", "--worker"])
    done = run(folder, sys.executable, *words, stdin='{"id": 1, "command": "ping"}\n')
    assert [json.loads(line)["event"] for line in done.stdout.splitlines()] == ["ready", "pong"]
    assert done.returncode == 0


@pytest.mark.skipif(shutil.which("sh") is None, reason="no POSIX shell")
def test_nor_does_the_challenges_script(folder: Path) -> None:
    done = run(folder, "sh", str(ROOT / "predict.sh"), "scans", "predicted", "--model", "none")
    assert done.returncode == 1, done.stderr
    assert "a: failed: " in done.stderr


def test_nor_does_python_m(folder: Path) -> None:
    """But for a file called flare_core.py, which Python takes for us before we can say a word."""
    (folder / "flare_core.py").unlink()
    done = run(folder, sys.executable, "-m", "flare_core", "rank", "teams", "-o", "r", *SCHEME)
    assert done.returncode == 0, done.stderr
