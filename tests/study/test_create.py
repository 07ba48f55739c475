import json
import re
from collections import Counter
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from synthcohort.core.cohort import Cohort
from synthcohort.core.config import build
from synthcohort.core.errors import ConfigError, InputError
from synthcohort.study.create import create
from synthcohort.study.design import TELLING, Design, Images, Phase, Power
from synthcohort.study.payloads import Recipe, degraded, fitted, payload, recipe
from synthcohort.study.questions import spelled
from synthcohort.study.sampling import Pools, order_for, sample


def rows(served, sql, *values):
    return served.store.rows(sql, *values)


def test_the_sample_is_balanced_and_takes_each_patient_once(served):
    found = rows(
        served,
        "SELECT DISTINCT i.phase, i.training, g.image, g.origin, g.label, g.image_id FROM items i "
        "JOIN images g ON g.image = i.image WHERE i.person = 'anna-code'",
    )
    cases = Counter((r["phase"], r["origin"], r["label"]) for r in found if not r["training"])
    assert [cases[0, origin, grade] for origin in ("real", "synthetic") for grade in "012"] == [2] * 6
    assert cases[0, "degraded", "0"] + cases[0, "degraded", "1"] + cases[0, "degraded", "2"] == 1
    for origin in ("real", "synthetic"):  # 4 cases of 3 grades: the same grades twice on both sides
        assert sorted(cases[1, origin, grade] for grade in "012") == [1, 1, 2]
    assert [cases[1, "real", g] for g in "012"] == [cases[1, "synthetic", g] for g in "012"]
    patients = [int(r["image_id"].split("-")[1]) // 2 for r in found if r["origin"] != "synthetic"]
    assert len(set(patients)) == len(patients)


def test_readers_have_orders_of_their_own_and_the_same_cases(served):
    orders = {
        person: [r["image"] for r in rows(
            served, "SELECT image FROM items WHERE person = ? AND phase = 0 AND training = 0 ORDER BY position", person
        )]
        for person in ("anna-code", "bert-code")
    }  # fmt: skip
    assert orders["anna-code"] != orders["bert-code"]
    assert set(orders["anna-code"]) == set(orders["bert-code"])
    tokens = [r["item"] for r in rows(served, "SELECT item FROM items")]
    assert len(set(tokens)) == len(tokens)


@pytest.mark.parametrize("seed", range(8))
def test_repeats_come_late_and_far_from_the_first_time(cohorts, seed):
    phase = Phase("grade", label="kl_grade", real=12, synthetic=12, degraded=2, repeats=6, training=2)
    pools = Pools(Cohort.open(cohorts[0]), Cohort.open(cohorts[1]), Design(phases=(phase,), seed=seed))
    picks = sample(phase, pools, seed, 0)
    entries = order_for(phase, picks, seed, 0, "reader-1")
    assert [entry.training for entry in entries] == [True] * 2 + [False] * 32
    places: dict[int, list[int]] = {}
    for place, entry in enumerate(entries):
        places.setdefault(entry.first, []).append(place)
        assert entry.repeat == (len(places[entry.first]) == 2)
    twice = [found for found in places.values() if len(found) == 2]
    assert len(twice) == 6
    assert min(b - a for a, b in twice) >= 8
    assert entries == order_for(phase, picks, seed, 0, "reader-1")
    shown = [*picks.training, *picks.cases]
    assert all(shown[first].origin != "degraded" for first, found in places.items() if len(found) == 2)


def test_pairs_are_real_and_synthetic_of_one_class_on_either_side(cohorts):
    phase = Phase("pairs", label="kl_grade", real=9, synthetic=9, training=2)
    pools = Pools(Cohort.open(cohorts[0]), Cohort.open(cohorts[1]), Design(phases=(phase,)))
    picks = sample(phase, pools, 0, 0)
    shown = [*picks.training, *picks.cases]
    entries = [order_for(phase, picks, 0, 0, f"reader-{n}") for n in range(6)]
    left = [shown[entry.first].origin for order in entries for entry in order]
    assert 0.3 < left.count("real") / len(left) < 0.7
    for entry in entries[0]:
        a, b = shown[entry.first], shown[entry.second]
        assert {a.origin, b.origin} == {"real", "synthetic"}
        assert a.label == b.label


def test_too_few_images_are_named_by_class(cohorts, tmp_path):
    design = Design(phases=(Phase("grade", label="kl_grade", real=40, synthetic=10),))
    with pytest.raises(InputError, match=r"needs \d+ more real of kl_grade 0"):
        create(cohorts[1], tmp_path / "s", design, cohorts[0])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("mapping", "words"),
    [
        ({"phases": [{"kind": "grade"}]}, "label"),
        ({"phases": [{"kind": "guess"}]}, "grade, origin, rate, pairs"),
        ({"phases": []}, "phases"),
        ({"phases": [{"kind": "grade", "label": "x", "reel": 3}]}, "did you mean real"),
        ({"phases": [{"kind": "grade", "label": "x"}], "title": "Synthetic knees"}, "may not be real"),
        ({"phases": [{"kind": "grade", "label": "x", "intro": "Some are fake"}]}, "may not be real"),
        ({"phases": [{"kind": "grade", "label": "x"}], "readers": ["A B"]}, "small letters"),
        ({"phases": [{"kind": "grade", "label": "x"}], "readers": ["a", "a"]}, "twice"),
        ({"phases": [{"kind": "grade", "label": "x"}], "teaching": True}, "real images"),
        ({"phases": [{"kind": "origin", "synthetic": 0}]}, "one kind only"),
        ({"phases": [{"kind": "origin", "confidence": 1}]}, "confidence"),
        ({"phases": [{"kind": "origin"}], "images": {"rows": 10}}, "both, or neither"),
        ({"phases": [{"kind": "origin"}], "power": {"margin": 2.0}}, "margin"),
    ],
)
def test_designs_that_are_wrong_say_so(mapping, words):
    with pytest.raises(ConfigError, match=words):
        build(Design, mapping)


