from __future__ import annotations

from flare_core.jobs.measure import filled, read_record


def test_a_damaged_record_counts_as_not_measured(tmp_path):
    (tmp_path / "cases").mkdir()
    (tmp_path / "cases/a.json").write_text('{"status": "ok"')
    assert read_record(tmp_path, "a") is None
    (tmp_path / "cases/a.json").write_text('{"status": "ok", "efficiency": {}}')
    assert read_record(tmp_path, "a") is None


def test_placeholders_may_stand_inside_words():
    values = {"{input}": "/x/{case}.nii", "{case}": "c"}
    assert filled(["-v={input}:/in", "{cas}"], values)[1] == "{cas}"
    assert filled(["-v=A{case}B"], values) == ["-v=AcB"]


def test_braces_in_a_scans_name_are_no_placeholders():
    """The command ran for a file that is not there."""
    values = {"{input}": "/x/{case}.nii", "{case}": "c"}
    assert filled(["{input}", "{case}{input}"], values) == ["/x/{case}.nii", "c/x/{case}.nii"]
