"""Which guidance for a trained model? Distance, coverage and labels of each setting against validation patients.

    python benchmarks/choose_guidance.py --run RUN --cohort COHORT --label kl_grade --out runs/guidance-knee

The reader of labels is fitted on training patients at the model's own size. Among the settings whose Fréchet distance
(packaged encoder) is at most 1.1 times the smallest, the one whose labels are read best is chosen. Settings that are
drawn once are kept.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from synthcohort.core.cohort import Cohort
from synthcohort.core.files import write_json
from synthcohort.core.kept import kept_array
from synthcohort.core.seeds import rng, seed_from
from synthcohort.imaging.geometry import placement
from synthcohort.learning.features import Encoder, features, packaged_encoder
from synthcohort.learning.fit import Classifier, FitConfig, fit_classifier
from synthcohort.metrics.distribution import frechet_distance, kernel_distance
from synthcohort.metrics.neighbors import coverage
from synthcohort.models import load_generator

NEAR = 1.1  # times the smallest distance: what still counts as near


def standing(
    real: np.ndarray, synthetic: np.ndarray, truth: np.ndarray, reader: Classifier, encoder: Encoder, folder: Path
) -> dict[str, float]:
    """How images drawn under the labels `truth` stand to real images of the same labels: both [N, H, W(, 3)]."""
    sides = {side: features(x, encoder, folder / "features") for side, x in (("real", real), ("synthetic", synthetic))}
    read, read_real = (float((reader.probabilities(x).argmax(1) == truth).mean()) for x in (synthetic, real))
    return {
        "n": len(truth), "read": read, "read_on_real": read_real, "ratio": read / max(read_real, 1e-9),
        "frechet": float(frechet_distance(**sides)), "kernel": float(kernel_distance(**sides)),
        "coverage": float(coverage(**sides)),
    }  # fmt: skip


def chosen(distance: dict[str, float], labels: dict[str, float]) -> str:
    """The setting whose labels are read best among those that are near."""
    near = [name for name, value in distance.items() if value <= NEAR * min(distance.values())]
    return max(near, key=lambda name: labels[name])


def settings(words: Sequence[str]) -> dict[str, dict[str, float]]:
    """SCALE[:LOW:HIGH] as settings of the sampler: guidance and the sigmas between which it works."""
    found: dict[str, dict[str, float]] = {}
    for word in words:
        names = ("guidance_scale", "guidance_low", "guidance_high")
        found[word] = dict(zip(names, map(float, word.split(":")), strict=False))
    return found


def at_size(view: Cohort, sides: tuple[int, int]) -> np.ndarray:
    """The images padded and brought to these sides, as training does."""
    return np.stack([placement(x.shape[:2], sides, "pad", 0).apply(x) for x in map(view.image, range(len(view)))])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--cohort", type=Path, required=True)
    parser.add_argument("--label", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--steps", type=int, default=800, help="of the reader's fit")
    parser.add_argument("--settings", nargs="+", default=["1", "1.5:0.1:8", "1.5:0.2:16", "2:0.2:16"])
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    cohort, generator, encoder = Cohort.open(args.cohort), load_generator(args.run), packaged_encoder()
    image, values = generator.spec.image, list(cohort.labels[args.label].values)
    sides = (image.rows, image.columns)

    def known(split: str) -> tuple[Cohort, np.ndarray]:
        view = cohort.select(split=split)
        view = view.select(indices=[i for i, v in enumerate(view.column(args.label)) if v is not None])
        return view, np.array([values.index(v) for v in view.column(args.label)])

    if not (args.out / "reader").exists():
        train, classes = known("train")
        config = FitConfig(steps=args.steps, size=max(sides))
        fit_classifier(at_size(train, sides), classes, len(values), config, 0).save(args.out / "reader")
    reader = Classifier.load(args.out / "reader")
    view, truth = known("validation")
    picked = np.sort(rng("choose guidance").permutation(len(view))[: args.count])
    view, truth = view.select(indices=picked.tolist()), truth[picked]
    real, names = at_size(view, sides), generator.spec.vocabulary.names
    conditions = [{n: v for n in names if (v := view.record(i).get(n)) is not None} for i in range(len(view))]
    seeds = [seed_from("choose guidance", i) for i in range(len(view))]
    sampling, found = generator.sampling, dict[str, Any]()
    for name, setting in settings(args.settings).items():
        generator.sampling = replace(sampling, **setting)
        made = kept_array(
            args.out / f"{name.replace(':', '-')}.npy",
            lambda: np.stack(list(generator.draw(conditions, seeds))),
            lambda x: len(x) == len(seeds),
        )
        found[name] = standing(real, made, truth, reader, encoder, args.out)
        print(name, json.dumps(found[name]), flush=True)
    name = chosen({n: s["frechet"] for n, s in found.items()}, {n: s["read"] for n, s in found.items()})
    write_json(args.out / "choice.json", {"settings": found, "chosen": name})
    print("chosen", name)


if __name__ == "__main__":
    main()
