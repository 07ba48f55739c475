"""Scores of the joint model: are types, labels and words in its images what was asked?

    python benchmarks/joint_scores.py --run runs/joint --cohorts runs/ten --out runs/joint-scores

Protocol: docs/experiments/2026-11-25-ten-types.md. Every step leaves its result in --out and is not done again.
"""

import argparse
import itertools
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from choose_guidance import chosen, standing

from synthcohort.core.cohort import Cohort
from synthcohort.core.files import write_json
from synthcohort.core.seeds import rng, seed_from
from synthcohort.learning.features import packaged_encoder
from synthcohort.learning.fit import Classifier, FitConfig, fit_classifier
from synthcohort.learning.search import CopyIndex, build_index
from synthcohort.metrics.classification import auroc
from synthcohort.metrics.intervals import clopper_pearson
from synthcohort.models import load_generator
from synthcohort.models.generator import Generator
from synthcohort.pages.grids import sheet

SIZE, MOST, SEEDS, TEXTS = 48, 300, (0, 1, 2), 64
CHOICE, CHOOSER = 120, 3  # images a type of a sampler setting, and the seed of the readers that choose
SETTINGS: dict[str, dict[str, Any]] = {  # of guidance; all else stays as decision 0014 has it
    "1.5": {"guidance_scale": 1.5},
    "2.5": {"guidance_scale": 2.5},
    "4": {"guidance_scale": 4.0},
    "2.5-wide": {"guidance_scale": 2.5, "guidance_high": 30.0},
}
MAIN = {
    "knee-xray": "kl_grade", "chest-xray": "finding", "chest-ct": "label", "brain-mri": "label",
    "breast-ultrasound": "label", "fundus-photo": "normal_fundus", "dermoscopy": "dx", "lung-histology": "label",
    "colon-histology": "label", "blood-smear": "label",
}  # fmt: skip

# Words of our own, none of them a caption template's; one prompt a class.
WORDS: dict[str, dict[Any, str]] = {
    "knee-xray": {
        0: "X-ray picture of a healthy knee joint, no osteoarthritis at all",
        4: "X-ray picture of a knee joint worn down by very severe osteoarthritis",
    },
    "chest-xray": {
        "normal": "frontal X-ray picture of a chest, lungs clear",
        "pneumonia": "frontal X-ray picture of a chest, lungs with pneumonia",
    },
    "chest-ct": {
        "normal": "one CT cut through the chest, nothing abnormal",
        "malignant": "one CT cut through the chest with a malignant tumor",
        "benign": "one CT cut through the chest with something benign",
    },
    "brain-mri": {
        "no_tumor": "head MRI without any tumor",
        "glioma_tumor": "head MRI with a glioma",
        "meningioma_tumor": "head MRI with a meningioma",
        "pituitary_tumor": "head MRI with a tumor of the pituitary gland",
    },
    "breast-ultrasound": {
        "benign": "sonogram of a breast with a benign lump",
        "malignant": "sonogram of a breast with a malignant lump",
        "normal": "sonogram of a normal breast",
    },
    "fundus-photo": {1: "retina photo of a normal eye", 0: "retina photo of an eye with diabetic retinopathy"},
    "dermoscopy": {
        "nv": "close-up of a mole on the skin, a harmless nevus",
        "mel": "close-up of a malignant melanoma of the skin",
        "bcc": "close-up of a basal cell cancer of the skin",
        "vasc": "close-up of a vascular lesion of the skin",
    },
    "lung-histology": {
        "lung_n": "lung tissue under the microscope, benign",
        "lung_aca": "lung tissue under the microscope with adenocarcinoma",
        "lung_scc": "lung tissue under the microscope with squamous cell cancer",
    },
    "colon-histology": {
        "colon_n": "colon tissue under the microscope, benign",
        "colon_aca": "colon tissue under the microscope with adenocarcinoma",
    },
    "blood-smear": {
        "EOSINOPHIL": "stained blood film with one eosinophil",
        "LYMPHOCYTE": "stained blood film with one lymphocyte",
        "MONOCYTE": "stained blood film with one monocyte",
        "NEUTROPHIL": "stained blood film with one neutrophil",
    },
}
PEOPLE = {  # what a prompt adds, by attribute and class
    "sex": {"F": "of a female patient", "M": "of a male patient"},
    "age": {0: "of a young patient, 25 years old", 1: "of an old patient, 80 years old"},
}
PEOPLE_TYPES = {"fundus-photo": "retina photo", "dermoscopy": "close-up of a mole on the skin"}