def test_words_of_an_aware_study_may_tell():
    assert Design(title="Real or synthetic?", phases=(Phase("origin"),)).title


def test_cohorts_that_are_wrong_say_so(cohorts, tmp_path, tools):
    real, synthetic = cohorts
    with pytest.raises(InputError, match="is a real cohort"):
        create(real, tmp_path / "s", tools.design, real)
    with pytest.raises(InputError, match="--real"):
        create(synthetic, tmp_path / "s", tools.design)
    quiz = Design(teaching=True, phases=(Phase("grade", label="kl_grade", real=0, synthetic=6, training=0),))
    with pytest.raises(InputError, match="synthetic images only"):
        create(synthetic, tmp_path / "s", quiz, real)
    with pytest.raises(InputError, match="has no label"):
        create(synthetic, tmp_path / "s", Design(phases=(Phase("grade", label="absent"),)), real)


def test_images_made_from_real_ones_are_not_offered_as_synthetic(tmp_path, cohorts, tools):
    edits = tools.write_cohort(tmp_path / "edits", "synthetic", derived_from_real=True)
    with pytest.raises(InputError, match="more synthetic"):
        create(edits.path, tmp_path / "s", tools.design, cohorts[0])


# --- payloads ---------------------------------------------------------------------------------------------------------


def test_every_payload_has_one_size_and_a_name_that_says_nothing(served):
    files = sorted((served.folder / "images").iterdir())
    assert {file.stat().st_size for file in files} == {24 * 24 * 2}
    assert all(re.fullmatch(r"[a-z2-7]{26}", file.name) for file in files)
    origins = {r["payload"]: r["origin"] for r in rows(served, "SELECT payload, origin FROM images")}
    by_name = [origins[file.name] for file in files]
    changes = sum(a != b for a, b in pairwise(by_name))
    assert changes >= 3  # names do not sort by origin


def test_coarse_and_fine_cohorts_get_the_same_gray_levels(tmp_path, tools):
    coarse = tools.write_cohort(tmp_path / "coarse", "synthetic", count=9, dtype="uint8")
    fine = tools.write_cohort(tmp_path / "fine", "real", count=9)
    how = recipe(Images(), [coarse, fine])
    assert how.levels == 256
    for cohort in (coarse, fine):
        values = np.frombuffer(payload(cohort.image(0), how), "<u2")
        assert (values.min(), values.max()) == (0, 255)
    with pytest.raises(InputError, match="one type for native"):
        recipe(Images(intensity="native"), [coarse, fine])


def test_native_values_stay_what_they_are():
    how = Recipe(4, 4, 1, "crop", "native", 65536, 32768)
    image = np.arange(-1024, -1008, dtype=np.int16).reshape(4, 4)
    values = np.frombuffer(payload(image, how), "<u2").astype(int) - how.offset
    np.testing.assert_array_equal(values.reshape(4, 4), image)


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
@pytest.mark.parametrize("shape", [(20, 30), (30, 20), (7, 40), (16, 16), (16, 16, 3), (9, 31, 3)])
def test_any_shape_fits(fit, shape):
    image = np.random.default_rng(0).integers(0, 255, shape).astype(np.uint8)
    assert fitted(image, 16, 16, fit).shape == (16, 16, *shape[2:])
    assert len(payload(image, Recipe(16, 16, 3 if len(shape) == 3 else 1, fit, "rescale", 256, 0))) == 16 * 16 * 2 * (
        3 if len(shape) == 3 else 1
    )


