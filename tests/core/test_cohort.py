import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from synthcohort.core.cohort import Cohort, LabelColumn, content_digest, partial_path, record_schema
from synthcohort.core.cohort_writer import CohortWriter
from synthcohort.core.errors import ArtifactError, InputError
from synthcohort.core.files import digest_json

LABELS = (LabelColumn("grade", "ordinal", (0, 1, 2)), LabelColumn("finding", "nominal", ("a", "b")))


def writer(path, fingerprint="f") -> CohortWriter:
    return CohortWriter(path, "toy", "real", LABELS, {}, fingerprint)


def add(target: CohortWriter, i: int) -> None:
    image = np.full((4, 5 + i % 2), 1000 * i, np.uint16)
    split = ("train", "validation", "control", "test")[i % 4]
    target.add(
        image,
        {"image_id": f"{i:03d}", "patient_id": f"p{i // 2}", "grade": i % 3, "finding": "ab"[i % 2], "split": split},
    )


def test_round_trip_keeps_pixels_depth_and_records(tmp_path) -> None:
    target = writer(tmp_path / "c")
    for i in range(12):
        add(target, i)
    cohort = target.finish(note="x")
    assert len(cohort) == 12
    assert cohort.info["note"] == "x"
    for i in range(12):
        image = cohort.image(i)
        assert image.dtype == np.uint16
        assert image.shape == (4, 5 + i % 2)
        assert (image == 1000 * i).all()
    assert cohort.record(3)["rows"] == 4
    assert cohort.verify() == []
    assert not partial_path(tmp_path / "c").exists()


def test_views_select_by_role_and_label(tmp_path) -> None:
    target = writer(tmp_path / "c")
    for i in range(12):
        add(target, i)
    cohort = target.finish()
    assert cohort.select(split="control").image_ids == ["002", "006", "010"]
    assert cohort.select(where={"grade": "2", "finding": "a"}).image_ids == ["002", "008"]
    view = cohort.select(indices=[5, 1])
    assert view.image_ids == ["005", "001"]
    assert (view.image(0) == 5000).all()
    assert view.pixels_digest != cohort.select(indices=[1, 5]).pixels_digest


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"where": {"grade": 7}}, "grade: unknown value 7; allowed: 0, 1, 2"),
        ({"where": {"nothing": 1}}, "has no column 'nothing'"),
        ({"where": {"image_id": "000"}}, "column 'image_id'"),
        ({"split": "dev"}, "allowed: train, validation, control, test"),
        ({"where": {"sex": "X"}}, "the column is empty"),
    ],
)
def test_wrong_selections_name_what_is_allowed(tmp_path, arguments, message) -> None:
    target = writer(tmp_path / "c")
    add(target, 0)
    with pytest.raises(InputError, match=message.replace("(", r"\(")):
        target.finish().select(**arguments)


def _write_some_and_die(path, flush_at: int) -> None:
    target = writer(path)
    for i in range(9):
        add(target, i)
        if i % 3 == 2:
            target.flush()
        if i == flush_at:
            os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("moment", [1, 4, 7])
def test_killed_writer_goes_on_and_ends_equal(tmp_path, moment) -> None:
    killed = subprocess.run([sys.executable, __file__, str(tmp_path / "killed"), str(moment)], check=False)
    assert killed.returncode == -signal.SIGKILL
    for name in ("killed", "whole"):
        target = writer(tmp_path / name)
        assert len(target.done) == (moment // 3 * 3 if name == "killed" else 0)
        for i in range(9):
            if f"{i:03d}" not in target.done:
                add(target, i)
            if i % 3 == 2:
                target.flush()
        target.finish()
    assert (tmp_path / "killed" / "cohort.json").read_bytes() == (tmp_path / "whole" / "cohort.json").read_bytes()


def test_unfinished_cohort_of_another_request_is_not_continued(tmp_path) -> None:
    add(writer(tmp_path / "c", "one"), 0)
    with pytest.raises(ArtifactError, match="another configuration"):
        writer(tmp_path / "c", "two")


def test_existing_cohort_is_not_overwritten(tmp_path) -> None:
    target = writer(tmp_path / "c")
    target.finish()
    with pytest.raises(ArtifactError, match="already exists"):
        writer(tmp_path / "c")


def test_writer_refuses_what_a_stage_must_not_do(tmp_path) -> None:
    target = writer(tmp_path / "c")
    with pytest.raises(ValueError, match="unknown columns"):
        target.add(np.zeros((2, 2), np.uint8), {"image_id": "x", "patient_name": "y"})
    with pytest.raises(ValueError, match="dtype"):
        target.add(np.zeros((2, 2), np.float32), {"image_id": "x"})
    add(target, 0)
    with pytest.raises(ValueError, match="already stored"):
        add(target, 0)


def test_damage_is_found_and_absent_or_unfinished_cohorts_are_explained(tmp_path) -> None:
    target = writer(tmp_path / "c")
    add(target, 0)
    cohort = target.finish()
    shard = tmp_path / "c" / "images" / "00000.npy"
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    shard.write_bytes(content)
    assert cohort.verify() == ["images/00000.npy has changed"]
    shard.unlink()
    assert cohort.verify() == ["images/00000.npy is missing"]
    with pytest.raises(ArtifactError, match="is not a cohort folder"):
        Cohort.open(tmp_path)
    writer(tmp_path / "d")
    with pytest.raises(ArtifactError, match="is unfinished"):
        Cohort.open(tmp_path / "d")


def test_digest_does_not_depend_on_layout(tmp_path) -> None:
    digests = []
    for name, step in (("a", 1), ("b", 5)):
        target = writer(tmp_path / name)
        for i in range(10):
            add(target, i if name == "a" else 9 - i)
            if i % step == 0:
                target.flush()
        digests.append(target.finish().digest)
    assert digests[0] == digests[1]


if __name__ == "__main__":
    _write_some_and_die(Path(sys.argv[1]), int(sys.argv[2]))


def test_the_digest_is_that_of_canonical_json():
    labels = [{"name": "grade 50 %", "kind": "ordinal", "values": [0, 1]}, {"name": "x", "kind": "continuous"}]
    info = {"labels": labels, "origin": "real", "name": "left out"}
    rows = [
        {
            "image_id": f"i-{n}", "caption": 'tab\t "quoted" \\ é \u2028 \x7f', "frame": n,
            "derived_from_real": n % 2 == 0,
            "phrasings": [[], ["a", "b\n"], None][n % 3], "age": [-0.0, 0.0, float("nan"), 1e22, 63.25, None][n % 6],
            "pixel_spacing_mm": [0.1, float("inf")], "shard": n, "grade 50 %": 1, "x": 1e-7,
        }
        for n in range(1003)
    ]  # fmt: skip
    schema = record_schema([LabelColumn("grade 50 %", "ordinal", (0, 1)), LabelColumn("x", "continuous")])
    for count in (0, 1, 1003):
        table = pa.Table.from_pylist(rows[:count], schema=schema)
        records = table.drop_columns(["shard", "shard_row"]).to_pylist()
        expected = digest_json({"labels": labels, "origin": "real", "records": records})
        assert content_digest(info, table) == expected
