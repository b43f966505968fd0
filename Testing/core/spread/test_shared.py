from __future__ import annotations

from dataclasses import replace

import pytest

import spread_cases
from flare_core.errors import InputError
from flare_core.spread.on_dask import Terms, spread
from flare_core.spread.shared import Shared, Unseen, shared
from spread_cases import numbers


def test_a_worker_that_does_not_see_the_folder_is_told(workers, proof, tmp_path):
    proof.check(workers)
    other = replace(proof, text="0" * 32)
    with pytest.raises(Unseen, match="does not see") as caught:
        other.check(workers)
    assert caught.value.parts[0] == "--cluster"
    assert str(tmp_path) in caught.value.parts[1]
    with pytest.raises(Unseen, match="does not see"):
        list(spread(workers, spread_cases.double, numbers(4), Terms(other)))
    missing = replace(proof, text="1" * 32, inputs=((tmp_path / "scans", -1),))
    with pytest.raises(Unseen, match="scans"):
        missing.check(workers)


def test_the_proof_goes_and_a_folder_that_is_not_there_is_told(tmp_path):
    with shared(tmp_path) as seen:
        assert seen.file.exists()
        assert seen.look() == ""
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(InputError, match="a folder to write to"), shared(tmp_path / "none"):
        pass


def test_an_input_of_another_size_is_not_the_same(tmp_path):
    (tmp_path / "scans").mkdir()
    scan = tmp_path / "scans" / "a.nii.gz"
    scan.write_bytes(b"abc")
    with shared(inputs=[tmp_path / "scans"]) as seen:
        assert seen.file is None
        assert seen.look() == ""
    with shared(inputs=[tmp_path / "scans"]) as seen:
        scan.write_bytes(b"abcd")
        assert seen.look() == str(scan)
        scan.unlink()
        with pytest.raises(Unseen, match=r"a\.nii\.gz"):
            seen.insist()


def test_what_was_seen_is_looked_at_once(tmp_path):
    file = tmp_path / "seen"
    file.write_text("f" * 32)
    seen = Shared("f" * 32, file)
    assert seen.look() == ""
    file.unlink()
    assert seen.look() == ""
