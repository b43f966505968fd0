"""The training set as a table: what is read, found, sorted, shown and decided."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from FLARETrainLib.cases import changes as case_changes
from FLARETrainLib.cases.rows import (
    COLUMNS,
    HELD_OUT,
    PAGE,
    CaseFilter,
    CaseRow,
    Listing,
    arranged,
    counts,
    page_of,
    read_listing,
    with_places,
)
from FLARETrainLib.cases.texts import cells, tip, title_tips, titles
from train_store import ORGANS, make_store

from flare_core.cases.store import CaseRecord, LabelFacts, open_store
from flare_core.errors import InputError
from flare_core.train.rounds.next_cases import SEEN_SCORE


@pytest.fixture
def folder(tmp_path):
    return make_store(tmp_path)


def names(rows) -> list[str]:
    return [row.record.name for row in rows]


def test_a_folder_without_a_store_is_empty_and_stays_so(tmp_path):
    assert read_listing(tmp_path) == Listing(exists=False)
    assert list(tmp_path.iterdir()) == []


def test_listing_says_what_the_store_knows(folder):
    listing = read_listing(folder)
    rows = {row.record.name: row for row in listing.rows}
    assert listing.exists and not listing.read_only and listing.hold_out == ("patient-hans",)
    assert rows["paul"].record.status == "pseudo" and rows["paul"].scores["doubt"] == 0.3
    assert rows["hans"].record.held_out and not rows["anna"].record.held_out
    assert counts(listing.rows) == {"accepted": 2, "pseudo": 1, "unlabelled": 1, HELD_OUT: 1}


def test_places_come_from_the_last_run_and_go_with_the_next(folder):
    following = [{"case": "una", "reason": "liver: 80 % sure"}, {"case": "paul", "reason": "seen"}]
    listing = with_places(read_listing(folder), following)
    assert names(arranged(listing.rows, CaseFilter())) == ["una", "paul", "anna", "hans"]
    assert listing.rows[3].place == 1 and listing.rows[3].reason == "liver: 80 % sure"
    again = with_places(listing, [{"case": "anna", "reason": "new"}])
    assert [row.place for row in again.rows] == [1, None, None, None]


@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize("descending", [False, True])
def test_every_column_sorts_and_what_has_no_value_comes_last(folder, column, descending):
    listing = with_places(read_listing(folder), [{"case": "una", "reason": "r"}])
    found = arranged(listing.rows, CaseFilter(column=column, descending=descending))
    assert sorted(names(found)) == ["anna", "hans", "paul", "una"]
    if column in ("confidence", "doubt"):
        assert names(found)[0] == "paul"
    if column == "next":
        assert names(found)[0] == "una"
    if column == "name":
        assert names(found) == sorted(names(found), reverse=descending)


@pytest.mark.parametrize(
    ("chosen", "wanted"),
    [
        (CaseFilter(text="AN", column="name"), ["anna", "hans"]),
        (CaseFilter(text="patient-p"), ["paul"]),
        (CaseFilter(text="made up", status="pseudo"), ["paul"]),
        (CaseFilter(status=HELD_OUT), ["hans"]),
        (CaseFilter(status="rejected"), []),
    ],
)
def test_text_and_status_filter(folder, chosen, wanted):
    assert names(arranged(read_listing(folder).rows, chosen)) == wanted


def test_pages_hold_every_row_once_and_a_page_too_far_is_the_last():
    record = CaseRecord("a", Path("a"), "0" * 64, "p", "", "unlabelled", False, "", False, None)
    rows = [CaseRow(replace(record, name=f"case{n:05d}")) for n in range(2 * PAGE + 1)]
    pages = [page_of(rows, n)[0] for n in range(3)]
    assert [len(page) for page in pages] == [PAGE, PAGE, 1]
    assert sum(map(list, pages), []) == rows
    assert page_of(rows, 99)[1:] == (2, 3) and page_of(rows, -1)[1:] == (0, 3)


def test_cells_and_titles_fit_together(folder):
    assert len(titles()) == len(title_tips()) == len(COLUMNS)
    row = with_places(read_listing(folder), [{"case": "paul", "reason": "why"}]).rows[2]
    shown = dict(zip(COLUMNS, cells(row), strict=True))
    assert shown["name"] == "paul" and shown["patient"] == "patient-paul"
    assert shown["next"] == "1" and shown["reason"] == "why" and shown["doubt"] == "0.30"
    assert shown["kind"] == "model" and shown["organs"] == "2" and shown["held_out"] == ""


def test_a_tip_shows_the_picture_and_no_markup_of_a_name(folder):
    row = read_listing(folder).rows[2]
    row = replace(row, record=replace(row.record, source="<script>"))
    text = tip(row, Path("/home/x/pic.png"))
    assert '<img src="/home/x/pic.png">' in text and "<script>" not in text
    assert "Liver, Spleen" in text and "3.00 x 4.00 x 5.00 mm" in text


def test_accepting_and_rejecting_leave_who_and_why(folder):
    assert case_changes.decide(folder, ["paul"], "rejected", author="Ada", reason="leaks") == 1
    with open_store(folder) as store:
        assert store.case("paul").status == "rejected"
        last = store.history("paul")[-1]
        assert (last.author, last.what) == ("Ada", "status") and "leaks" in last.detail


def test_a_case_without_labels_is_refused_before_another_is_changed(folder):
    with pytest.raises(InputError):
        case_changes.decide(folder, ["paul", "una"], "accepted", author="Ada", reason="")
    assert read_listing(folder).rows[2].record.status == "pseudo"


def fresh_store(tmp_path):
    """The scans of anna (an expert's labels), paul (a model's) and una (none); nothing frozen."""
    fresh = tmp_path / "fresh"
    with open_store(fresh, create=True) as store:
        for name, kind in (("anna", "expert"), ("paul", "pseudo"), ("una", "")):
            store.add_case(tmp_path / f"{name}.nii.gz", patient=name[0])
            if kind:
                facts = LabelFacts(kind, ORGANS, author="Ada", model="m-1" * (kind == "pseudo"))
                store.add_labels(name, tmp_path / f"{name}-labels.nii.gz", facts)
    return fresh


def test_the_hold_out_is_chosen_once(folder, tmp_path):
    with pytest.raises(InputError):
        case_changes.keep_aside(folder, ["anna"], author="Ada")
    fresh = fresh_store(tmp_path)
    assert case_changes.keep_aside(fresh, ["anna", "anna"], author="Ada") == ("a",)


@pytest.mark.parametrize("names", [["una"], ["anna", "paul"]])
def test_a_patient_without_a_persons_labels_is_not_kept_aside(folder, tmp_path, names):
    fresh = fresh_store(tmp_path)
    with pytest.raises(InputError, match=names[-1][0]):
        case_changes.keep_aside(fresh, names, author="Ada")
    with open_store(fresh) as store:
        assert store.hold_out() == ()
        store.set_status("anna", "rejected")
        assert case_changes.unlabelled(["a"], store.cases()) == ("a",)


def test_an_opened_case_sinks_in_the_list(folder):
    case_changes.mark_seen(folder, "una")
    with open_store(folder) as store:
        assert store.scores("una") == {SEEN_SCORE: 1.0}
