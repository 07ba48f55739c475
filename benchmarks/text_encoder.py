"""What the packaged text encoder tells apart, and which prompts about absent image types are refused.

    python benchmarks/text_encoder.py --out runs/text_encoder

Prints the tables of docs/experiments/2026-11-25-text-encoder.md. Needs no data; about 10 minutes on one core.
"""

import argparse
import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegressionCV
from sklearn.metrics import balanced_accuracy_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from text_material import (
    AMBIGUOUS,
    DEVELOPMENT_ABSENT,
    DEVELOPMENT_ASKED,
    KINDS,
    TEST_ABSENT,
    TEST_ASKED,
    Caption,
    captions,
)

from synthcohort.core.errors import InputError
from synthcohort.core.files import write_json
from synthcohort.core.seeds import rng
from synthcohort.ingest.caption import Captioner
from synthcohort.metrics.intervals import clopper_pearson
from synthcohort.models.image_words import Cues
from synthcohort.models.text import TextTable, load_text_encoder, text_table
from synthcohort.models.text_type import TypeGuess

LABELS = {
    "knee radiograph": "kl_grade", "chest radiograph": "finding", "chest CT": "label", "brain MRI": "label",
    "breast ultrasound": "label", "fundus photograph": "dr_grade", "dermoscopy": "dx", "lung histology": "label",
    "colon histology": "label", "blood smear": "label",
}  # fmt: skip
# Findings against the same finding denied.
DENIED = {
    "knee radiograph": ("kl_grade", 0), "chest radiograph": ("finding", "normal"), "brain MRI": ("label", "notumor"),
    "breast ultrasound": ("label", "normal"), "fundus photograph": ("dr_grade", 0),
    "lung histology": ("label", "lung_n"),
}  # fmt: skip
# Parts of the body that one of the ten types shows, or that belong to it: of these no absent type is made.
SHOWN = (
    "BLOOD", "BRAIN", "BREAST", "BRONCHUS", "CEREBELLUM", "CHEST", "CHESTABDOMEN", "CHESTABDPELVIS", "COLON", "CORNEA",
    "EYE", "EYELID", "EXTREMITY", "FUNDUS", "HEAD", "HEADNECK", "HEART", "IAC", "KNEE", "LEG", "LUNG", "MEDIASTINUM",
    "NECKCHEST", "NECKCHESTABDOMEN", "ORBIT", "PATELLA", "RECTUM", "RETINA", "RIB", "SCLERA", "SKIN", "SKULL",
    "STERNUM", "THYMUS", "TRACHEA", "WHOLEBODY",
)  # fmt: skip
# Kinds of the templates that none of the ten types is, whatever they show; and kinds that some are.
OTHER_KINDS = (
    "PET slice", "scintigram", "optical coherence tomography", "mammogram", "dental radiograph", "angiogram",
    "fluoroscopy", "endoscopy", "intravascular ultrasound",
)  # fmt: skip
SAME_KINDS = ("CT slice", "MRI slice", "histology", "radiograph", "ultrasound")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/text_encoder"))
    parser.add_argument("--seed", type=int, default=1, help="of the absent types drawn from the templates")
    parser.add_argument("--no-probes", action="store_true")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    material, absent = captions(), absent_captions(600, args.seed)
    asked = [p for asked in (DEVELOPMENT_ASKED, TEST_ASKED) for own in asked.values() for p in own]
    texts = [c.text for c in material] + asked + [*DEVELOPMENT_ABSENT, *TEST_ABSENT, *AMBIGUOUS, *absent]
    table = text_table(args.out / "text", texts, load_text_encoder())
    found = {"guess": guesses(material, table, absent)}
    if not args.no_probes:
        found["probes"] = probes(material, table)
    write_json(args.out / "text_encoder.json", found)
    print(json.dumps(found, indent=1))


def absent_captions(count: int, seed: int) -> list[str]:
    """Captions by the templates of image types that are not among the ten: other kinds, and other parts of the body."""
    captioner = Captioner.load()
    kinds = {wording.kind.name: wording.kind for wording in captioner.wordings}
    found: set[str] = set()
    for name in (*OTHER_KINDS, *SAME_KINDS):
        for part in sorted(set(captioner.tables.body_parts) - set(SHOWN)):
            body = captioner.tables.body_parts[part]
            for said in captioner.captions({"modality": kinds[name].modalities[0], "body_part": part}, ()):
                words = {word for word in (body.name, body.whole, body.organ) if word}
                if name in OTHER_KINDS or any(word in said for word in words):
                    found.add(said)
    drawn = rng("text encoder", "absent", seed).permutation(sorted(found))
    return [str(text) for text in drawn[:count]]


