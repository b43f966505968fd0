from __future__ import annotations

import csv
import io
import tracemalloc

import numpy as np
import pytest

from core.datasets.made_dataset import (
    ALL_13,
    CONTENT,
    FLARE23_KINDS,
    GEOMETRY,
    MAKERS,
    VOXEL_ML,
    VOXELS,
    Maker,
    label_map,
    make_flare21,
    make_flare22,
    make_flare23,
    make_flare24_task1,
    scan,
)
from flare_core.datasets.flare.dataset import find_dataset
from flare_core.datasets.summary.summarise import (
    CaseMeasurement,
    LabelHistogram,
    SummaryBuilder,
    hu_statistics,
    load_record,
    measure_case,
    percentile,
    summarise,
)
from flare_core.datasets.summary.tables import (
    case_table,
    intensity_table,
    label_table,
    resolution_table,
    tables_of,
    to_csv,
    to_markdown,
)
from flare_core.imaging.files import read_labels, read_volume, write_labels, write_volume
from flare_core.imaging.geometry import Geometry
from flare_core.imaging.volume import Volume
from flare_core.spread.here import in_processes


def voxels_of(dataset, value=None):
    """All HU of a label (or of all labels), read the plain way."""
    parts = []
    for case in dataset.labelled:
        labels = read_labels(case.labels).array
        wanted = labels > 0 if value is None else labels == value
        parts.append(read_volume(case.image).array[wanted])
    return np.concatenate(parts).astype(float)


def by_name(table):
    """Rows as dictionaries, by the name in the first column."""
    return {row[0]: dict(zip(table.heads, row, strict=True)) for row in table.rows}


@pytest.mark.parametrize("edition", MAKERS)
def test_intensities_of_every_edition_are_those_of_the_voxels(tmp_path, edition):
    MAKERS[edition](tmp_path)
    dataset = find_dataset(tmp_path)
    summary = summarise(dataset)
    rows = intensity_table(summary).rows
    names = [None, *(value for value, _ in dataset.scheme.organs)]
    assert len(rows) == len(names)
    for value, row in zip(names, rows, strict=True):
        hu = voxels_of(dataset, value)
        if not hu.size:
            assert row[1:] == (None,) * 7 + (0,)
            continue
        low, median, high = np.percentile(hu, [0.5, 50, 99.5])
        truth = (hu.min(), low, median, hu.mean(), hu.std(), high, hu.max(), hu.size)
        assert row[1:] == pytest.approx(truth, abs=1e-9)


@pytest.mark.parametrize("edition", MAKERS)
def test_scans_and_labels_are_counted_by_part(tmp_path, edition):
    MAKERS[edition](tmp_path)
    parts = tables_of(summarise(find_dataset(tmp_path)))[0]
    expected = {part: (*numbers, 6 * numbers[0]) for part, numbers in CONTENT[edition].items()}
    total = tuple(np.sum(list(expected.values()), axis=0).tolist())
    assert {row[0]: row[1:] for row in parts.rows} == {**expected, "all": total}


def test_volumes_and_coverage_of_known_labels(tmp_path):
    make_flare22(tmp_path)
    rows = by_name(label_table(summarise(find_dataset(tmp_path))))
    for value, name in ((1, "1 Liver"), (13, "13 Left kidney")):
        row = rows[name]
        for kind in ("min", "median", "mean", "max"):
            assert row[f"Volume {kind} (mL)"] == pytest.approx(ALL_13[value] * VOXEL_ML)
        assert row["Coverage mean (%)"] == pytest.approx(100 * ALL_13[value] / VOXELS)
        assert (row["Number of samples"], row["Annotated in"], row["Present (%)"]) == (3, 3, 100.0)


def test_partly_labelled_cases_count_only_where_they_annotate(tmp_path):
    make_flare23(tmp_path)
    rows = by_name(label_table(summarise(find_dataset(tmp_path))))
    samples = {n: (r["Number of samples"], r["Annotated in"]) for n, r in rows.items()}
    assert samples["1 Liver"] == (4, 4)
    assert samples["3 Spleen"] == (3, 4), "case 3 annotates the spleen and has none"
    assert samples["9 Gallbladder"] == (1, 2), "case 4 has lost it; cases 2 and 3 were not searched"
    assert samples["5 Aorta"] == (2, 2)
    assert samples["14 Lesion"] == (3, 3)
    lesions = [11, FLARE23_KINDS["FLARE23_0003"][14], 1]  # the corrected map's 11 voxels
    volume = rows["14 Lesion"]["Volume mean (mL)"]
    assert volume == pytest.approx(np.mean(lesions) * VOXEL_ML)


