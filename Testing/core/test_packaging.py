"""What `pip install` and a wheel are made of, as setuptools reads it; nothing is built."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest

setuptools = pytest.importorskip("setuptools", "77", reason="setuptools is old or not there")


@pytest.fixture
def project(repository: Path, monkeypatch: pytest.MonkeyPatch) -> setuptools.Distribution:
    monkeypatch.chdir(repository)
    made = setuptools.Distribution({"script_name": "setup.py"})
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # what is deprecated today ends a build one day
        made.parse_config_files()
    return made


def test_the_licence_is_an_expression_and_its_text_is_packed(project):
    assert project.metadata.license_expression == "Apache-2.0"
    assert project.metadata.license_files == ["LICENSE"]


def test_a_wheel_holds_every_file_of_the_library(project, repository):
    project.include_package_data = False  # what an earlier build has noted does not count
    command = project.get_command_obj("build_py")
    command.ensure_finalized()
    packed = {Path(path).resolve() for _, _, path in command.find_all_modules()}
    for _, source, _, names in command.data_files:
        packed |= {(repository / source / name).resolve() for name in names}
    there = {
        path.resolve()
        for path in (repository / "flare_core").rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    assert there - packed == set()
