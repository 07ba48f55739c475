import numpy as np
import pyarrow as pa

from synthcohort.imaging.fingerprint import SIDE
from synthcohort.ingest.journal import SCHEMA
from synthcohort.ingest.survey import survey


def part(*files, mark=True):
    """A part whose images have their file's number as the value of their thumbnail; negative ones are refused."""
    rows = [
        {
            "file": abs(n), "part": "", "reason": "damaged" if n < 0 else None, "image_id": f"i{n}",
            "vector": np.full(1, n, np.float16).tobytes() if mark and n >= 0 else None,
            "thumbnail": np.full((SIDE, SIDE), n, np.uint8).tobytes() if mark and n >= 0 else None,
        }
        for n in files
    ]  # fmt: skip
    return pa.Table.from_pylist(rows, schema=SCHEMA)


NAMES = [f"{n}.png" for n in range(9)]


def test_images_and_fingerprints_are_in_the_order_of_the_listing(tmp_path):
    found = survey([part(5, 1), part(8, -2, 0), part(-3)], NAMES, [], tmp_path)
    assert found.files == ["0.png", "1.png", "5.png", "8.png"]
    assert [item.name for item in found.refused] == ["2.png", "3.png"]
    assert found.fingerprints.vectors[:, 0].tolist() == [0, 1, 5, 8]
    assert found.fingerprints.thumbnails[:, 7, 9].tolist() == [0, 1, 5, 8]
    assert isinstance(found.fingerprints.thumbnails, np.memmap)
    assert not list(tmp_path.iterdir())  # the file has no name

    fewer = found.without({1: "no longer wanted"})
    assert fewer.files == ["0.png", "5.png", "8.png"]
    assert fewer.fingerprints.thumbnails[:, 0, 0].tolist() == [0, 5, 8]
    assert [row["image_id"] for row in fewer.rows([2, 0])] == ["i8", "i0"]
    assert fewer.without({0: "", 1: "", 2: ""}).fingerprints.thumbnails.shape == (0, SIDE, SIDE)


def test_without_all_fingerprints_there_are_none():
    assert survey([part(0, 1), part(2, mark=False)], NAMES, []).fingerprints is None
    assert survey([part(-1)], NAMES, []).fingerprints is None
    assert survey([], NAMES, []).fingerprints is None