class Scores:
    """Steps by name, each kept as JSON once it is done."""

    def __init__(self, run: Path, cohorts: Path, out: Path, tag: str) -> None:
        self.out, self.run, self.tag = out, run, tag
        out.mkdir(parents=True, exist_ok=True)
        self.cohorts = {name: Cohort.open(cohorts / name) for name in MAIN if (cohorts / name).exists()}
        self._generator: Generator | None = None

    @property
    def generator(self) -> Generator:
        if self._generator is None:
            self._generator = load_generator(self.run)
        return self._generator

    @property
    def types(self) -> list[str]:
        return (
            [image.name for image in self.generator.spec.images] if len(self.generator.spec.images) > 1 else [self.tag]
        )

    def kept(self, name: str, work: Callable[[], Any]) -> Any:
        path = self.out / f"{name}.json"
        if not path.exists():
            write_json(path, work())
            print(name, json.dumps(json.loads(path.read_text()))[:400], flush=True)
        return json.loads(path.read_text())

    def reader(self, name: str, fit: Callable[[int], Classifier], seed: int) -> Classifier:
        folder = self.out / "readers" / f"{name}-{seed}"
        if not folder.exists():
            fit(seed).save(folder)
        return Classifier.load(folder)

    def images(self, name: str, conditions: Sequence[dict[str, Any]]) -> list[np.ndarray]:
        path = self.out / "images" / f"{name}.npy"
        if not path.exists():
            path.parent.mkdir(exist_ok=True)
            seeds = [seed_from("joint scores", name, i) for i in range(len(conditions))]
            np.save(path, np.stack(list(self.generator.draw(conditions, seeds))))
        return list(np.load(path))


def rgb(images: Sequence[np.ndarray]) -> np.ndarray:
    """All images as [N, SIZE, SIZE, 3] uint8, so that types can be told apart by one reader."""
    import PIL.Image

    made = [
        np.asarray(PIL.Image.fromarray(image).convert("RGB").resize((SIZE, SIZE), PIL.Image.Resampling.BOX))
        for image in map(padded, images)
    ]
    return np.stack(made)


def padded(image: np.ndarray) -> np.ndarray:
    """The image in a black square, as training brings it to the model's size."""
    from synthcohort.imaging.geometry import placement

    side = max(image.shape[:2])
    return placement(image.shape[:2], (side, side), "pad", 0).apply(image)


def real(view: Cohort) -> np.ndarray:
    return rgb([view.image(i) for i in range(len(view))])


def type_reader(scores: Scores) -> Callable[[int], Classifier]:
    def fit(seed: int) -> Classifier:
        parts = [real(c.select(split="train", indices=None)) for c in scores.cohorts.values()]
        chosen = [p[rng("type reader", k).permutation(len(p))[:600]] for k, p in enumerate(parts)]
        labels = np.repeat(np.arange(len(chosen)), [len(p) for p in chosen])
        return fit_classifier(np.concatenate(chosen), labels, len(chosen), FitConfig(steps=600, size=SIZE), seed)

    return fit


def label_reader(view: Cohort, values: Sequence[Any], truth: Sequence[Any]) -> Callable[[int], Classifier]:
    def fit(seed: int) -> Classifier:
        keep = [i for i, value in enumerate(truth) if value is not None]
        labels = np.array([values.index(truth[i]) for i in keep])
        images = rgb([view.image(i) for i in keep])
        return fit_classifier(images, labels, len(values), FitConfig(steps=600, size=SIZE), seed)

    return fit


def interval(values: np.ndarray, groups: Sequence[Any] | None = None, seed: int = 0) -> tuple[float, float, float]:
    """Mean with a 95 % bootstrap interval over groups."""
    groups = list(range(len(values))) if groups is None else list(groups)
    members: dict[Any, list[int]] = {}
    for i, group in enumerate(groups):
        members.setdefault(group, []).append(i)
    sums = np.array([[values[m].sum(), len(m)] for m in members.values()])
    random = rng("joint scores bootstrap", seed)
    drawn = [sums[random.integers(0, len(sums), len(sums))].sum(0) for _ in range(1000)]
    means = np.sort([a / b for a, b in drawn])
    return float(values.mean()), float(means[25]), float(means[974])


