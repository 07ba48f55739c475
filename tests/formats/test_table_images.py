import datetime
import io
import json
import subprocess
import sys

import numpy as np
import PIL.Image
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from synthcohort.formats.image import Refusal, Source, Unreadable
from synthcohort.formats.table_images import read

HUGGING = {"info": {"features": {"label": {"names": ["benign", "malignant"], "_type": "ClassLabel"},
                                 "signs": {"feature": {"names": ["a", "b"], "_type": "ClassLabel"}}}}}  # fmt: skip


def png(number, shape=(6, 5)):
    buffer = io.BytesIO()
    PIL.Image.fromarray(pixels(number, shape)).save(buffer, "PNG")
    return buffer.getvalue()


def pixels(number, shape=(6, 5)):
    return np.random.default_rng(number).integers(0, 200, shape).astype(np.uint8)


def parquet(columns, metadata=None, **options):
    table = pa.table(columns)
    if metadata:
        table = table.replace_schema_metadata({"huggingface": json.dumps(metadata)})
    buffer = io.BytesIO()
    pq.write_table(table, buffer, **options)
    return buffer.getvalue()


def cells(count):
    return [{"bytes": png(i), "path": f"{i}.png"} for i in range(count)]


def test_a_hugging_face_file_row_by_row(tmp_path):
    count = 40
    columns = {
        "image": cells(count), "label": [i % 2 for i in range(count)], "signs": [[0, 1]] * count,
        "age": [50.0, None] * 20, "sex": ["F", "M"] * 20, "box": [{"x": 1}] * count,
        "seen": [datetime.date(2020, 1, 2)] * count, "ok": [True, False] * 20,
    }  # fmt: skip
    data = parquet(columns, HUGGING, row_group_size=7)
    (tmp_path / "x.parquet").write_bytes(data)
    for source in (data, tmp_path / "x.parquet"):
        images = list(read(source))
        assert [image.part for image in images] == [f"row {i}" for i in range(count)]
        assert [image.frame for image in images] == list(range(count))
        assert all(np.array_equal(image.pixels, pixels(i)) for i, image in enumerate(images))
        assert images[0].row == {
            "label": "benign", "signs": "a|b", "age": "50", "sex": "F", "seen": "2020-01-02", "ok": "1",
        }  # fmt: skip
        assert images[1].row["label"] == "malignant"
        assert images[1].row["age"] == ""


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("data/train-00000-of-00002.parquet", "train"), ("validation.parquet", "validation"),
        ("default/test/0000.parquet", "test"), ("images.parquet", None), ("trained.parquet", None),
    ],
)  # fmt: skip
def test_the_split_is_in_the_name(name, split):
    [image] = read(Source(name, data=parquet({"image": cells(1), "y": [1]})))
    assert image.row == {"y": "1"} | ({"split": split} if split else {})
    [image] = read(Source(name, data=parquet({"image": cells(1), "split": ["val"]})))
    assert image.row == {"split": "val"}


def test_plain_bytes_and_a_choice_of_columns():
    [image] = read(parquet({"picture": [png(1)], "y": ["a"]}))
    assert np.array_equal(image.pixels, pixels(1))
    [image] = read(parquet({"mask": [png(2)], "Image": [png(1)]}))
    assert np.array_equal(image.pixels, pixels(1))
    with pytest.raises(Unreadable, match=r"several columns hold bytes \(columns: left, right\)"):
        list(read(parquet({"left": [png(2)], "right": [png(1)]})))
    with pytest.raises(Unreadable, match=r"no column holds bytes \(columns: a, b\)"):
        list(read(parquet({"a": [1], "b": ["x"]})))


def test_a_row_that_cannot_be_read_is_refused_alone():
    rows = [
        {"bytes": png(0), "path": None}, {"bytes": None, "path": "there.png"}, None, {"bytes": b"", "path": None},
        {"bytes": b"hello", "path": "x.png"}, {"bytes": png(0)[:60], "path": None}, {"bytes": png(6), "path": None},
    ]  # fmt: skip
    items = list(read(parquet({"image": rows, "y": list(range(7))})))
    assert [isinstance(item, Refusal) for item in items] == [False, True, True, True, True, True, False]
    assert [item.part for item in items] == [f"row {i}" for i in range(7)]
    assert [item.reason for item in items[1:5]] == [
        "its image lies in another file", "the row holds no image", "the row holds no image",
        "its bytes are no image that is read",
    ]  # fmt: skip
    assert items[-1].row == {"y": "6"}
    assert items[-1].frame == 6


def test_what_is_no_parquet_file():
    for data in (b"", b"hello", parquet({"image": cells(2)})[:-9]):
        with pytest.raises(Unreadable, match="damaged"):
            list(read(data))


GOOD = parquet({"image": cells(3), "y": [1, 2, 3]})


DAMAGE = """
import sys
import numpy as np
from synthcohort.formats.image import Unreadable
from synthcohort.formats.table_images import read

good = sys.stdin.buffer.read()
for number in range(int(sys.argv[1]), 150):
    print(number, flush=True)
    rng, damaged = np.random.default_rng(number), bytearray(good)
    for _ in range(int(rng.integers(1, 6))):
        damaged[int(rng.integers(0, len(good)))] = int(rng.integers(0, 256))
    try:
        items = list(read(bytes(damaged)))
    except Unreadable:
        continue
    assert len({item.part for item in items}) == len(items)
print("done")
"""


def test_damage_is_refused_and_nothing_else_happens():
    """In a process of its own, as in ingest: Arrow's reader itself may end it over a damaged file, and seldom does."""
    begin, ended = 0, 0
    while True:
        command = [sys.executable, "-c", DAMAGE, str(begin)]
        done = subprocess.run(command, input=GOOD, capture_output=True, check=False)
        lines = done.stdout.decode().split()
        if lines[-1] == "done":
            break
        assert done.returncode < 0, done.stderr.decode()  # a signal, and no exception of ours
        begin, ended = int(lines[-1]) + 1, ended + 1
    assert ended <= 5
