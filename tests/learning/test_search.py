import json

import numpy as np
import pytest
import torch

from synthcohort.core.errors import ArtifactError
from synthcohort.learning import search
from synthcohort.learning.registration import local_detail, register, transform_bank, warp
from synthcohort.learning.search import LOG_ODDS, CopyIndex, build_index, tail_threshold

NUM = 60


@pytest.fixture(scope="module")
def index(made, tmp_path_factory):
    folder = tmp_path_factory.mktemp("search")
    train = made.people(folder / "train", NUM)
    validation = [made.person(1000 + i) for i in range(60)]
    build_index(train, folder / "index", validation=validation)
    return CopyIndex.open(folder / "index")


def test_finds_changed_copies_and_lets_strangers_be(index, made):
    originals = [made.person(i) for i in (3, 17, 41)]
    noise = np.random.default_rng(0).normal(0, 4, originals[0].shape)
    changed = [
        [image[:, ::-1] for image in originals],
        [np.clip(image * 1.15 + 10.0, 0, 255).astype(np.uint8) for image in originals],
        [image[2:, 1:-1] for image in originals],
        [np.clip(image + noise, 0, 255).astype(np.uint8) for image in originals],
        [image.astype(np.uint16) * 16 for image in originals],
        [np.repeat(image[..., None], 3, axis=2) for image in originals],
        [np.kron(image, np.ones((2, 2), np.uint8)) for image in originals],
    ]  # fmt: skip
    for copies in changed:
        hits = index.query(copies)
        assert hits.nearest.tolist() == [3, 17, 41]
        assert (hits.similarity > index.threshold).all()
    strangers = index.query([made.person(2000 + i) for i in range(20)])
    assert (strangers.similarity <= index.threshold).all()


def test_a_result_depends_on_nothing_but_its_image(index, made):
    images = [made.person(i) for i in (5, 2005, 9, 2009, 14)]
    whole = index.query(images)
    alone = [index.query([image]) for image in images]
    assert [float(hit.similarity[0]) for hit in alone] == whole.similarity.tolist()
    assert [int(hit.nearest[0]) for hit in alone] == whole.nearest.tolist()


def test_training_images_in_chunks_give_the_same(index, made, monkeypatch):
    images = [made.person(i) for i in (5, 2005)]
    whole = index.query(images)
    monkeypatch.setattr(search, "CHUNK", 7)
    chunked = CopyIndex.open(index.path).query(images)
    assert np.allclose(chunked.similarity, whole.similarity, atol=1e-4)
    assert chunked.nearest[0] == whole.nearest[0] == 5


def test_in_a_small_set_too_nobody_is_a_copy_of_himself(made, tmp_path):
    people = np.stack([made.person(n) for n in range(4)])
    build_index(people, tmp_path / "few", groups=range(4))
    few = CopyIndex.open(tmp_path / "few")
    groups = np.arange(4)
    hits = few.query(people, groups, groups)
    assert (hits.nearest != groups).all()
    assert hits.similarity.max() < few.query(people).similarity.min()
    assert (few.query(people[:1], np.zeros(4, int), np.zeros(1, int)).similarity == -1).all()


def test_images_of_the_own_group_are_passed_over(index, made):
    groups = np.arange(NUM)
    hits = index.query([made.person(4), made.person(5)], groups, np.array([4, 5]))
    assert hits.nearest[0] != 4
    assert (hits.similarity < index.threshold).all()


def test_constant_images_are_like_nothing(index):
    hits = index.query([np.zeros((48, 48), np.uint8), np.full((48, 48), 255, np.uint8)])
    assert (hits.similarity < 0).all()  # sooner a stranger's than a copy
    assert np.isfinite(hits.similarity).all()


def test_the_index_says_it_is_sensitive_and_what_its_threshold_rests_on(index):
    assert index.info["sensitive"] is True
    assert index.calibrated
    assert index.info["calibration"]["source"] == "validation against train"
    assert index.info["calibration"]["images"] == 60