def test_flare21_keeps_both_kidneys_in_one_row(tmp_path):
    make_flare21(tmp_path)
    rows = by_name(label_table(summarise(find_dataset(tmp_path))))
    assert list(rows) == ["1 Liver", "2 Right kidney + left kidney", "3 Spleen", "4 Pancreas"]
    assert rows["2 Right kidney + left kidney"]["Volume max (mL)"] == pytest.approx(9 * VOXEL_ML)


def test_task1_has_one_row_for_lesions(tmp_path):
    make_flare24_task1(tmp_path)
    rows = by_name(label_table(summarise(find_dataset(tmp_path))))
    assert list(rows) == ["1 Lesion"]
    assert rows["1 Lesion"]["Number of samples"] == 4


def test_resolution_in_the_order_x_y_z(tmp_path):
    for name, spacing in (("a", (5.0, 0.7, 0.8)), ("b", (1.0, 0.9, 0.6)), ("c", (3.0, 0.8, 0.8))):
        grid = Geometry(GEOMETRY.shape, spacing, GEOMETRY.origin_mm, GEOMETRY.direction)
        path = tmp_path / "images" / f"{name}.nii.gz"
        path.parent.mkdir(exist_ok=True)
        write_volume(path, Volume(scan(0).array, grid))
    rows = {row[0]: row[1:] for row in resolution_table(summarise(find_dataset(tmp_path))).rows}
    assert rows["min"] == pytest.approx((0.6, 0.7, 1.0, 10, 8, 6))
    assert rows["median"] == pytest.approx((0.8, 0.8, 3.0, 10, 8, 6))
    assert rows["mean"] == pytest.approx((2.2 / 3, 0.8, 3.0, 10, 8, 6))
    assert rows["max"] == pytest.approx((0.8, 0.9, 5.0, 10, 8, 6))


def test_hu_that_are_no_whole_numbers_or_beyond_int16(tmp_path):
    maker = Maker(tmp_path)
    path = maker.scan("images/a")
    maker.labels("labels/a", {1: 4})
    hu = scan(0).array.astype(np.float32)
    hu.flat[2:6] = (1e5, -1e5, 10.4, 10.6)
    write_volume(path, Volume(hu, GEOMETRY))
    (liver,) = measure_case(find_dataset(tmp_path).cases[0]).labels
    found = hu_statistics(liver.counts, liver.lowest)
    assert (found.minimum, found.median, found.maximum) == (-32768, 10.5, 32767)


def test_a_bad_case_is_left_out_and_named(tmp_path):
    make_flare22(tmp_path)
    grid = Geometry(GEOMETRY.shape, (5.0, 1.5, 2.2), GEOMETRY.origin_mm, GEOMETRY.direction)
    off = Volume(label_map(ALL_13).array, grid)
    write_labels(tmp_path / "Tuning" / "labels" / "FLARETs_0001.nii.gz", off)
    unknown = {99: 4}
    Maker(tmp_path).labels("Training/FLARE22_LabeledCase2/labels/FLARE22_Tr_0001", unknown)
    summary = summarise(find_dataset(tmp_path))
    assert [f.where for f in summary.left_out] == ["FLARE22_Tr_0001", "tuning-FLARETs_0001"]
    assert "label value 99" in summary.left_out[0].what
    assert "spacing" in summary.left_out[1].what
    assert by_name(label_table(summary))["1 Liver"]["Number of samples"] == 1


def test_a_link_that_leads_nowhere_is_left_out_and_named(tmp_path):
    """Where records are kept, the summary of all the others ended with it."""
    make_flare22(tmp_path / "set")
    lost = tmp_path / "set" / "Training" / "FLARE22_UnlabeledCase1-2" / "Case_00001_0000.nii.gz"
    lost.unlink()
    lost.symlink_to(tmp_path / "not" / "mounted.nii.gz")
    dataset = find_dataset(tmp_path / "set")
    for keep_in in (None, tmp_path / "kept"):
        summary = summarise(dataset, keep_in=keep_in)
        assert [f.where for f in summary.left_out] == ["Case_00001"]
        assert len(summary.cases) == len(dataset.cases) - 1


