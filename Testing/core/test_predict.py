"""`predict.sh` as the challenge runs it, with a model whose answer is known.

That the container around it works cannot be seen here, as no Docker engine runs on these machines;
what can be read off the Dockerfiles is tested at the end.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from flare_core.imaging.files import read_geometry, read_labels, write_volume
from flare_core.imaging.geometry import Box, Geometry
from flare_core.imaging.volume import Volume
from flare_core.models.card import ModelCard, NetworkSpec, Normalisation, StageCard
from flare_core.models.package import write_package
from flare_core.networks import build_network

ROOT = Path(__file__).parents[2]
CPU = ("--device", "cpu", "--threads", "1", "--precision", "float32")
EIGHT_GIB = 8 * 2**20
"""In KiB, as `ulimit -v` takes it."""

pytestmark = pytest.mark.skipif(shutil.which("sh") is None, reason="no POSIX shell")


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    """A network that calls dense voxels liver and everything else background."""
    network = NetworkSpec(
        "plain_unet",
        output_channels=2,
        features_per_stage=(2, 2),
        strides=((1, 1, 1), (2, 2, 2)),
        kernel_sizes=((1, 1, 1), (1, 1, 1)),
        convolutions_per_stage_encoder=(1, 1),
        convolutions_per_stage_decoder=(1,),
    )
    stage = StageCard(
        "organs",
        network=network,
        weights="organs.safetensors",
        spacing_mm=(5.0, 4.0, 4.0),
        patch=(16, 32, 32),
        normalisation=Normalisation("window", -160, 240, 40.0, 100.0),
        labels=("background", "liver"),
    )
    card = ModelCard(
        "tiny", "1.0.0", "Liver everywhere.", stages=(stage,), licence="Apache-2.0",
        intended_use="Tests.", limitations="Not a medical device.", training_data=(),
    )  # fmt: skip
    weights = {key: torch.zeros_like(v) for key, v in build_network(network).state_dict().items()}
    head = [key for key, value in weights.items() if key.endswith("bias") and value.shape == (2,)]
    weights[head[-1]] = torch.tensor([0.0, 1.0])
    folder = tmp_path_factory.mktemp("model") / "tiny"
    write_package(folder, card, {"organs": weights})
    return folder


def predict(*words: object, limit_kib: int | None = None, cwd: Path = ROOT):
    """Run `sh predict.sh WORDS`, under a limit of its address space."""
    path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    command = ["sh", str(ROOT / "predict.sh"), *map(str, words)]
    if limit_kib is not None:
        command = ["sh", "-c", f'ulimit -v {limit_kib} && exec "$@"', "sh", *command]
    return subprocess.run(
        command, cwd=cwd, env={"PATH": path, "HOME": "/nonexistent", "OMP_NUM_THREADS": "1"},
        capture_output=True, encoding="utf-8", timeout=300, check=False,
    )  # fmt: skip


def names(folder: Path) -> set[str]:
    """Everything in a folder, hidden files too."""
    return {path.name for path in folder.iterdir()}


@pytest.fixture(scope="module")
def scans(phantom, tmp_path_factory) -> Path:
    """Two oblique scans, one under a name that is hard on a shell, one of them unreadable."""
    folder = tmp_path_factory.mktemp("inputs")
    z, y, x = phantom.image.array.shape
    for name, part in (("FLARETs_0001", (0.5, 0.7)), ('it\'s "5" \\ $x', (0.6, 0.75))):
        box = Box((int(z * part[0]), 0, 0), (int(z * part[1]), y, x))
        write_volume(folder / f"{name}_0000.nii.gz", phantom.image.crop(box))
    (folder / "broken_0000.nii.gz").write_bytes(b"no scan")
    return folder


@pytest.fixture(scope="module")
def outcome(scans, model, tmp_path_factory):
    """One run over all of them in 8 GiB of address space; (completed process, output folder)."""
    outputs = tmp_path_factory.mktemp("work") / "outputs"
    done = predict(scans, outputs, "--model", model, *CPU, limit_kib=EIGHT_GIB)
    return done, outputs


def test_each_readable_scan_has_its_label_map_and_nothing_else_is_written(outcome):
    done, outputs = outcome
    assert names(outputs) == {"FLARETs_0001.nii.gz", 'it\'s "5" \\ $x.nii.gz'}, done.stderr


def test_a_bad_scan_is_named_and_the_others_are_done(outcome):
    done, _ = outcome
    assert done.returncode == 1
    lines = [line for line in done.stderr.splitlines() if line.startswith("broken: failed: ")]
    assert len(lines) == 1
    assert "shorter than a NIfTI header" in lines[0]
    assert "\\n" not in lines[0]
    assert "FLARETs_0001: done" in done.stderr


def test_labels_lie_on_the_scans_grid_with_its_affine(outcome, scans):
    _, outputs = outcome
    for name in names(outputs):
        labels = read_labels(outputs / name)
        scan = scans / name.replace(".nii.gz", "_0000.nii.gz")
        assert labels.geometry == read_geometry(scan)
        assert np.unique(labels.array).tolist() == [0, 1] or labels.array.all()


@pytest.fixture(scope="module")
def elsewhere(scans, model, tmp_path_factory):
    """One run over the readable scans, from another folder; (completed process, output folder)."""
    folder = tmp_path_factory.mktemp("elsewhere")
    shutil.copytree(scans, folder / "in")
    (folder / "in" / "broken_0000.nii.gz").unlink()
    words = ("--model", model, *CPU, "--scheme", "totalsegmentator")
    return predict("in", "out", *words, cwd=folder), folder / "out"


def test_label_maps_take_the_numbers_that_are_asked_for(elsewhere):
    done, outputs = elsewhere
    assert done.returncode == 0, done.stderr
    labels = read_labels(outputs / "FLARETs_0001.nii.gz").array
    assert labels.max() == 5  # liver


def test_the_model_is_loaded_once(elsewhere):
    """The second of two scans must not pay for start and model again."""
    script = (ROOT / "predict.sh").read_text("utf-8")
    assert script.count("-m flare_core segment") == 1
    loop = script[script.index("for scan", script.index("failed=0")) :]
    assert "flare_core segment" not in loop
    done, outputs = elsewhere
    assert (done.returncode, len(names(outputs))) == (0, 2), done.stderr


def test_a_scan_without_organs_gets_an_empty_map(model, tmp_path):
    leg = np.full((8, 32, 32), -1000, np.int16)
    leg[:, 8:24, 8:24] = 60
    grid = Geometry(
        (8, 32, 32), (5.0, 4.0, 4.0), (0.0, 0.0, 0.0),
        ((0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (-1.0, 0.0, 0.0)),
    )  # fmt: skip
    (tmp_path / "in").mkdir()
    write_volume(tmp_path / "in" / "leg_0000.nii.gz", Volume(leg, grid))
    wanted = ("--organs", "liver", "--model", _without_liver(model, tmp_path))
    done = predict(tmp_path / "in", tmp_path / "out", *wanted, *CPU)
    assert done.returncode == 0, done.stderr
    assert "no abdominal organ found" in done.stderr
    labels = read_labels(tmp_path / "out" / "leg.nii.gz")
    assert not labels.array.any()
    assert labels.geometry == read_geometry(tmp_path / "in" / "leg_0000.nii.gz")


def _without_liver(model: Path, folder: Path) -> Path:
    """The same model with weights that never find a liver."""
    from flare_core.models.package import load_package, read_weights

    package = load_package(model)
    weights = read_weights(package.weights_path("organs"))
    zeros = {key: torch.zeros_like(value) for key, value in weights.items()}
    return write_package(folder / "blind", package.card, {"organs": zeros}).folder


def test_it_runs_from_any_folder(elsewhere):
    done, outputs = elsewhere
    assert done.returncode == 0, done.stderr
    assert names(outputs) == {"FLARETs_0001.nii.gz", 'it\'s "5" \\ $x.nii.gz'}


def _same_scan_as(scans: Path, folder: Path, *file_names: str) -> Path:
    """A folder that holds one readable scan under several names."""
    folder.mkdir(exist_ok=True)
    for name in file_names:
        shutil.copy(scans / "FLARETs_0001_0000.nii.gz", folder / name)
    return folder


def test_every_name_gets_its_own_answer(scans, model, tmp_path):
    """A name with a line break was two requests: each later scan had another one's answer."""
    hard = _same_scan_as(scans, tmp_path / "in", "a\nb_0000.nii.gz", "d\te.nii.gz", "z.nii.gz")
    (hard / "c_0000.nii.gz").write_bytes(b"no scan")
    (hard / "y_0000.nii.gz").symlink_to("nowhere")
    (tmp_path / "json.py").write_text("raise SystemExit(7)")  # never imported
    done = predict(hard, tmp_path / "out", "--model", model, *CPU, cwd=tmp_path)
    assert done.returncode == 1
    assert names(tmp_path / "out") == {"a\nb.nii.gz", "d\te.nii.gz", "z.nii.gz"}
    for failed, reason in (("c", "shorter than a NIfTI header"), ("y", "which is not there")):
        (line,) = [x for x in done.stderr.splitlines() if x.startswith(f"{failed}: ")]
        assert line.startswith(f"{failed}: failed: ")
        assert reason in line
    assert "z: done" in done.stderr