def ratio(a: np.ndarray, b: np.ndarray, groups: Sequence[Any]) -> list[float]:
    """Mean of a over mean of b (by groups), with a 95 % bootstrap interval."""
    random = rng("joint scores ratio")
    members: dict[Any, list[int]] = {}
    for i, group in enumerate(groups):
        members.setdefault(group, []).append(i)
    sums = np.array([[b[m].sum(), len(m)] for m in members.values()])
    values = []
    for _ in range(1000):
        top = a[random.integers(0, len(a), len(a))].mean()
        low = sums[random.integers(0, len(sums), len(sums))].sum(0)
        values.append(top / max(1e-9, low[0] / low[1]))
    values.sort()
    return [round(float(x), 4) for x in (a.mean() / max(1e-9, b.mean()), values[25], values[974])]


def prompted(scores: Scores, name: str, split: str = "test", most: int = MOST) -> tuple[Cohort, list[dict[str, Any]]]:
    """Images of a type and a role and their conditions: all that is known of them, and their caption."""
    cohort = scores.cohorts[name]
    view = cohort.select(split=split)
    label = MAIN[name]
    known = [i for i, value in enumerate(view.column(label)) if value is not None]
    view = view.select(indices=sorted(rng("joint scores", name).permutation(known)[:most].tolist()))
    names = [n for n in scores.generator.spec.vocabulary.names if n in view.records.column_names]
    conditions = []
    for i in range(len(view)):
        record = view.record(i)
        condition = {n: record[n] for n in names if record[n] is not None}
        if len(scores.generator.spec.images) > 1:
            condition["image_type"] = name
        if scores.generator.spec.vocabulary.text is not None and record["phrasings"]:
            condition["prompt"] = record["phrasings"][0]
        conditions.append(condition)
    return view, conditions


def score_labels(scores: Scores, name: str) -> dict[str, Any]:
    cohort, label = scores.cohorts[name], MAIN[name]
    values = list(cohort.labels[label].values)
    train = cohort.select(split="train")
    view, conditions = prompted(scores, name)
    synthetic, test = rgb(scores.images(name, conditions)), real(view)
    truth = np.array([values.index(v) for v in view.column(label)])
    right_real, right_synthetic, shuffled = [], [], []
    mixed = rng("joint scores shuffled", name).permutation(truth)
    for seed in SEEDS:
        reader = scores.reader(f"label-{name}", label_reader(train, values, train.column(label)), seed)
        right_real.append(reader.probabilities(test).argmax(1) == truth)
        read = reader.probabilities(synthetic).argmax(1)
        right_synthetic.append(read == truth)
        shuffled.append(read == mixed)
    a, b = np.mean(right_synthetic, 0), np.mean(right_real, 0)
    return {
        "n": len(truth), "classes": len(values), "read_on_real": interval(b, view.column("group_id")),
        "read_on_synthetic": interval(a), "ratio": ratio(a, b, view.column("group_id")),
        "read_with_shuffled_prompts": float(np.mean(shuffled)),
        "largest_class": float(np.bincount(truth).max() / len(truth)),
    }  # fmt: skip


def score_types(scores: Scores) -> dict[str, Any]:
    names = list(scores.cohorts)
    reader = scores.reader("types", type_reader(scores), 0)
    found = {}
    for name in scores.types:
        view, conditions = prompted(scores, name)
        k = names.index(name)
        on_real = reader.probabilities(real(view)).argmax(1) == k
        on_synthetic = reader.probabilities(rgb(scores.images(name, conditions))).argmax(1) == k
        found[name] = {"real": float(on_real.mean()), "synthetic": interval(on_synthetic.astype(float))}
    return found


