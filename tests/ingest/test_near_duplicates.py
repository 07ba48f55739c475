import errno
import io
import mmap
import os
import signal
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage, sparse

from synthcohort.imaging.fingerprint import fingerprint
from synthcohort.ingest import near_duplicate_search, near_duplicate_views
from synthcohort.ingest.leakage import leakage, listed, said
from synthcohort.ingest.near_duplicates import THRESHOLD, Chain, NearDuplicates, _components, find_groups
from synthcohort.ingest.split import Group, allocate, connected, strata
from synthcohort.phantoms.anatomy import draw_anatomy, draw_knee
from synthcohort.phantoms.knee import knee

SHARES = {"train": 0.65, "validation": 0.10, "control": 0.10, "test": 0.15}


def phantom_knee(seed):
    """Radiographs that are all alike: the hard case."""
    draw = np.random.default_rng(seed)
    image, _ = knee(draw_knee(draw_anatomy(draw), int(draw.integers(0, 5)), "L", draw), 96, draw)
    return image


def texture(seed):
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal((96, 130)), 2.0)
    return np.clip(128 + 50 * noise / noise.std(), 0, 255).astype(np.uint8)


def blobs(seed):
    draw = np.random.default_rng(seed)
    y, x = np.mgrid[:110, :110]
    image = np.full((110, 110), 40.0)
    for _ in range(14):
        at, size, height = draw.uniform(0, 110, 2), draw.uniform(4, 16), draw.uniform(-90, 160)
        image += height * np.exp(-((x - at[0]) ** 2 + (y - at[1]) ** 2) / (2 * size**2))
    color = np.stack([image, 0.8 * image + 20, 0.6 * image + 60], -1) + draw.normal(0, 2, (110, 110, 3))
    return np.clip(color, 0, 255).astype(np.uint8)


SOURCES = {"phantom knees": phantom_knee, "textures": texture, "blobs": blobs}


def pil(image):
    return Image.fromarray((image >> 4).astype(np.uint8) if image.dtype == np.uint16 else image)