def test_scans_of_one_name_are_refused_not_written_over(scans, model, tmp_path):
    twice = _same_scan_as(scans, tmp_path / "in", "a_0000.nii.gz", "b.nii.gz", "b_0000.nii.gz")
    done = predict(twice, tmp_path / "out", "--model", model, *CPU)
    assert done.returncode == 1
    assert names(tmp_path / "out") == {"a.nii.gz"}
    for name in ("b.nii.gz", "b_0000.nii.gz"):
        assert f"b: failed: {name} is not the only scan of this name" in done.stderr


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="no list of children")
def test_a_worker_that_is_killed_costs_one_scan(scans, model, tmp_path):
    several = _same_scan_as(scans, tmp_path / "in", *(f"s{n}_0000.nii.gz" for n in range(4)))
    path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    script = ["sh", str(ROOT / "predict.sh"), several, tmp_path / "out", "--model", model, *CPU]
    running = subprocess.Popen(
        [str(word) for word in script],
        env={"PATH": path, "HOME": "/nonexistent", "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE, encoding="utf-8",
    )  # fmt: skip
    told = [running.stderr.readline()]
    while "done" not in told[-1] and told[-1]:
        told.append(running.stderr.readline())
    children = Path(f"/proc/{running.pid}/task/{running.pid}/children").read_text().split()
    os.kill(int(children[0]), signal.SIGKILL)
    told.append(running.communicate(timeout=300)[1])
    assert running.returncode == 1
    text = "".join(told)
    assert text.count("failed: the program has ended") == 1, text
    assert len(names(tmp_path / "out")) == 3, text


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("nowhere", "out"), "there is no folder nowhere"),
        (("empty", "out"), "holds no scan"),
        (("in", "file"), "cannot be written"),
        (("in", "out", "--device", "toaster"), "option"),
        ((), "/workspace/inputs"),
    ],
)
def test_wrong_arguments_end_with_2_and_leave_nothing(scans, tmp_path, words, text):
    (tmp_path / "empty").mkdir()
    (tmp_path / "in").mkdir()
    (tmp_path / "file").write_text("")
    shutil.copy(scans / "FLARETs_0001_0000.nii.gz", tmp_path / "in")
    if not words and Path("/workspace/inputs").exists():
        pytest.skip("this machine has the container's folders")
    done = predict(*words, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert text in done.stderr
    assert not (tmp_path / "out").exists() or not names(tmp_path / "out")


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A folder with the program and no `.venv`, as after `git clone`."""
    (tmp_path / "clone").mkdir()
    shutil.copy(ROOT / "predict.sh", tmp_path / "clone")
    (tmp_path / "clone" / "flare_core").symlink_to(ROOT / "flare_core")
    return tmp_path / "clone"


def predict_of(clone: Path, scans: Path, path: str, *words: object):
    """Run a clone's `predict.sh` with programs from a PATH."""
    return subprocess.run(
        ["sh", str(clone / "predict.sh"), str(scans), str(clone.parent / "out"), *map(str, words)],
        env={"PATH": path, "HOME": "/nonexistent", "OMP_NUM_THREADS": "1"}, cwd=clone.parent,
        capture_output=True, encoding="utf-8", timeout=300, check=False,
    )  # fmt: skip


def bare_python(folder: Path) -> str:
    """Return a PATH whose python3 has no packages."""
    python = folder / "bin" / "python3"
    python.parent.mkdir()
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S "$@"\n')
    python.chmod(0o755)
    return f"{python.parent}:/usr/bin:/bin"


def test_a_clone_that_is_not_set_up_says_what_is_missing(clone, scans, tmp_path):
    done = predict_of(clone, scans, bare_python(tmp_path))
    assert done.returncode == 2 and "Traceback" not in done.stderr
    first, came, legal, action = done.stderr.splitlines()
    assert first == "Python: not usable."
    assert came.endswith("bin/python3, without numpy, scipy, SimpleITK, safetensors, torch")
    assert ".venv" in legal
    assert action.endswith(f"make -C '{clone}' setup")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "head", ["#!{python}", "#!/bin/sh\n'''exec' \"{python}\" \"$0\" \"$@\"\n' '''"]
)
def test_an_installed_flare_lends_its_python(clone, scans, model, tmp_path, head):
    """The second head is what pip writes where the Python's path is long or has blanks."""
    path = bare_python(tmp_path)
    (tmp_path / "bin" / "flare").write_text(head.format(python=sys.executable) + "\n")
    (tmp_path / "bin" / "flare").chmod(0o755)
    (tmp_path / "in").mkdir()
    shutil.copy(scans / "FLARETs_0001_0000.nii.gz", tmp_path / "in")
    done = predict_of(clone, tmp_path / "in", path, "--model", model, *CPU)
    assert done.returncode == 0, done.stderr
    assert names(tmp_path / "out") == {"FLARETs_0001.nii.gz"}


