"""`.ci/setup` where no CPU build of PyTorch is within reach; its pip only notes its words."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PYTHON = """#!/bin/sh
case "$*" in
    --version) echo "Python 3.13.0" ;;
    "- "*) exit 1 ;; # is PyTorch there?
    *"pip "*install*)
        echo "$*" >>"$(dirname "$0")/asked"
        case "$*" in
            *--no-index*) exit 1 ;;
            *--index-url*) echo "ERROR: No matching distribution found for torch" >&2; exit 1 ;;
        esac ;;
esac
"""

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux") or shutil.which("bash") is None, reason="no Linux"
)


@pytest.fixture
def clone(tmp_path: Path, repository: Path) -> Path:
    """A clone whose `.venv` is half made."""
    for name in (".ci/setup", "constraints.txt", "pyproject.toml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(repository / name, tmp_path / name)
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "pyvenv.cfg").touch()
    (tmp_path / "path").mkdir()
    for program in (".venv/bin/python", "path/python3"):
        (tmp_path / program).write_text(PYTHON)
        (tmp_path / program).chmod(0o755)
    (tmp_path / "path" / "nvidia-smi").write_text("#!/bin/sh\nexit 9\n")
    (tmp_path / "path" / "nvidia-smi").chmod(0o755)
    return tmp_path


def set_up(clone: Path, **choice: str) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    """Run it; the second is what pip was asked to install from PyPI, if PyTorch."""
    done = subprocess.run(
        ["bash", ".ci/setup"], cwd=clone, env={"PATH": f"{clone}/path:/usr/bin:/bin", **choice},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    asked = (clone / ".venv" / "bin" / "asked").read_text().splitlines()
    return done, [words for words in asked if "torch==" in words and "-index" not in words]


def test_gigabytes_of_cuda_are_not_taken_unasked(clone):
    done, from_pypi = set_up(clone)
    assert done.returncode == 1 and not from_pypi
    assert "no CPU build was to be had for Python 3.13.0" in done.stderr
    assert "came:   No matching distribution found for torch" in done.stderr
    assert "make TORCH=default setup" in done.stderr
    assert not (clone / ".venv" / "ready").exists()


def test_they_are_taken_when_asked_for(clone):
    done, from_pypi = set_up(clone, TORCH="default")
    assert done.returncode == 0, done.stderr
    assert len(from_pypi) == 1
    assert (clone / ".venv" / "ready").is_file()


def test_they_are_taken_for_a_graphics_card(clone):
    (clone / "path" / "nvidia-smi").write_text("#!/bin/sh\n")
    done, from_pypi = set_up(clone)
    assert done.returncode == 0, done.stderr
    assert len(from_pypi) == 1
