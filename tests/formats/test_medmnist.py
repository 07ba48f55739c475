import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from synthcohort.formats.image import ReadOptions, Source, Unreadable
from synthcohort.formats.medmnist import read

RNG = np.random.default_rng(0)


def values(*shape, dtype=np.uint8, high=200):
    return RNG.integers(0, high, shape).astype(dtype)


def npz(compressed=True, **arrays):
    buffer = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(buffer, **arrays)
    return buffer.getvalue()


def npy(array, **more):
    buffer = io.BytesIO()
    np.save(buffer, array, **more)
    return buffer.getvalue()


def medmnist(images, labels, **counts):
    return {
        f"{split}_{what}": values(count, *shape, high=5 if what == "labels" else 200)
        for split, count in counts.items()
        for what, shape in (("images", images), ("labels", labels))
    }


@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize("shape", [(9, 7), (9, 7, 3)], ids=["gray", "color"])
@pytest.mark.parametrize("on_disk", [True, False])
def test_medmnist_image_by_image(tmp_path, shape, compressed, on_disk):
    arrays = medmnist(shape, (1,), train=5, val=2, test=3)
    data = npz(compressed, **arrays)
    (tmp_path / "x.npz").write_bytes(data)
    images = list(read(tmp_path / "x.npz" if on_disk else data))
    assert [image.part for image in images] == [
        *(f"train {i}" for i in range(5)), "val 0", "val 1", "test 0", "test 1", "test 2",
    ]  # fmt: skip
    assert [image.frame for image in images] == list(range(10))
    stacked = np.concatenate([arrays[f"{split}_images"] for split in ("train", "val", "test")])
    labels = np.concatenate([arrays[f"{split}_labels"] for split in ("train", "val", "test")])
    for image, pixels, label in zip(images, stacked, labels, strict=True):
        assert image.pixels.dtype == np.uint8
        assert np.array_equal(image.pixels, pixels)
        assert image.row == {"label": str(label[0]), "split": image.part.split()[0]}
        assert image.bits_stored == 8
        assert not image.identifiers


def test_several_labels_an_image():
    images = list(read(npz(**medmnist((8, 8), (14,), train=2))))
    assert list(images[1].row) == [*(f"label_{i}" for i in range(14)), "split"]
    assert set(images[1].row.values()) <= {"0", "1", "2", "3", "4", "train"}


def test_volumes_are_slices_of_one_series():
    arrays = medmnist((6, 8, 7), (1,), train=2, test=1)
    images = list(read(npz(**arrays), ReadOptions(slices="every:2")))
    picked = ReadOptions(slices="every:2").pick(6)
    assert [image.part for image in images][: len(picked)] == [f"train 0 slice {i}" for i in picked]
    assert [image.frame for image in images] == [6 * item + i for item in range(3) for i in picked]
    for image in images:
        split, item, _, i = image.part.split()
        assert np.array_equal(image.pixels, arrays[f"{split}_images"][int(item), int(i)])
        assert image.row == {"label": str(arrays[f"{split}_labels"][int(item), 0]), "split": split}
    series = [image.identifiers["series_uid"] for image in images]
    assert [len(set(series[i : i + len(picked)])) for i in range(0, len(series), len(picked))] == [1, 1, 1]
    assert len(set(series)) == 3
    other = next(iter(read(npz(**medmnist((6, 8, 7), (1,), train=2)), ReadOptions())))
    assert other.identifiers["series_uid"] not in series


@pytest.mark.parametrize(
    ("names", "parts"),
    [
        (("images", "labels"), ["image 0", "image 1"]), (("x", "y"), ["image 0", "image 1"]),
        (("data", "targets"), ["image 0", "image 1"]), (("image", "label"), ["image 0", "image 1"]),
        (("x_train", "y_train"), ["train 0", "train 1"]), (("images_test", "labels_test"), ["test 0", "test 1"]),
    ],
)  # fmt: skip
def test_other_archives_by_the_names_of_their_arrays(names, parts):
    labels = np.array(["benign", "malignant"])
    images = list(read(npz(**{names[0]: values(2, 5, 6), names[1]: labels, "extra": values(3)})))
    assert [image.part for image in images] == parts
    assert [image.row["label"] for image in images] == ["benign", "malignant"]


def test_one_image_or_volume_in_a_file():
    gray, volume = values(8, 9), values(4, 8, 9, dtype=np.int16)
    [image] = read(npy(gray))
    assert (image.part, image.frame, dict(image.row)) == ("", None, {})
    assert np.array_equal(image.pixels, gray)
    slices = list(read(Source("ct.npy", data=npy(volume)), ReadOptions()))
    assert [image.part for image in slices] == [f"slice {i}" for i in range(4)]
    assert np.array_equal(np.stack([image.pixels for image in slices]), volume)
    assert len({image.identifiers["series_uid"] for image in slices}) == 1
    [image] = read(npz(image=gray, label=np.array(3)))
    assert image.row == {"label": "3"}
    slices = list(read(npz(image=volume, label=values(4, 8, 9))))
    assert all(not image.row for image in slices)
    assert all("labels that are not one for each image" in image.notes[-1] for image in slices)
    assert len(list(read(npz(arr_0=volume)))) == 4
    several = list(read(Source("train_images.npy", data=npy(values(4, 8, 9)))))
    assert [image.part for image in several] == [f"train {i}" for i in range(4)]
    assert not any(image.identifiers for image in several)


