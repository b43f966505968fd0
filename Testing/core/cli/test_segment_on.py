from __future__ import annotations

import json
import os

import pytest

import served
from fake_engine import FAKE, flare, four
from served import TOKEN, serving


@pytest.fixture
def token_file(tmp_path):
    path = tmp_path / "token"
    path.write_text(TOKEN + "\n")
    path.chmod(0o600)
    return path


@pytest.mark.usefixtures("calls")
def test_a_folder_is_segmented_there_and_written_here(scans, tmp_path, token_file, capsys):
    folder = scans("a", "b")
    here, there = tmp_path / "here", tmp_path / "there"
    assert flare("segment", folder, "-o", here) == 0
    capsys.readouterr()
    with serving(FAKE) as access:
        words = ("--on", access.address, "--token-file", token_file)
        assert flare("segment", folder, "-o", there, *words, "--organs", "liver,spleen") == 0
    said = capsys.readouterr().err
    assert f"Voxels and their geometry go to {access.address} (not encrypted)" in said
    assert set(os.listdir(there)) == {*four("a"), *four("b"), "all_cases.csv"}
    for name in ("a.nii.gz", "b.nii.gz", "a_statistics.csv", "a.png", "all_cases.csv"):
        assert (there / name).read_bytes() == (here / name).read_bytes(), name
    facts = json.loads((there / "a_statistics.json").read_text())
    assert facts["provenance"]["computed_on"] == access.address
    assert facts["provenance"]["input"] == str(folder / "a.nii.gz")
    assert TOKEN not in (there / "a_statistics.json").read_text()


@pytest.mark.usefixtures("calls")
def test_a_scan_that_fails_there_is_one_failed_case(scans, tmp_path, token_file, capsys):
    folder = scans("a", "bad")
    with serving(FAKE) as access:
        words = ("--on", access.address, "--token-file", token_file)
        assert flare("segment", folder, "-o", tmp_path / "out", *words) == 1
        assert four("a") <= set(os.listdir(tmp_path / "out"))
        assert not any("bad" in name for name in os.listdir(tmp_path / "out"))
    assert flare("segment", folder / "a.nii.gz", "-o", tmp_path / "x", *words) == 2
    assert "nobody answers" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def test_no_server_has_heard_of_the_file(scans, tmp_path, token_file, monkeypatch):
    """What a server receives holds neither names nor paths."""
    heard = []
    real = served.Server._talk

    async def listened(self, line):
        hear = line.hear

        async def noted():
            heard.append(await hear())
            return heard[-1]

        line.hear = noted
        await real(self, line)

    monkeypatch.setattr(served.Server, "_talk", listened)
    folder = scans("Maria_Muster")
    with serving(FAKE) as access:
        words = ("--on", access.address, "--token-file", token_file)
        assert flare("segment", folder, "-o", tmp_path / "out", *words) == 0
    said = json.dumps(heard)
    assert '"segment"' in said
    assert "Muster" not in said
    assert str(tmp_path) not in said
    assert TOKEN not in said


@pytest.mark.parametrize(("words", "argument"), [
    (("--on", "nonsense"), "--on"),
    (("--on", "localhost:1"), "--token-file"),
    (("--on", "localhost:1", "--token-file", "/none"), "--token-file"),
    (("--on", "localhost:1", "--cluster", "local:2"), "--cluster"),
    (("--on", "localhost:1", "--worker"), "--worker"),
    (("--on", "localhost:1", "--device", "cpu"), "--device"),
    (("--on", "localhost:1", "--threads", "3"), "--threads"),
    (("--token-file", "x"), "--token-file"),
    (("--certificate", "x"), "--certificate"),
    (("--without-tls",), "--without-tls"),
])  # fmt: skip
def test_what_does_not_fit_together_is_told(words, argument, capsys):
    assert flare("segment", "x.nii.gz", "-o", "out", *words) == 2
    assert capsys.readouterr().err.startswith(argument)