def guesses(material: Sequence[Caption], table: TextTable, absent: Sequence[str]) -> dict[str, Any]:
    """How often the right type is told, another is, none is, or several are."""
    own = {name: [c.text for c in material if c.kind == name and not c.held_out] for name in KINDS}
    fitted = TypeGuess.fit(own, {name: table.sentences(table.rows(texts)) for name, texts in own.items()})
    wordless = replace(fitted, said=(Cues(frozenset(), frozenset()),) * len(fitted.said))

    def count(prompts: Sequence[tuple[str, str]], guess: TypeGuess = fitted) -> dict[str, Any]:
        outcomes: Counter[str] = Counter()
        listed = []
        for (prompt, truth), vector in zip(prompts, table.sentences(table.rows([p for p, _ in prompts])), strict=True):
            try:
                told = guess.of(prompt, vector)
                outcome = "right" if told == truth else "told another type" if truth else "told a type"
            except InputError as error:
                outcome = "asked which" if "about equally" in str(error) else "refused"
                told = ""
            outcomes[outcome] += 1
            if outcome != ("right" if truth else "refused"):
                listed.append(f"{prompt} -> {outcome} {told}".strip())
        total = len(prompts)
        shares = {o: [n, *(round(float(x), 4) for x in clopper_pearson(n, total))] for o, n in outcomes.items()}
        return {"prompts": total, "outcomes": shares, "listed": listed[:40]}

    def flat(asked: dict[str, tuple[str, ...]]) -> list[tuple[str, str]]:
        return [(prompt, name) for name, prompts in asked.items() for prompt in prompts]

    def of_none(prompts: Sequence[str]) -> list[tuple[str, str]]:
        return [(prompt, "") for prompt in prompts]

    return {
        "held-out phrasings": count([(c.text, c.kind) for c in material if c.held_out]),
        "asked, development": count(flat(DEVELOPMENT_ASKED)),
        "asked, test": count(flat(TEST_ASKED)),
        "absent, development": count(of_none(DEVELOPMENT_ABSENT)),
        "absent, test": count(of_none(TEST_ABSENT)),
        "absent, templates": count(of_none(absent)),
        "held-out phrasings, by likeness alone": count([(c.text, c.kind) for c in material if c.held_out], wordless),
        "asked, test, by likeness alone": count(flat(TEST_ASKED), wordless),
        "absent, test, by likeness alone": count(of_none(TEST_ABSENT), wordless),
        "absent, templates, by likeness alone": count(of_none(absent), wordless),
        "ambiguous, development": count(of_none(AMBIGUOUS[::2])),
        "ambiguous, test": count(of_none(AMBIGUOUS[1::2])),
    }


def probes(material: Sequence[Caption], table: TextTable) -> dict[str, Any]:
    """Balanced accuracy of linear probes on held-out wording, by fact."""
    material = [c for c in material if c.form != "bare"]  # those say the kind of image alone
    found: dict[str, Any] = {"image type": probe(material, table, lambda c: c.kind)}
    for kind, label in LABELS.items():
        found[f"{label}, {kind}"] = probe(
            [c for c in material if c.kind == kind], table, lambda c, x=label: c.record[x]
        )
    for kind, (label, denied) in DENIED.items():
        own = [c for c in material if c.kind == kind]
        found[f"denied or not, {kind}"] = probe(own, table, lambda c, x=label, d=denied: c.record[x] == d)
    sided = [c for c in material if KINDS[c.kind].sided and c.record["laterality"] and _says_side(c.text)]
    found["left or right"] = probe(sided, table, lambda c: c.record["laterality"])
    patients = [c for c in material if c.record.get("sex") and _says_patient(c.text)]
    found["sex"] = probe(patients, table, lambda c: c.record["sex"])
    found["decade of age"] = probe(patients, table, lambda c: c.record["age"] // 10)
    views = [c for c in material if c.record.get("view") and _says_view(c)]
    found["view"] = probe(views, table, lambda c: c.record["view"])
    return found


def _says_side(text: str) -> bool:
    return any(word in text.lower().split() or f"{word}," in text.lower() for word in ("left", "right"))


def _says_patient(text: str) -> bool:
    return any(word in text.lower() for word in ("man ", "woman ", "man,", "woman,", ", f, ", ", m, "))


def _says_view(caption: Caption) -> bool:
    view = str(caption.record["view"]).lower()
    names = {"pa": ("posteroanterior", "pa"), "ap": ("anteroposterior", "ap")}.get(view, (view,))
    return any(name in caption.text.lower().replace(",", " ").split() for name in names)


def probe(material: Sequence[Caption], table: TextTable, fact: Callable[[Caption], Any]) -> dict[str, Any]:
    """Logistic regression on captions for training, scored on those held out: from token means, and from tokens.

    `cosine` is how alike, on average, captions are that differ in the fact, against those that share it.
    """
    train, test = ([c for c in material if c.held_out == out] for out in (False, True))
    classes = sorted({str(fact(c)) for c in train} & {str(fact(c)) for c in test})
    train, test = ([c for c in part if str(fact(c)) in classes] for part in (train, test))
    truths = [np.array([str(fact(c)) for c in part]) for part in (train, test)]
    result: dict[str, Any] = {"classes": len(classes), "train": len(train), "held out": len(test)}
    means = [table.sentences(table.rows([c.text for c in part])) for part in (train, test)]
    tokens = [
        np.hstack([mean, _largest(table, [c.text for c in part])])
        for mean, part in zip(means, (train, test), strict=True)
    ]
    for name, (x, x_test) in (("mean", means), ("tokens", tokens)):
        model = make_pipeline(StandardScaler(), LogisticRegressionCV(Cs=[1e-3, 1e-2, 1e-1], cv=5, max_iter=500))
        model.fit(x, truths[0])
        result[name] = round(float(balanced_accuracy_score(truths[1], model.predict(x_test))), 3)
    alike = means[1] @ means[1].T
    same = truths[1][:, None] == truths[1][None, :]
    apart = ~np.eye(len(same), dtype=bool)
    result["cosine same"], result["cosine other"] = (
        round(float(alike[kept].mean()), 3) for kept in (same & apart, ~same)
    )
    return result


def _largest(table: TextTable, texts: Sequence[str]) -> np.ndarray:
    """The largest value of each dimension over a text's tokens, [N, W]."""
    return np.stack([table.flat[table.starts[r] : table.starts[r + 1]].max(axis=0) for r in table.rows(texts)])


if __name__ == "__main__":
    main()