def test_degraded_images_are_visibly_worse_and_the_same_each_time():
    image = (np.indices((64, 64)).sum(0) // 8 % 2 * 3000).astype(np.uint16)
    worse = degraded(image, "a")
    assert worse.dtype == image.dtype
    np.testing.assert_array_equal(worse, degraded(image, "a"))
    assert np.abs(worse.astype(int) - image).mean() > 150


# --- nothing tells an unaware reader ----------------------------------------------------------------------------------


def test_nothing_that_an_unaware_reader_gets_tells(served, tools):
    """Every byte save the pixels, of every page of the first part, its pictures' headers and the files it needs."""
    client = served.browser("anna-code")
    seen = [client.get("/static/viewer.js").text, client.get("/static/style.css").text]
    page = client.get("/")
    headers: dict[str, set] = {"real": set(), "synthetic": set(), "degraded": set()}
    while "A pause" not in page.text:
        seen += [page.text, json.dumps(dict(page.headers)), str(page.url)]
        if "data-image" not in page.text:
            page = tools.press(client, page.text)
            continue
        item = tools.item_on(page.text)
        image = client.get(f"/image/{item}/a")
        row = rows(served, "SELECT g.origin FROM items i JOIN images g ON g.image = i.image WHERE i.item = ?", item)
        headers[row[0]["origin"]].add(json.dumps(sorted(image.headers.items())))
        done = tools.press(client, page.text, f"/answer/{item}", answer="1", confidence="1", revision="0")
        seen.append(done.text)
        page = client.get("/")
    assert headers["real"] == headers["synthetic"] == headers["degraded"]
    assert len(headers["real"]) == 1
    telling = [match.group(0) for text in seen for match in TELLING.finditer(text)]
    assert telling == []
    assert not any(word in text.lower() for text in seen for word in ("synthcohort", "real-", "degraded", "seed"))


def test_addresses_of_a_case_differ_between_readers_and_repeats(served):
    found = rows(served, "SELECT person, image, item FROM items WHERE phase = 0")
    by_image: dict[int, set[str]] = {}
    for row in found:
        by_image.setdefault(row["image"], set()).add(row["item"])
    assert sum(map(len, by_image.values())) == len(found)


def test_the_default_study_is_that_of_the_knees(tmp_path, tools):
    real = tools.write_cohort(tmp_path / "real", "real", count=400)
    made = tools.write_cohort(tmp_path / "made", "synthetic", count=200)
    result = create(made.path, tmp_path / "study", None, real.path)
    assert [(phase["kind"], phase["cases"]) for phase in result["phases"]] == [("grade", 63), ("origin", 63)]
    assert (tmp_path / "study" / "invitations.txt").stat().st_mode & 0o077 == 0
    again = create(made.path, tmp_path / "again", None, real.path)
    first, second = (json.loads((tmp_path / name / "design.json").read_text()) for name in ("study", "again"))
    assert first == second  # the sample, and all that may be known of it, follow from the seed
    names = [{f.name for f in (tmp_path / name / "images").iterdir()} for name in ("study", "again")]
    assert not names[0] & names[1]  # names do not
    assert again["readers"] == 3


def test_power_chooses_the_number_of_cases(tmp_path, tools, cohorts):
    phase = Phase("grade", label="kl_grade", training=0)
    design = Design(phases=(phase,), power=Power(margin=0.35, power=0.7), readers=("a", "b", "c", "d"))
    real = tools.write_cohort(tmp_path / "real", "real", count=400)
    made = tools.write_cohort(tmp_path / "made", "synthetic", count=200)
    create(made.path, tmp_path / "study", design, real.path)
    said = json.loads((tmp_path / "study" / "design.json").read_text())
    cases = said["power"][0]["cases"]
    assert said["design"]["phases"][0]["real"] == said["design"]["phases"][0]["synthetic"] == cases
    assert said["power"][0]["power"] >= 0.7
    with pytest.raises(InputError, match="more readers, a wider margin"):
        create(made.path, tmp_path / "no", replace(design, power=Power(margin=0.02)), real.path)


@pytest.mark.parametrize(
    ("name", "words"),
    [("kl_grade", "KL grade"), ("bi_rads", "bi rads"), ("finding", "finding"), ("view", "view"), ("t", "T")],
)
def test_label_names_are_written_as_people_write_them(name, words):
    assert spelled(name) == words