@pytest.mark.parametrize(
    ("array", "shape"),
    [
        (values(2, 8, 9, 1), (8, 9)), (values(2, 1, 8, 9), (8, 9)), (values(2, 3, 8, 9), (8, 9, 3)),
        (np.asfortranarray(values(2, 8, 9)), (8, 9)), (values(2, 8, 9, dtype=">u2"), (8, 9)),
    ],
    ids=["[N, H, W, 1]", "[N, 1, H, W]", "[N, 3, H, W]", "Fortran order", "big-endian"],
)  # fmt: skip
def test_layouts(array, shape):
    images = list(read(npz(images=array)))
    assert [image.pixels.shape for image in images] == [shape] * 2
    plain = np.moveaxis(array, 1, -1) if array.shape[1] == 3 else array.reshape(2, *shape)
    assert np.array_equal(np.stack([image.pixels for image in images]), plain)
    assert all(image.pixels.dtype.isnative and image.pixels.flags.c_contiguous for image in images)


@pytest.mark.parametrize(
    ("dtype", "low", "high", "expected"),
    [
        (np.int64, 0, 255, np.uint8), (np.float32, 0, 4000, np.uint16), (np.int32, -1024, 3000, np.int16),
        (np.int16, 0, 5, np.int16), (np.uint16, 0, 5, np.uint16), (np.int8, -5, 5, np.int16),
    ],
)  # fmt: skip
def test_types_that_hold_every_value(dtype, low, high, expected):
    array = np.array([[[low, low], [low, high]], [[low, high], [low, low]]], dtype)
    images = list(read(npz(images=array)))
    assert {image.pixels.dtype for image in images} == {np.dtype(expected)}
    assert np.array_equal(np.stack([image.pixels for image in images]), array)
    assert bool(images[0].notes) == (dtype != expected)


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"masks": values(2, 8, 8), "ids": values(2)}, "arrays: ids, masks; wanted: an array called images"),
        ({}, "arrays: none"),
        ({"images": values(2, 8, 8), "x": values(2, 8, 8)}, "several arrays may be the images"),
        ({"images": values(2, 8, 8), "labels": values(3)}, "holds no labels for each of 2 images"),
        ({"images": np.array([{"a": 1}, None])}, "Python objects"),
        ({"images": values(2, 8, 8) / 7}, "fractions"),
        ({"images": np.full((2, 8, 8), np.nan)}, "fractions"),
        ({"images": np.full((2, 8, 8), 70000)}, "do not fit in 16 bits"),
        ({"images": np.full((2, 8, 8), "a")}, "holds no numbers"),
        ({"images": values(2, 8, 8, 4)}, "is not understood"),
        ({"images": values(2, 8, 8, 3, dtype=np.uint16)}, "color of more than 8 bits"),
        ({"images": values(2, 0, 8)}, "no pixels"),
        ({"images": values(7)}, "1 dimensions"),
    ],
)
def test_what_cannot_be_understood_is_refused(arrays, words):
    with pytest.raises(Unreadable, match=words):
        list(read(npz(**arrays)))


def test_no_pickle_is_ever_opened(tmp_path):
    class Trap:
        def __reduce__(self):
            return Path.touch, (tmp_path / "sprung",)

    array = np.array([Trap(), Trap()], dtype=object)
    for data in (npy(array, allow_pickle=True), npz(images=array)):
        with pytest.raises(Unreadable):
            list(read(data))
    assert not (tmp_path / "sprung").exists()


def test_a_header_that_promises_too_much():
    data = npy(values(2, 8, 8))
    more = data.replace(b"(2, 8, 8)", b"(9, 8, 8)")
    for damaged in (more, data[:-1], data + b"x"):
        with pytest.raises(Unreadable, match="cut off, or its header is wrong"):
            list(read(damaged))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("images.npy", npy(np.zeros((60, 2**10, 2**10), np.uint8)))
    with pytest.raises(Unreadable, match="out of proportion"):
        list(read(buffer.getvalue()))
    with pytest.raises(Unreadable, match="not a NumPy file"):
        list(read(b"hello"))
    with pytest.raises(Unreadable, match="empty"):
        list(read(b""))


@pytest.mark.parametrize("compressed", [True, False])
def test_no_image_of_a_damaged_array_is_given(compressed):
    data = bytearray(npz(compressed, images=values(100, 64, 64)))
    data[len(data) // 2] ^= 1
    items = read(bytes(data))
    with pytest.raises(Unreadable, match="damaged"):
        next(items)


GOOD = [npz(**medmnist((4, 4), (1,), train=3)), npz(False, **medmnist((4, 4), (1,), train=3)), npy(values(3, 4, 4))]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.sampled_from(GOOD),
    st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=5),
    st.floats(0.3, 2),
)
def test_damage_is_refused_and_nothing_else_happens(data, changes, cut):
    damaged = bytearray(data)
    for place, value in changes:
        damaged[int(place * (len(data) - 1))] = value
    try:
        images = list(read(bytes(damaged[: int(cut * len(data))])))
    except Unreadable:
        return
    assert all(image.pixels.ndim in (2, 3) for image in images)


def test_one_image_at_a_time_is_in_memory(tmp_path):
    import tracemalloc

    np.savez_compressed(tmp_path / "x.npz", images=values(400, 128, 128))
    tracemalloc.start()
    assert sum(1 for _ in read(tmp_path / "x.npz")) == 400
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**20
