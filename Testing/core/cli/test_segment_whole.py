"""The program as people start it, with the real engine and a model whose answer is known."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from constant_model import write_constant_model
from flare_core import cli
from flare_core.imaging.files import read_geometry, read_labels, write_volume
from flare_core.imaging.geometry import Box

ROOT = Path(__file__).parents[3]
FLARE = [sys.executable, "-m", "flare_core", "segment"]


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    """Folder of the package that says liver everywhere."""
    folder = tmp_path_factory.mktemp("model") / "constant"
    write_constant_model(folder)
    return folder


@pytest.fixture(scope="module")
def scan(phantom, tmp_path_factory) -> Path:
    """A scan of the upper abdomen as a file, oblique and anisotropic."""
    z, y, x = phantom.image.array.shape
    part = phantom.image.crop(Box((z // 2, 0, 0), (z * 3 // 4, y, x)))
    path = tmp_path_factory.mktemp("scan") / "ct 腹_0000.nii.gz"
    write_volume(path, part)
    return path


def here(*words: object) -> int:
    """Run `flare segment` in this process, which has loaded torch before; return the exit code."""
    return cli.main(["segment", *map(str, words), "--threads", "1"])


def flare(*words: object) -> subprocess.CompletedProcess[str]:
    """Run `flare segment` as a process."""
    return subprocess.run(
        [*FLARE, *map(str, words), "--threads", "1"],
        cwd=ROOT,
        capture_output=True,
        encoding="utf-8",
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
        timeout=300,
        check=False,
    )


def test_a_scan_from_file_to_four_outputs(scan, model, tmp_path):
    done = flare(scan, "-o", tmp_path / "out", "--model", model)
    assert done.returncode == 0, done.stderr
    names = sorted(os.listdir(tmp_path / "out"))
    stem = "ct 腹"
    assert names == sorted(
        [f"{stem}.nii.gz", f"{stem}.png", f"{stem}_statistics.csv", f"{stem}_statistics.json"]
    )
    assert "Liver" in done.stdout
    labels = read_labels(tmp_path / "out" / f"{stem}.nii.gz")
    grid = read_geometry(scan)
    assert labels.geometry == grid
    assert set(np.unique(labels.array)) <= {0, 1}
    record = json.loads((tmp_path / "out" / f"{stem}_statistics.json").read_text("utf-8"))
    volume = next(row["value"] for row in record["rows"] if row["measure"] == "volume")
    assert volume == pytest.approx((labels.array == 1).sum() * grid.voxel_ml, rel=1e-4)
    facts = record["provenance"]
    assert (facts["model"], facts["model_version"]) == ("constant", "1.0.0")
    assert len(facts["model_sha256"]) == 64
    assert facts["input"] == str(scan)


def test_an_organ_the_model_does_not_find(scan, model, tmp_path, capsys):
    assert here(scan, "-o", tmp_path / "out", "--model", model, "--organs", "spleen") == 2
    assert "spleen" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_truncated_scan_ends_cleanly_while_torch_is_still_loading(scan, model, tmp_path):
    broken = tmp_path / "broken.nii.gz"
    broken.write_bytes(scan.read_bytes()[:5000])
    done = flare(broken, "-o", tmp_path / "out", "--model", model)
    assert done.returncode == 2, done.stderr
    assert "to do:" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_model_with_a_flipped_byte_is_refused(scan, tmp_path, capsys):
    package = write_constant_model(tmp_path / "model")
    weights = package.folder / "organs.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    assert here(scan, "-o", tmp_path / "out", "--model", package.folder) == 2
    assert "to do:" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_an_unknown_model_is_refused(scan, tmp_path, capsys):
    out = tmp_path / "out"
    assert here(scan, "-o", out, "--model", "nobody-knows", "--home", tmp_path / "home") == 2
    assert "nobody-knows" in capsys.readouterr().err


def test_the_worker_stays_warm(scan, model, tmp_path):
    requests = [
        {"id": 1, "command": "preload"},
        {"id": 2, "command": "segment", "input": str(scan), "output": str(tmp_path / "a.nii")},
        {"id": 3, "command": "segment", "input": str(scan), "output": str(tmp_path / "b.nii"),
         "outputs": ["labels"]},
    ]  # fmt: skip
    process = subprocess.Popen(
        [*FLARE, "--worker", "--model", str(model), "--threads", "1"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )
    with process:
        for request in requests:
            process.stdin.write(json.dumps(request) + "\n")
        process.stdin.flush()
        last = {}
        while 3 not in last:
            event = json.loads(process.stdout.readline())
            if event["event"] not in ("ready", "progress"):
                last[event["id"]] = event
        process.stdin.close()
    assert process.returncode == 0
    assert [last[number]["event"] for number in (1, 2, 3)] == ["preloaded", "result", "result"]
    assert last[3]["timings_s"]["load model"] < last[1]["seconds"]
    first, second = (read_labels(tmp_path / name) for name in ("a.nii", "b.nii"))
    assert first.array.any()
    assert np.array_equal(first.array, second.array)