def test_two_processes_give_the_same_tables(tmp_path):
    make_flare22(tmp_path)
    dataset = find_dataset(tmp_path)
    steps = []
    alone = summarise(dataset)
    together = summarise(dataset, spread=in_processes(2), on_done=lambda *step: steps.append(step))
    assert tables_of(together) == tables_of(alone)
    assert case_table(together) == case_table(alone)
    assert steps[-1] == (8, 8)


def test_a_stopped_run_goes_on_and_changed_files_are_measured_again(tmp_path, monkeypatch):
    make_flare22(tmp_path / "set")
    dataset = find_dataset(tmp_path / "set")

    def stop(done, count):
        if done == 3:
            raise KeyboardInterrupt

    parts = tmp_path / "parts"
    with pytest.raises(KeyboardInterrupt):
        summarise(dataset, keep_in=parts, on_done=stop)
    kept = sorted(parts.glob("*.npz"))
    assert len(kept) == 3
    measured = []

    def counted(case):
        measured.append(case.name)
        return measure_case(case)

    monkeypatch.setattr("flare_core.datasets.summary.summarise.measure_case", counted)
    kept[0].write_bytes(b"half")
    whole = summarise(dataset, keep_in=parts)
    assert len(measured) == 8 - 2
    assert tables_of(whole) == tables_of(summarise(dataset))
    measured.clear()
    Maker(tmp_path / "set").labels("Tuning/labels/FLARETs_0001", {1: 30})
    again = summarise(dataset, keep_in=parts)
    assert measured == ["tuning-FLARETs_0001"]
    largest = by_name(label_table(again))["1 Liver"]["Volume max (mL)"]
    assert largest == pytest.approx(30 * VOXEL_ML)


def test_a_damaged_record_is_none(tmp_path):
    (tmp_path / "x.npz").write_bytes(b"PK\x03\x04 and no more")
    assert load_record(tmp_path / "x.npz") is None
    assert load_record(tmp_path / "y.npz") is None


def test_memory_does_not_grow_with_the_number_of_cases():
    """2000 records of 1500 HU each, made one by one: 14 arrays of 64 Ki counts, and short lines."""

    def record(number: int) -> CaseMeasurement:
        counts = np.full(1500, 1 + number % 3, np.int64)
        labels = tuple(LabelHistogram(value, -1000, counts.copy()) for value in range(1, 15))
        return CaseMeasurement(f"case{number}", "training", (100, 512, 512), (2.5, 0.8, 0.8), True,
                          ("liver",), labels)  # fmt: skip

    builder = SummaryBuilder()
    for number in range(50):
        builder.add(number, record(number))
    tracemalloc.start()
    for number in range(50, 2000):
        builder.add(number, record(number))
    grown, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert grown / 1950 < 4000, "bytes per case"
    assert peak - grown < 2_000_000
    assert builder.counts[1].sum() == sum(1500 * (1 + n % 3) for n in range(2000))


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_percentiles_are_numpys(size):
    values = np.random.default_rng(size).integers(-1024, 1500, size)
    counts = np.bincount(values + 1024, minlength=3000)
    for q in (0, 0.5, 12.3, 50, 99.5, 100):
        assert percentile(counts, q, -1024) == pytest.approx(np.percentile(values, q))


def test_markdown_and_csv_hold_the_same_rows(tmp_path):
    make_flare22(tmp_path)
    summary = summarise(find_dataset(tmp_path))
    tables = tables_of(summary)
    text = to_markdown("A | B", tables)
    for table in tables:
        assert f"## {table.title}" in text
        rows = list(csv.reader(io.StringIO(to_csv(table))))
        assert tuple(rows[0]) == table.heads
        assert [row[0] for row in rows[1:]] == [row[0] for row in table.rows]
        assert all(len(row) == len(rows[0]) for row in rows)
    assert "| 1 Liver |" in text
    liver = next(row for row in csv.DictReader(io.StringIO(to_csv(tables[3]))))
    assert float(liver["Volume mean (mL)"]) == pytest.approx(ALL_13[1] * VOXEL_ML)


def test_the_table_of_cases_tells_absent_from_unknown(tmp_path):
    make_flare23(tmp_path)
    rows = {row[0]: row for row in case_table(summarise(find_dataset(tmp_path))).rows}
    heads = case_table(summarise(find_dataset(tmp_path))).heads
    spleen, lesion = heads.index("Spleen (mL)"), heads.index("Lesion (mL)")
    assert rows["FLARE23_0003"][spleen] == 0
    assert rows["FLARE23_0001"][spleen] is None
    assert rows["FLARE23_0002"][lesion] is None
    assert rows["FLARE23_0005"][2] == 0
