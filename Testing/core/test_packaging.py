"""What `pip install` and a wheel are made of, as setuptools reads it; nothing is built."""

from __future__ import annotations

import warnings
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

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


@pytest.mark.parametrize("python", ["3.10", "3.11", "3.12", "3.13"])
def test_no_pin_refuses_a_python_that_we_promise(repository, python):
    lines = (repository / "constraints.txt").read_text("utf-8").splitlines()
    refusing = [line for line in lines if line and line[0] != "#" and _refuses(line, python)]
    assert refusing == []


def _refuses(line: str, python: str) -> bool:
    """Whether the pinned release, where it is the one installed here, is not for a Python."""
    pin = Requirement(line)
    if pin.marker and not pin.marker.evaluate({"python_version": python}):
        return False
    try:
        facts = metadata.metadata(pin.name)
    except metadata.PackageNotFoundError:
        return False
    is_pinned = pin.specifier.contains(facts["Version"], prereleases=True)
    pythons = SpecifierSet(facts.get("Requires-Python") or "")
    return is_pinned and not pythons.contains(f"{python}.5")