def score_text(scores: Scores, name: str) -> dict[str, Any]:
    """Text alone: structured columns null, words of our own."""
    cohort, label = scores.cohorts[name], MAIN[name]
    values, train = list(cohort.labels[label].values), cohort.select(split="train")
    names = list(scores.cohorts)
    type_of = scores.reader("types", type_reader(scores), 0)
    readers = [scores.reader(f"label-{name}", label_reader(train, values, train.column(label)), seed) for seed in SEEDS]
    probability, type_right = {}, []
    for value, prompt in WORDS[name].items():
        conditions = [{"image_type": None, "prompt": prompt}] * TEXTS
        images = rgb(scores.images(f"text-{name}-{value}", conditions))
        probability[value] = np.mean([reader.probabilities(images) for reader in readers], 0)
        type_right.append(type_of.probabilities(images).argmax(1) == names.index(name))
    found: dict[str, Any] = {"type_read": interval(np.concatenate(type_right).astype(float)), "classes": {}}
    for value, own in probability.items():
        column = values.index(value)
        others = np.concatenate([p[:, column] for v, p in probability.items() if v != value])
        random = rng("joint scores text", name, repr(value))
        moved = sorted(
            own[random.integers(0, len(own), len(own)), column].mean()
            - others[random.integers(0, len(others), len(others))].mean()
            for _ in range(1000)
        )
        found["classes"][str(value)] = {
            "probability": float(own[:, column].mean()), "under_other_prompts": float(others.mean()),
            "moved": [float(own[:, column].mean() - others.mean()), float(moved[25]), float(moved[974])],
        }  # fmt: skip
    return found