def test_a_real_scan_with_the_default_model_in_8_gib(real_data, tmp_path):
    if not (ROOT / "flare_core" / "resources" / "default_model" / "card.json").is_file():
        pytest.skip("no default model")
    (tmp_path / "in").mkdir()
    name = "hcc009thick"
    shutil.copy(real_data / "ct" / f"{name}.nii.gz", tmp_path / "in" / f"{name}_0000.nii.gz")
    done = predict(tmp_path / "in", tmp_path / "out", "--device", "cpu", limit_kib=EIGHT_GIB)
    assert done.returncode == 0, done.stderr
    assert names(tmp_path / "out") == {f"{name}.nii.gz"}
    found = read_labels(tmp_path / "out" / f"{name}.nii.gz").array == 1
    liver = read_labels(real_data / "labels" / f"{name}.nii.gz").array == 1
    assert 2 * (found & liver).sum() / (found.sum() + liver.sum()) > 0.85


# --- the container, as far as it can be read


@pytest.mark.parametrize("name", ["Dockerfile", "Dockerfile.gpu"])
def test_what_the_dockerfiles_copy_is_there_and_not_ignored(name):
    kept = {
        line.removeprefix("!").strip().rstrip("/")
        for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines()
        if line.startswith("!")
    }
    copied = set()
    for line in (ROOT / name).read_text("utf-8").splitlines():
        if line.startswith("COPY ") and "--from" not in line:
            copied |= {word.rstrip("/") for word in line.split()[1:-1]}
    assert copied == kept
    assert all((ROOT / each).exists() for each in copied)


def test_the_container_holds_the_versions_that_are_tested():
    pins = dict(re.findall(r"(?m)^([a-z-]+)==([^;\s]+)", (ROOT / "constraints.txt").read_text()))
    for name in ("Dockerfile", "Dockerfile.gpu"):
        text = (ROOT / name).read_text("utf-8")
        assert "-c constraints.txt" in text
        (torch_version,) = set(re.findall(r"TORCH=([0-9.]+)", text))
        assert torch_version == pins["torch"]


@pytest.mark.parametrize("name", ["Dockerfile", "Dockerfile.gpu"])
def test_the_challenges_command_finds_its_script(name):
    """`docker run ... /bin/bash -c "sh predict.sh"`: in the working folder, no entry point."""
    text = (ROOT / name).read_text("utf-8")
    final = text[text.rindex("\nFROM ") :]
    assert "WORKDIR /workspace" in final
    assert re.search(r"(?m)^COPY predict\.sh \./?$", final)
    assert "ENTRYPOINT" not in text
