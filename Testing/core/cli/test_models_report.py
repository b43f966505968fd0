from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import tiny_catalogue
from file_server import Site, serving
from flare_core.cli import main, models_report
from flare_core.cli.models_report import model_reporting, stopped_by_input
from flare_core.home import Home
from nnunet_zips import nnunet_zip
from stub_models import stub_package

ROOT = Path(__file__).resolve().parents[3]
PROGRAM = Path(tiny_catalogue.__file__)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


def events(text: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in text.splitlines()]


def flare(home: Home, capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, list]:
    """Run ``flare models ... --progress json``; return the exit code and the events."""
    capsys.readouterr()
    words = ("models", *words, "--home", home.path, "--progress", "json")
    code = main([str(word) for word in words])
    return code, events(capsys.readouterr().out)


def started(site: Site, home: Home) -> subprocess.Popen[str]:
    """``flare models install tiny`` in a process, whose input we hold."""
    words = ["models", "install", "tiny", "--yes", "--progress", "json", "--home", str(home.path)]
    return subprocess.Popen(
        [sys.executable, str(PROGRAM), str(ROOT), f"{site.url}/tiny.zip", *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> list[dict[str, object]]:
    """Let it come to its end, then close its input; return the events."""
    assert process.stdin is not None and process.stdout is not None
    told = events(process.stdout.read())
    process.stdin.close()
    assert process.wait(60) == 0
    return told


def padded(content: bytes) -> bytes:
    """The zip with half a megabyte that nobody needs, so that it comes in several pieces."""
    stream = io.BytesIO(content)
    with zipfile.ZipFile(stream, "a") as archive:
        archive.writestr("padding.bin", os.urandom(500_000))
    return stream.getvalue()


def test_a_download_that_is_stopped_goes_on_from_there(home: Home) -> None:
    content = padded(nnunet_zip("Dataset001_tiny", ["liver", "aorta"]))
    with serving(Site({"/tiny.zip": content}, ["stall"] * 6)) as site:
        process = started(site, home)
        assert process.stdin is not None and process.stdout is not None
        for line in process.stdout:  # half of it is there now; the server says nothing more
            if json.loads(line).get("done"):
                break
        process.stdin.close()
        last = events(process.stdout.read())[-1]
        assert last["event"] == "cancelled" and process.wait(60) == 130
        part = home.cache / "downloads" / "tiny.zip.part"
        assert 0 < part.stat().st_size < len(content) and not home.models.exists()
        have = part.stat().st_size
        site.faults.clear()
        told = finish(started(site, home))
    assert site.asked[-1] == ("/tiny.zip", f"bytes={have}-")
    tell_all(told, home)


def tell_all(told: list[dict[str, object]], home: Home) -> None:
    """The events of an installation are whole and in order."""
    assert [each["event"] for each in (told[0], told[-1])] == ["start", "result"]
    progress = [each for each in told if each["event"] == "progress"]
    assert {each["stage"] for each in progress} == {"downloading", "converting"}
    assert {each["file"] for each in progress} == {"tiny.zip"}
    fractions = [float(str(each["fraction"])) for each in progress]
    assert fractions == sorted(fractions) and fractions[0] >= 0 and fractions[-1] == 0.9
    assert told[-1] == {
        "event": "result", "name": "tiny", "version": "2.0.0",
        "folder": str(home.model("tiny", "2.0.0")),
    }  # fmt: skip


def test_import_and_remove(home: Home, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "own.zip"
    path.write_bytes(nnunet_zip("Dataset002_own", ["liver"]))
    code, told = flare(home, capsys, "import", path, "--name", "own")
    assert code == 0 and (told[1]["stage"], told[1]["file"]) == ("converting", "own.zip")
    assert (told[-1]["event"], told[-1]["name"], told[-1]["version"]) == ("result", "own", "1.0.0")
    code, told = flare(home, capsys, "remove", "own@1.0.0", "--yes")
    assert code == 0 and told[-1]["event"] == "result" and not home.model("own", "1.0.0").exists()


def test_errors_have_four_parts(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (("install", "nobody"), ("import", "nowhere"), ("remove", "x@1", "--yes")):
        code, told = flare(home, capsys, *words)
        assert code == 2 and told[-1]["event"] == "error" and told[-1]["kind"] == "input"
        assert told[-1]["argument"] and told[-1]["action"]


def test_a_model_that_the_system_holds(
    home: Home, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = stub_package(home.model("stub", "1.2.3")).folder

    def held(self: Path, target: Path) -> None:
        raise PermissionError(13, "in use by another program")

    monkeypatch.setattr(Path, "rename", held)
    code, told = flare(home, capsys, "remove", "stub@1.2.3", "--yes")
    assert code == 2 and "in use" in told[-1]["came"] and folder.is_dir()


def test_several_files_share_the_way(capsys: pytest.CaptureFixture[str]) -> None:
    with model_reporting("json") as report:
        report.expect(2)
        for name in ("a.zip", "b.zip"):
            report.file(name)
            report.bytes(10, 10)
        for name in ("a.zip", "b.zip"):
            report.stage(models_report.CONVERTING, name)
    told = events(capsys.readouterr().out)[1:]
    fractions = [each["fraction"] for each in told]
    assert fractions[0] == 0 and fractions[-1] == 0.95 and fractions == sorted(fractions)
    assert 0.45 in fractions and 0.9 in fractions


def test_a_terminal_or_an_empty_file_stops_nothing() -> None:
    """Only a pipe's end means something."""
    code = (
        "from flare_core.cli.models_report import stopped_by_input; import time\n"
        "with stopped_by_input(): time.sleep(0.3)\n"
        "print('whole')"
    )
    words = [sys.executable, "-c", code]
    done = subprocess.run(
        words, stdin=subprocess.DEVNULL, capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert done.stdout.strip() == "whole"
    with stopped_by_input():  # a test's own input: nothing to watch
        pass
