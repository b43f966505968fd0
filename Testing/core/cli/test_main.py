from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from flare_core import cli
from flare_core.cli import COMMANDS, build_parser

ROOT = Path(__file__).parents[3]


def python(code: str) -> str:
    """Run `code` in a fresh interpreter; return what it prints."""
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip


def test_the_command_line_starts_without_anything_heavy():
    loaded = python("import sys, flare_core.cli; print(*sorted(sys.modules))").split()
    assert {"torch", "numpy", "SimpleITK", "scipy", "skimage", "requests"} & set(loaded) == set()


def test_every_command_file_is_listed():
    folder = Path(cli.__file__).parent
    files = {path.stem for path in folder.glob("*.py") if "\nNAME = " in path.read_text("utf-8")}
    assert {command.__name__.split(".")[-1] for command in COMMANDS.values()} == files
    assert all(name == command.NAME for name, command in COMMANDS.items())


def test_help_and_version(capsys):
    assert cli.main(["--version"]) == 0
    assert cli.main(["--help"]) == 0
    text = capsys.readouterr().out
    assert "flare 0." in text or "flare 1." in text
    for name, command in COMMANDS.items():
        assert name in text
        assert command.HELP in text
        assert cli.main([name, "--help"]) == 0


def test_help_names_every_option_of_segment(capsys):
    cli.main(["segment", "--help"])
    text = capsys.readouterr().out
    for option in ("--organs", "--model", "--device", "--threads", "--fast", "--no-cascade",
                   "--progress", "--series", "--overwrite", "--precision", "--home", "--worker",
                   "--output", "--debug"):  # fmt: skip
        assert option in text


def test_the_defaults_of_the_command_line_are_those_of_the_library():
    from flare_core.cli.segment import settings_of
    from flare_core.segment.settings import Settings

    arguments = build_parser().parse_args(["segment", "x", "-o", "y"])
    assert settings_of(arguments) == Settings()


def test_a_broken_command_ends_with_a_log(capsys):
    class Broken:
        NAME = "broken"
        HELP = "breaks"

        def add_arguments(self, parser):
            """No arguments."""

        def run(self, arguments):
            raise RuntimeError("this is a defect")

    assert cli.main(["broken"], {"broken": Broken()}) == 1
    text = capsys.readouterr().err
    assert "this is a defect" in text
    assert "Traceback" not in text
    log = Path(text.split("details: ")[1].strip())
    assert "Traceback" in log.read_text()
    log.unlink()
    with pytest.raises(RuntimeError):
        cli.main(["broken", "--debug"], {"broken": Broken()})


def test_a_command_that_nobody_asked_for_declares_nothing() -> None:
    class Silent:
        NAME = "silent"
        HELP = "not asked"

        def add_arguments(self, parser):
            raise AssertionError("declared its arguments")

        def run(self, arguments):
            return 0

    asked = {"silent": Silent(), "segment": COMMANDS["segment"]}
    assert cli.main(["segment", "--help"], asked) == 0
    assert cli.main(["--help"], asked) == 0
    with pytest.raises(AssertionError):
        build_parser(asked)


COMMANDS_WITH_PATHS = (
    ["evaluate", "@", "."], ["evaluate", ".", "@"], ["rank", "@", "-o", "o"],
    ["rank", ".", "-o", "o", "--scheme", "@"], ["train", "@", "-o", "o"], ["train", ".", "-o", "@"],
    ["dataset", "check", "@"], ["dataset", "summary", "@", "-o", "o"], ["phantom", "@"],
    ["measure", "-i", "@", "-o", "o", "--", "true"], ["cases", "list", "--store", "@"],
    ["cases", "add", "@", "--store", "s"], ["cases", "import", "@", "--store", "s"],
    ["rounds", "status", "@"], ["rounds", "start", "r", "--settings", "@"],
    ["models", "install", "@", "--yes", "--home", "h"], ["models", "list", "--home", "@"],
    ["models", "import", "@", "--name", "n", "--home", "h"], ["segment", "@", "-o", "o"],
    ["segment", ".", "-o", "@"], ["segment", ".", "-o", "o", "--model", "@"],
)  # fmt: skip


@pytest.mark.parametrize("words", COMMANDS_WITH_PATHS, ids=" ".join)
def test_a_path_that_no_file_may_have_is_refused_by_every_command(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    for odd in ("x" * 300, "a\0b", "a\udcffb", "y/" * 2500):
        assert cli.main([odd if word == "@" else word for word in words]) == 2
        told = capsys.readouterr().err
        assert "to do:" in told and "Something failed" not in told
    assert not {each.name for each in tmp_path.iterdir()} - {"s", "h"}


@pytest.mark.parametrize("words", COMMANDS_WITH_PATHS, ids=" ".join)
def test_an_empty_path_is_not_the_current_folder(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    """As in `-o "$OUT"`, where nobody has set OUT."""
    monkeypatch.chdir(tmp_path)
    assert cli.main(["" if word == "@" else word for word in words]) == 2
    told = capsys.readouterr().err
    assert "to do:" in told and "Something failed" not in told
    assert not list(tmp_path.iterdir())


def test_a_library_that_is_still_being_loaded_does_not_crash_the_end(tmp_path: Path) -> None:
    """Taken apart in the middle of it, the process aborts: `terminate called ...`, exit 134."""
    code = (
        "import sys, time\n"
        "from flare_core import cli\n"
        "from flare_core.jobs import engine\n"
        "engine.settle.__defaults__ = (0.1,)\n"
        "engine.in_background(lambda: time.sleep(600))\n"
        "import atexit; atexit.register(lambda: print('taken apart', file=sys.stderr))\n"
        "sys.exit(cli.main(['segment', 'absent.nii.gz', '-o', 'out']))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=120,
        check=False,
    )  # fmt: skip
    assert done.returncode == 2 and "does not exist" in done.stderr
    assert "taken apart" not in done.stderr