def changed(image, kind, draw):
    picture = pil(image)
    width, height = picture.size
    if kind == "turned":
        return np.rot90(image, int(draw.integers(1, 4)))
    if kind == "mirrored":
        return image[:, ::-1]
    if kind == "tilted":
        return np.asarray(picture.rotate(float(draw.uniform(-15, 15)), Image.Resampling.BICUBIC))
    if kind == "cropped":
        left, top = draw.integers(0, width // 25 + 1), draw.integers(0, height // 25 + 1)
        return np.asarray(picture.crop((left, top, left + width - width // 25, top + height - height // 25)))
    if kind == "resized":
        return np.asarray(picture.resize((width * 3 // 4, height * 3 // 4), Image.Resampling.LANCZOS))
    if kind == "squared":
        return np.asarray(picture.resize((100, 100), Image.Resampling.BICUBIC))
    if kind == "brightened":
        return np.clip(np.asarray(picture) * 0.7 + 40, 0, 255).astype(np.uint8)
    assert kind == "re-encoded"
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=60)
    return np.asarray(Image.open(io.BytesIO(buffer.getvalue())))


KINDS = ("turned", "mirrored", "tilted", "cropped", "resized", "squared", "brightened", "re-encoded")


def found_in(images, **settings):
    marks = [fingerprint(image) for image in images]
    return find_groups(np.stack([m.vector for m in marks]), np.stack([m.thumbnail for m in marks]), **settings)


def planted(source, originals=40):
    """Originals, then one copy of each original and kind in turn; who is a copy of whom."""
    draw = np.random.default_rng(7)
    images = [SOURCES[source](seed) for seed in range(originals)]
    owner = list(range(originals))
    for k in range(2 * len(KINDS)):
        images.append(changed(images[k], KINDS[k % len(KINDS)], draw))
        owner.append(k)
    return images, owner


@pytest.fixture(scope="module", params=list(SOURCES))
def tempting(request):
    images, owner = planted(request.param)
    return images, owner, found_in(images)


def test_copies_are_grouped_and_strangers_are_not(tempting):
    _, owner, found = tempting
    expected = tuple(sorted(tuple(i for i, o in enumerate(owner) if o == own) for own in range(2 * len(KINDS))))
    assert found.groups == expected
    assert found.similarity.min() >= THRESHOLD
    assert found.chains == ()
    assert len(found.cut) == 0
    assert found.blank == 0


def test_order_does_not_matter(tempting):
    images, _, found = tempting
    order = np.random.default_rng(0).permutation(len(images))
    other = found_in([images[i] for i in order])

    def by_name(result, names):
        pairs = {frozenset(names[i] for i in pair) for pair in result.pairs.tolist()}
        return pairs, {frozenset(names[i] for i in members) for members in result.groups}, sorted(result.similarity)

    assert by_name(found, list(range(len(images)))) == by_name(other, order.tolist())


@given(seed=st.integers(0, 10**6), patients=st.integers(1, 40), labels=st.integers(1, 4))
@settings(max_examples=25, deadline=None)
def test_no_patient_and_no_near_duplicate_crosses_roles(tempting, seed, patients, labels):
    """Copies lie under the names of other patients, and of none: still no patient and no copy is in two roles."""
    images, owner, found = tempting
    draw = np.random.default_rng(seed)
    patient = [int(p) if draw.random() < 0.8 else None for p in draw.integers(0, patients, len(images))]
    label = [int(value) for value in draw.integers(0, labels, len(images))]
    near = {i: number for number, members in enumerate(found.groups) for i in members}
    keys = [
        ([("patient", patient[i])] if patient[i] is not None else []) + ([("near", near[i])] if i in near else [])
        for i in range(len(images))
    ]
    roles = split(keys, label, seed)
    for values in (patient, owner):
        held = {}
        for value, role in zip(values, roles, strict=True):
            if value is not None:
                held.setdefault(value, set()).add(role)
        assert all(len(own) == 1 for own in held.values())
    assert leakage(found, roles, patients=patient, labels=label)["crossing"] == {"pairs": 0, "images": 0}


def split(keys, label, seed):
    components = connected(keys)
    groups = [
        Group(members, stratum, str(members[0]), tuple(str(label[i]) for i in members))
        for members, stratum in zip(components, strata(components, label), strict=True)
    ]
    role = allocate(groups, SHARES, seed)
    return [role[str(members[0])] for i in range(len(keys)) for members in components if i in members]


def test_identical_images_are_one_picture_however_many():
    images = [texture(0)] * 90 + [texture(1)] + [np.rot90(texture(0))]
    found = found_in(images)
    assert found.groups == ((*range(90), 91),)
    assert found.families == (91,)
    assert Counter(found.similarity.tolist())[1.0] >= 89


def test_a_large_family_is_found_whole_and_stays_whole():
    """More copies than an image has candidates: all are found, and being alike they are no chain."""
    draw = np.random.default_rng(1)
    copies = [changed(changed(blobs(0), "tilted", draw), KINDS[i % 6], draw) for i in range(70)]
    found = found_in(copies + [blobs(seed) for seed in range(1, 30)])
    assert found.groups == (tuple(range(70)),)
    assert found.families == (70,)
    assert found.chains == ()


def test_a_chain_is_broken_and_reported():
    """A scan in small steps: neighbors are alike, the ends show nothing in common."""
    long = ndimage.gaussian_filter(np.random.default_rng(0).standard_normal((96, 1400)), 3.0)
    long = np.clip(128 + 50 * long / long.std(), 0, 255).astype(np.uint8)
    scan = [long[:, start : start + 96] for start in range(0, 550, 5)]
    strangers = [texture(seed)[:, :96] for seed in range(60)]
    chained = found_in(scan + strangers, largest_share=0.9)
    assert max(map(len, chained.groups)) > 80
    found = found_in(scan + strangers)
    assert len(found.chains) == 1
    assert found.chains[0].images == max(map(len, chained.groups))
    assert max(map(len, found.groups), default=0) == found.chains[0].largest < found.chains[0].images
    assert len(found.cut) > 0
    assert len(found.cut) + len(found.pairs) == len(chained.pairs)
    if found.chains[0].satisfied:
        assert found.chains[0].largest <= 0.2 * found.images


def test_small_sets_and_empty_images():
    assert found_in([texture(0)]).groups == ()
    assert found_in([texture(0), texture(0)[:, ::-1]]).groups == ((0, 1),)
    blank = [np.full((40, 40), value, np.uint8) for value in (0, 0, 90, 255)]
    dot = np.zeros((80, 80), np.uint8)
    dot[30:34, 30:34] = 200
    found = found_in([*blank, dot, np.rot90(dot), texture(1)])
    assert found.groups == ()
    assert found.blank == 6
    none = find_groups(np.zeros((0, 1), np.float16), np.zeros((0, 48, 48), np.uint8))
    assert (none.groups, none.images, len(none.pairs)) == ((), 0, 0)
    with pytest.raises(ValueError, match="no fingerprints"):
        find_groups(np.zeros((2, 1), np.float16), np.zeros((3, 48, 48), np.uint8))


def test_mapped_files_do(tmp_path):
    images, _ = planted("textures", 20)
    marks = [fingerprint(image) for image in images]
    np.save(tmp_path / "thumbnails.npy", np.stack([m.thumbnail for m in marks]))
    vectors = np.stack([m.vector for m in marks])
    mapped = find_groups(vectors, np.load(tmp_path / "thumbnails.npy", mmap_mode="r"))
    assert mapped.groups == found_in(images).groups


def test_search_in_blocks_is_search_at_once(monkeypatch):
    images, _ = planted("textures", 40)
    whole = found_in(images)
    monkeypatch.setattr(near_duplicate_search, "COLUMNS", 17)
    for name, value in {"ROWS": 5, "SPAN": 13, "PAIRS": 11, "REGISTERED": 7, "TOGETHER": {24: 3, 48: 2}}.items():
        monkeypatch.setattr(near_duplicate_search, name, value)
    blocks = found_in(images)
    assert blocks.groups == whole.groups
    assert blocks.pairs.tolist() == whole.pairs.tolist()
    np.testing.assert_allclose(blocks.similarity, whole.similarity, atol=2e-4)


def in_small_blocks(monkeypatch):
    """So that a small set is enough for helpers and files."""
    for name, value in {"ROWS": 8, "PAIRS": 64, "REGISTERED": 32, "TOGETHER": {24: 64, 48: 16}}.items():
        monkeypatch.setattr(near_duplicate_search, name, value)
    for name, value in {"BLOCK": 8, "IN_MEMORY": 100, "SHARED": 1 << 16}.items():
        monkeypatch.setattr(near_duplicate_views, name, value)


def same(one, other):
    return (
        one.pairs.tobytes() == other.pairs.tobytes()
        and one.similarity.tobytes() == other.similarity.tobytes()
        and (one.groups, one.chains, one.families, one.blank)
        == (other.groups, other.chains, other.families, other.blank)
    )


def test_the_number_of_processes_changes_nothing(monkeypatch, tmp_path):
    in_small_blocks(monkeypatch)
    images, _ = planted("blobs", 90)
    alone = found_in(images, workers=1)
    assert len(alone.pairs) > 10
    for workers in (2, 3):
        assert same(found_in(images, workers=workers, folder=tmp_path), alone)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform != "linux", reason="one process works alone elsewhere")
def test_what_a_helper_leaves_is_done(monkeypatch):
    """A machine that runs short of memory ends a process: nothing is lost."""
    in_small_blocks(monkeypatch)
    images, _ = planted("blobs", 90)
    alone = found_in(images, workers=1)
    real, own, ended = near_duplicate_search._nearest, os.getpid(), mmap.mmap(-1, 1)

    def search(*args, **settings):
        if os.getpid() != own:
            ended[:] = b"1"
            os.kill(os.getpid(), signal.SIGKILL)
        while not ended[0]:  # until a helper has taken its first block
            time.sleep(0.001)
        real(*args, **settings)

    monkeypatch.setattr(near_duplicate_search, "_nearest", search)
    assert same(found_in(images, workers=2), alone)


def test_an_error_in_a_step_is_the_callers_and_ends_the_helpers(monkeypatch):
    in_small_blocks(monkeypatch)
    monkeypatch.setattr(near_duplicate_search, "_best_square", None)
    before = own_processes()  # other tests may have some
    with pytest.raises(TypeError):
        found_in(planted("blobs", 90)[0], workers=2)
    assert own_processes() == before


def own_processes() -> set[str]:
    """The processes that this one started and that have not ended."""
    tasks = Path("/proc/self/task")
    return {number for task in tasks.iterdir() for number in (task / "children").read_text().split()}


def test_a_full_disk_is_said_at_once(monkeypatch):
    in_small_blocks(monkeypatch)

    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match="No space left"):
        found_in(planted("blobs", 40)[0])


@given(seed=st.integers(0, 10**6), count=st.integers(1, 60), links=st.integers(0, 80))
@settings(max_examples=50, deadline=None)
def test_components_are_what_pairs_connect(seed, count, links):
    pairs = np.random.default_rng(seed).integers(0, count, (links, 2))
    expected = sparse.csgraph.connected_components(
        sparse.coo_array((np.ones(links), (pairs[:, 0], pairs[:, 1])), shape=(count, count)), directed=False
    )[1]
    found = _components(count, pairs)
    assert [np.flatnonzero(expected == name)[0] for name in expected] == found.tolist()


def example():
    """Pairs 0-1 (one patient), 1-2 (two patients), 4-5 (nobody known); 6-7 was given up."""
    return NearDuplicates(
        pairs=np.array([[0, 1], [1, 2], [4, 5]]),
        similarity=np.array([0.99, 0.9, 0.95], np.float32),
        groups=((0, 1, 2), (4, 5)),
        images=8,
        threshold=THRESHOLD,
        cut=np.array([[6, 7]]),
        chains=(Chain(60, 0.9, 2, True),),
    )


def test_leakage_counts():
    report = leakage(
        example(),
        ["train"] * 6 + ["train", "test"],
        patients=["a", "a", "b", "c", None, "d", "e", "f"],
        labels=[0, 0, 1, 0, 1, None, 0, 0],
        roles_ungrouped=["train", "train", "test", "train", "validation", "test", "train", "train"],
    )
    assert report["pairs_by_patient"] == {"same": 1, "other": 1, "unknown": 1}
    assert report["pairs_by_label"] == {"same": 1, "other": 1, "unknown": 1}
    assert (report["groups"], report["grouped_images"], report["largest"]) == (2, 5, 3)
    assert report["sizes"] == {"2": 1, "3 to 4": 1, "5 to 9": 0, "10 to 49": 0, "50 or more": 0}
    assert (report["groups_of_several_patients"], report["groups_of_several_labels"]) == (1, 1)
    assert report["crossing"] == {"pairs": 0, "images": 0}
    assert report["would_have_crossed"] == {"pairs": 2, "images": 4}
    assert report["given_up"] == {"pairs": 1, "crossing": {"pairs": 1, "images": 2}}
    text = " ".join(said(report))
    for words in ("lie across patients", "different labels", "form a chain", "given up"):
        assert words in text
    assert "lie in two roles, " not in text


def test_leakage_says_what_crosses_when_nothing_was_grouped():
    report = leakage(example(), ["train", "test"] * 4, patients=[None] * 8, labels=[None] * 8)
    assert report["crossing"]["pairs"] == 3
    assert report["would_have_crossed"] is None
    assert any("3 pairs of near-duplicates lie in two roles, 5 images" in sentence for sentence in said(report))


def test_listed_pairs_are_positions_and_relations():
    pairs = listed(example(), patients=["a", "a", "b", "c", None, "d", "e", "f"], labels=[0] * 8)
    assert [(p.first, p.second, p.patient, p.label) for p in pairs] == [
        (0, 1, "same", "same"),
        (1, 2, "other", "same"),
        (4, 5, "unknown", "same"),
    ]


def test_leakage_wants_all_images():
    with pytest.raises(ValueError, match="7 roles for 8 images"):
        leakage(example(), ["train"] * 7, patients=[None] * 8, labels=[None] * 8)