def test_without_validation_other_patients_of_train_are_the_strangers(made, tmp_path):
    train = made.people(tmp_path / "train", 30, images=2)
    build_index(train, tmp_path / "index")
    index = CopyIndex.open(tmp_path / "index")
    assert index.info["calibration"]["source"] == "train against other groups of train"
    assert index.threshold < 0.9


def test_without_strangers_it_says_so(made, tmp_path):
    build_index([made.person(i, 24) for i in range(5)], tmp_path / "index")
    assert not CopyIndex.open(tmp_path / "index").calibrated


def test_a_damaged_index_is_an_error(made, tmp_path):
    build_index([made.person(i, 24) for i in range(5)], tmp_path / "index")
    np.save(tmp_path / "index" / "gray.npy", np.zeros((4, 24, 24), np.float16))
    with pytest.raises(ArtifactError, match="does not hold"):
        CopyIndex.open(tmp_path / "index")
    with pytest.raises(ArtifactError):
        CopyIndex.open(tmp_path / "nothing")


def test_the_threshold_is_exceeded_about_as_often_as_asked():
    z = np.random.default_rng(0).exponential(0.05, 200_000) - 0.1
    threshold = tail_threshold(np.tanh(z[:4000]), rate=1e-3)
    assert 0.4e-3 < (np.tanh(z) > threshold).mean() < 2.5e-3


def test_no_threshold_asks_for_more_than_true_odds_of_a_thousand():
    long = np.tanh(np.r_[np.full(950, -2.0), np.linspace(-2.0, 0.2, 50)])
    assert tail_threshold(long, rate=1e-3) == pytest.approx(np.tanh(np.log(1000) / LOG_ODDS))


def test_odds_that_cannot_be_true_raise_the_threshold():
    z = np.random.default_rng(0).exponential(0.2, 4000)  # one stranger in six has odds beyond a thousand
    assert tail_threshold(np.tanh(z), rate=1e-3) > np.tanh(1.1)


def test_an_index_of_an_older_version_is_refused(made, tmp_path):
    build_index([made.person(i, 24) for i in range(5)], tmp_path / "index")
    content = json.loads((tmp_path / "index" / "index.json").read_text())
    (tmp_path / "index" / "index.json").write_text(json.dumps(content | {"version": 1}))
    with pytest.raises(ArtifactError, match="older version"):
        CopyIndex.open(tmp_path / "index")


def test_a_person_under_two_ids_does_not_lift_the_threshold():
    values = np.tanh(np.random.default_rng(0).normal(-0.7, 0.1, 600))
    with_twin = np.concatenate([values, [0.97, 0.96]])
    assert tail_threshold(with_twin) == pytest.approx(tail_threshold(values), abs=0.02)


def test_registration_finds_a_known_transform(made):
    image = torch.from_numpy(made.person(1)[None, None].astype(np.float32)) / 127.5 - 1
    detail = local_detail(image, 0.6, 1.65, 0.02)
    angle = np.deg2rad(2.0)
    truth = torch.tensor([[[np.cos(angle), -np.sin(angle), 0.03], [np.sin(angle), np.cos(angle), -0.02]]]).float()
    template = warp(detail, truth, 48).view(1, 1, 48, 48)
    start = torch.tensor([[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]])
    found, value = register(template, detail, start, steps=12)
    assert float(value) > 0.97
    assert torch.allclose(found, truth, atol=0.01)


def test_the_bank_holds_every_mirrored_twin():
    bank = transform_bank((-2.0, 2.0), (0.9,), (0.0, 0.05))
    assert len(bank) == 2 * 2 * 9
    assert int((torch.linalg.det(bank[:, :, :2]) < 0).sum()) == len(bank) // 2
    corners = transform_bank((-2.0, 2.0), (0.9,), (0.0, 0.05), middles=False)
    assert len(corners) == 2 * 2 * 5
    assert len(torch.unique(corners, dim=0)) == len(corners)
