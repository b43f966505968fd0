"""A folder of traps: files named like modules that make a mark when they are run.

A data folder must never be executable: every command is started there, on data that lies there,
and no mark may appear, from its own process or from any that it starts.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from constant_model import write_constant_model
from core.cases.small_cases import LIVER, SPLEEN, labels, scan
from flare_core.imaging.files import write_labels, write_volume
from force.budget import Budget
from force.counts import Counts, one
from force.killing import apart
from force.readers_imaging import phantom
from force.readers_models import put
from force.readers_tables import flare_files
from nnunet_folders import write_v2
from tiny_training import make_cases, tiny_config, write_config

NAMES = (
    "org", "copy", "numpy", "torch", "json", "site", "sitecustomize", "usercustomize", "random",
    "string", "types", "enum", "re", "os", "io", "abc", "codecs", "encodings", "pickle", "struct",
    "csv", "sqlite3", "logging", "signal", "socket", "subprocess", "tempfile", "threading", "queue",
    "multiprocessing", "concurrent", "platform", "shutil", "zipfile", "zlib", "gzip", "hashlib",
    "ssl", "requests", "urllib", "scipy", "skimage", "PIL", "SimpleITK", "safetensors",
    "flare_core", "triton", "yaml", "readline", "inspect", "dataclasses", "resource",
    "typing_extensions",
    "conftest", "setup", "__init__", "__main__", "pandas", "matplotlib", "psutil", "pynvml",
)  # fmt: skip
"""Modules that Python, our libraries or we import, or would like to."""

MARK = "TRAPPED"
LIMIT_S = 240


def fill(folder: Path) -> None:
    """Put a trap under every name, a few as packages too, beside scans and tables."""
    mark = str(folder.parent / MARK)
    code = f"open({mark!r}, 'a').write(__name__ + ' ' + str(__file__) + chr(10))\n"
    for name in NAMES:
        (folder / f"{name}.py").write_text(code, encoding="utf-8")
    for name in ("numpy", "torch", "flare_core", "json"):
        put(folder / name, {"__init__.py": code.encode(), "__main__.py": code.encode()})
    (folder / "pyproject.toml").write_text("[tool.x]\n", encoding="utf-8")
    (folder / "trap.pth").write_text(f"import os; {code}", encoding="utf-8")
    image, truth = phantom().image, phantom().labels
    for name in ("a", "b"):
        for place in ("scans", "pred", "ref"):
            (folder / place).mkdir(exist_ok=True)
        write_volume(folder / f"scans/{name}.nii.gz", image)
        for place in ("pred", "ref"):
            write_labels(folder / place / f"{name}.nii.gz", truth)
    write_constant_model(folder / "model")
    write_v2(folder / "nnunet")
    put(folder / "flare22", flare_files())
    config = tiny_config(make_cases(folder / "data"))
    write_config(folder / "train.json", config)
    for team in ("x", "y"):
        rows = [f"case{i},0.{5 + i},0.{4 + i},10,1000" for i in range(4)]
        head = "case,organ_dsc,organ_nsd,runtime_s,gpu_stable_max_mib"
        (folder / "teams").mkdir(exist_ok=True)
        (folder / "teams" / f"{team}.csv").write_text("\n".join([head, *rows]), encoding="utf-8")
    labels(folder / "one.nii.gz", {LIVER: 20, SPLEEN: 5})
    scan(folder / "small.nii.gz")


PROGRAM = str(Path(sys.executable).with_name("flare"))

RUN = ("--model", "model", "--device", "cpu", "--threads", "1")

COMMANDS: dict[str, tuple[str, ...]] = {
    "help": ("--help",),
    "evaluate": ("evaluate", "pred", "ref", "--workers", "2", "-o", "scores"),
    "segment": ("segment", "scans/a.nii.gz", "-o", "out", *RUN),
    "batch": ("segment", "scans", "-o", "batch", *RUN),
    "worker": ("segment", "--worker", *RUN),
    "measure": (
        "measure",
        "-i",
        "scans",
        "-o",
        "measured",
        "--",
        PROGRAM,
        "segment",
        "{input}",
        "-o",
        "{output}",
        *RUN,
    ),  # fmt: skip
    "dataset check": ("dataset", "check", "flare22", "--workers", "2"),
    "dataset summary": ("dataset", "summary", "flare22", "-o", "summary", "--workers", "2"),
    "phantom": ("phantom", "phantom.nii.gz"),
    "rank": ("rank", "teams", "-o", "ranking", "--scheme", "flare21", "--bootstraps", "20"),
    "train": ("train", "train.json", "-o", "run"),
    "import": ("models", "import", "nnunet", "--name", "x", "--home", "home"),
    "list": ("models", "list", "--home", "home"),
    "add": ("cases", "add", "small.nii.gz", "--store", "store"),
    "verify": ("cases", "verify", "--store", "store", "--rebuild"),
    "rounds": ("rounds", "status", "run"),
}
"""Every command, with those of its options that start processes."""

FIRST = ("evaluate", "batch", "worker")
"""Those of a short run."""


def run(budget: Budget, folder: Path) -> Counts:
    """Start the commands in the trap folder, one after the other."""
    order = [*FIRST, *(name for name in COMMANDS if name not in FIRST)]
    place = folder / "traps"
    place.mkdir()
    made = apart(lambda: fill(place))
    if made.code != 0:
        raise RuntimeError(f"the trap folder could not be made\n{made.said}")
    counts = Counts()
    for tried, seed in enumerate(budget.seeds()):
        if tried == len(order):
            break
        name = order[seed % len(order)]
        kind, why = _trapped(name, place)
        how = f"python -m force --only traps --seed {seed} --count 1"
        counts += one(kind, how, f"{name}: {why}")
    return counts


def _trapped(name: str, place: Path) -> tuple[str, str]:
    mark = place.parent / MARK
    mark.unlink(missing_ok=True)
    lines = [{"id": 1, "command": "segment", "input": str(place / "scans/b.nii.gz"),
              "output": str(place / "w")}, {"id": 2, "command": "ping"}]  # fmt: skip
    words = "".join(json.dumps(line) + "\n" for line in lines) if name == "worker" else ""
    clean = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONSAFEPATH")}
    done = subprocess.run(
        [PROGRAM, *COMMANDS[name]], cwd=place, env={**clean, "HOME": str(place.parent)},
        input=words.encode(), capture_output=True, timeout=LIMIT_S, check=False,
    )  # fmt: skip
    if mark.exists():
        return "lost", f"ran {mark.read_text('utf-8').splitlines()[:3]}"
    said = (done.stderr or done.stdout).decode("utf-8", "replace")
    if "Traceback" in said or "Something failed" in said or done.returncode not in (0, 1, 2):
        return "unclear", f"exit {done.returncode}: {said.strip()[-300:]}"
    if done.returncode == 2:
        return "clear", said
    return "right", ""