def score_people(scores: Scores, name: str, attribute: str) -> dict[str, Any]:
    """Sex and age by words alone, read by readers of real images, which must be able to."""
    cohort = scores.cohorts[name]
    train, test = cohort.select(split="train"), cohort.select(split="test")
    values = list(PEOPLE[attribute])

    def classes(view: Cohort) -> list[Any]:
        if attribute == "sex":
            return [value if value in values else None for value in view.column("sex")]
        return [None if v is None else 0 if v < 45 else 1 if v > 65 else None for v in view.column("age")]

    readers = [
        scores.reader(f"{attribute}-{name}", label_reader(train, values, classes(train)), seed) for seed in SEEDS
    ]
    truth = classes(test)
    keep = [i for i, value in enumerate(truth) if value is not None]
    labels = np.array([values.index(truth[i]) for i in keep])
    images = rgb([test.image(i) for i in keep])
    read = np.mean([reader.probabilities(images)[:, 1] for reader in readers], 0)
    random = rng("joint scores people", name, attribute)
    draws = [random.integers(0, len(labels), len(labels)) for _ in range(300)]
    areas = sorted(auroc(truth=labels[d], scores=np.stack([1 - read[d], read[d]], 1)) for d in draws)
    drawn = {}
    for value in values:
        prompt = f"{PEOPLE_TYPES[name]} {PEOPLE[attribute][value]}"
        made = rgb(
            scores.images(f"people-{name}-{attribute}-{value}", [{"image_type": None, "prompt": prompt}] * TEXTS)
        )
        drawn[value] = np.mean([reader.probabilities(made)[:, 1] for reader in readers], 0)
    a, b = drawn[values[1]], drawn[values[0]]
    moved = sorted(
        a[random.integers(0, len(a), len(a))].mean() - b[random.integers(0, len(b), len(b))].mean() for _ in range(1000)
    )
    return {
        "n_real": len(labels), "auroc_on_real": [float(areas[len(areas) // 2]), float(areas[7]), float(areas[292])],
        "moved": [float(a.mean() - b.mean()), float(moved[25]), float(moved[974])],
    }  # fmt: skip


def choose(scores: Scores, names: Sequence[str]) -> dict[str, Any]:
    """How the images of each sampler setting stand to validation patients: distance, coverage and labels of each type.

    The labels are read by a reader of its own seed, which takes no part in the scores on test patients.
    """
    found: dict[str, Any] = {}
    encoder = packaged_encoder()
    for setting in names:
        scores.generator.sampling = replace(scores.generator.sampling, **SETTINGS[setting])
        for name in scores.types:
            cohort, label = scores.cohorts[name], MAIN[name]
            values, train = list(cohort.labels[label].values), cohort.select(split="train")
            view, conditions = prompted(scores, name, "validation", CHOICE)
            truth = np.array([values.index(v) for v in view.column(label)])
            made = rgb(scores.images(f"choice-{setting}-{name}", conditions))
            reader = scores.reader(f"label-{name}", label_reader(train, values, train.column(label)), CHOOSER)
            found.setdefault(setting, {})[name] = standing(real(view), made, truth, reader, encoder, scores.out)
        print(setting, json.dumps(found[setting]), flush=True)
    distance = {s: float(np.exp(np.mean([np.log(t["frechet"]) for t in v.values()]))) for s, v in found.items()}
    labels = {s: float(np.mean([min(t["ratio"], 1) for t in v.values()])) for s, v in found.items()}
    return {"types": found, "distance": distance, "labels": labels, "chosen": chosen(distance, labels)}


def score_copies(scores: Scores, name: str) -> dict[str, Any]:
    """How many of the images under test conditions are copies of training images, beside control patients' images."""
    parts = {role: scores.cohorts[name].select(split=role) for role in ("train", "validation", "control")}
    folder = scores.out / "copies" / name
    if not folder.exists():
        build_index(real(parts["train"]), folder, real(parts["validation"]), groups=parts["train"].column("group_id"))
    index, found = CopyIndex.open(folder), dict[str, Any]()
    sides = {"synthetic": rgb(scores.images(name, prompted(scores, name)[1])), "control": real(parts["control"])}
    for side, images in sides.items():
        similarity = index.query(images).similarity
        above = int((similarity > index.threshold).sum())
        found[side] = {
            "images": len(images), "copies": above, "share": [*clopper_pearson(above, len(images), 0.95)],
            "largest": float(similarity.max()),
        }  # fmt: skip
    return {**found, "threshold": float(index.threshold)}


def draw_all(scores: Scores) -> None:
    for name in scores.types:
        scores.images(name, prompted(scores, name)[1])
    if len(scores.types) > 1:
        for name in scores.types:
            for value, prompt in WORDS[name].items():
                scores.images(f"text-{name}-{value}", [{"image_type": None, "prompt": prompt}] * TEXTS)
        for name, attribute in itertools.product(PEOPLE_TYPES, PEOPLE):
            for value in PEOPLE[attribute]:
                prompt = f"{PEOPLE_TYPES[name]} {PEOPLE[attribute][value]}"
                scores.images(f"people-{name}-{attribute}-{value}", [{"image_type": None, "prompt": prompt}] * TEXTS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--cohorts", type=Path, default=Path("runs/ten"))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--type", default="", help="the type of a run of a single type")
    parser.add_argument("--draw-only", action="store_true", help="draw the images, which needs no reader")
    parser.add_argument("--choose", action="store_true", help="compare sampler settings on validation patients")
    parser.add_argument("--setting", default="", choices=["", *SETTINGS], help="the sampler setting that was chosen")
    parser.add_argument("--readers-only", action="store_true", help="fit the readers, which need no run")
    args = parser.parse_args()
    scores = Scores(args.run, args.cohorts, args.out, args.type)
    if args.setting:
        scores.generator.sampling = replace(scores.generator.sampling, **SETTINGS[args.setting])
    if args.choose:
        print(json.dumps(scores.kept("choice", lambda: choose(scores, list(SETTINGS))), indent=1))
        return
    if args.readers_only:
        scores.reader("types", type_reader(scores), 0)
        for name, cohort in scores.cohorts.items():
            train, label = cohort.select(split="train"), MAIN[name]
            for seed in SEEDS:
                fit = label_reader(train, list(cohort.labels[label].values), train.column(label))
                scores.reader(f"label-{name}", fit, seed)
        return
    if args.draw_only:
        draw_all(scores)
        return
    whole: dict[str, Any] = {"labels": {}, "text": {}, "people": {}, "copies": {}}
    for name in scores.types:
        whole["copies"][name] = scores.kept(f"copies-{name}", lambda name=name: score_copies(scores, name))
        whole["labels"][name] = scores.kept(f"labels-{name}", lambda name=name: score_labels(scores, name))
    if len(scores.types) > 1:
        whole["types"] = scores.kept("types", lambda: score_types(scores))
        for name in scores.types:
            whole["text"][name] = scores.kept(f"text-{name}", lambda name=name: score_text(scores, name))
        for name in PEOPLE_TYPES:
            for attribute in PEOPLE:
                key = f"{name}-{attribute}"
                whole["people"][key] = scores.kept(
                    f"people-{key}", lambda name=name, attribute=attribute: score_people(scores, name, attribute)
                )
    write_json(args.out / "scores.json", whole)
    rows = [image for name in scores.types for image in rgb(scores.images(name, prompted(scores, name)[1]))[:12]]
    (args.out / "sheet.png").write_bytes(sheet(rows, columns=12))
    print(json.dumps(whole, indent=1))


if __name__ == "__main__":
    main()
