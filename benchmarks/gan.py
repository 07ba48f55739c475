"""GANs on four sets with three seeds each, and against a plain WGAN-GP and the diffusion engine at equal wall-clock.

    python benchmarks/gan.py --source runs/ten                 everything, with the defaults below
    python benchmarks/gan.py --source runs/ten --only sets     the twelve trainings and their scores alone

Protocol: docs/experiments/2026-11-25-gan.md. Every stage runs in a process of its own and leaves a JSON file in --out;
one that is there is not done again, so a run that was stopped goes on.
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from stages import Stages

from synthcohort.core.files import write_json

SETS = ("knee-xray", "chest-ct", "brain-mri", "chest-xray")
COMPARED = "knee-xray"
LEAST_COVERAGE, LEAST_VENDI = 0.5, 0.7  # of the real-against-real floor
LEAST_OF_CLASS = 20  # images of a class for its Vendi score
WANTED = 0.6  # of the peer's distance
SLOWER = 20  # times that diffusion may draw more slowly
ENCODERS = ("packaged", "self_trained")
GUIDANCE, STEPS = (1.0, 1.5, 2.0), (8, 12, 16, 24)


class Bench(Stages):
    """The settings of a run and its folder of results."""

    def cohort(self, name: str) -> Path:
        return Path(self.args.source) / name

    def model(self, way: str, name: str, seed: int | str) -> Path:
        return self.out / "models" / f"{way}-{name}-{seed}"

    def small(self, name: str) -> Path:
        """The cohort at the size of the models, on which all ways are scored alike."""
        return self.out / "cohorts" / name

    def scorer(self, name: str) -> Any:
        from generator_scores import Scorer

        from synthcohort.core.cohort import Cohort

        return Scorer(Cohort.open(self.small(name)), self.out / "scorer" / name)


def shrunk(bench: Bench, name: str) -> dict[str, Any]:
    """The cohort with its images brought to the models' size, records unchanged."""
    from synthcohort.core.cohort import Cohort
    from synthcohort.core.cohort_writer import CohortWriter
    from synthcohort.imaging.geometry import placement

    cohort, size = Cohort.open(bench.cohort(name)), bench.args.size
    known = set(cohort.records.column_names) - {
        "rows",
        "columns",
        "channels",
        "shard",
        "pixel_spacing_mm",
        "derived_from_real",
    }
    first = next(iter(cohort.labels.values()))
    writer = CohortWriter(bench.small(name), name, "real", [first], {"made_from": cohort.digest}, cohort.digest)
    columns = {key: cohort.column(key) for key in known if key not in cohort.labels or key == first.name}
    for n in range(len(cohort)):
        record = {key: values[n] for key, values in columns.items() if values[n] is not None}
        if record.get(first.name) is None:
            continue  # the scores are by the first label
        image = cohort.image(n)
        writer.add(placement(image.shape[:2], (size, size), "pad").apply(image), writable(record))
    return {"images": len(writer.finish())}


def writable(record: dict[str, Any]) -> dict[str, Any]:
    """A record without what the writer adds itself; where patients are not known, a group stands for one."""
    own = {key: value for key, value in record.items() if key not in ("position", "digest")}
    return {**own, "patient_id": own.get("patient_id") or own.get("group_id") or own["image_id"]}


def trained(bench: Bench, name: str, seed: str) -> dict[str, Any]:
    """One preset, no setting by hand but the size and the minutes."""
    from synthcohort.training.gan import train_gan
    from synthcohort.training.gan_config import GanConfig

    began = time.monotonic()
    config = GanConfig(size=bench.args.size, minutes=bench.args.minutes)
    found = train_gan([bench.small(name)], bench.model("gan", name, seed), config, int(seed))
    return {**found, "seconds": time.monotonic() - began}


def diffusion(bench: Bench, seed: str) -> dict[str, Any]:
    from synthcohort.training import train
    from synthcohort.training.config import TrainConfig

    minutes = bench.stage(f"train/{COMPARED}/{seed}")["seconds"] / 60
    began = time.monotonic()
    config = TrainConfig(size=bench.args.size, minutes=minutes)
    found = train([bench.small(COMPARED)], bench.model("diffusion", COMPARED, seed), config, int(seed))
    return {**found, "seconds": time.monotonic() - began}


def peer(bench: Bench, seed: str) -> dict[str, Any]:
    import gan_peer
    from generator_scores import real

    scorer = bench.scorer(COMPARED)
    train, label = real(scorer.cohort, "train"), next(iter(scorer.cohort.labels.values()))
    seconds = bench.stage(f"train/{COMPARED}/{seed}")["seconds"]
    model = bench.model("peer", COMPARED, seed)
    return gan_peer.train(train.images, train.classes, len(label.values), model, seconds, 64, int(seed))


def drawn(bench: Bench, way: str, name: str, seed: str) -> tuple[np.ndarray, list[int], float]:
    """Images in the test patients' proportions, their classes, and how many were drawn a second."""
    from generator_scores import wanted_classes

    scorer, count = bench.scorer(name), bench.args.count
    classes = wanted_classes(scorer.cohort, count, int(seed))
    if way == "peer":
        which = bench.stage(f"which/{seed}")["which"]
        import gan_peer

        images, rate = gan_peer.draw(bench.model("peer", name, seed), which, classes, int(seed))
        return images, classes, rate
    images, rate = draw_ours(bench, way, name, seed, classes)
    return images, classes, rate


def draw_ours(bench: Bench, way: str, name: str, seed: str, classes: list[int]) -> tuple[np.ndarray, float]:
    from synthcohort.core.seeds import seed_from
    from synthcohort.diffusion.sampling import SamplingConfig
    from synthcohort.models.gan_generator import gan_generator
    from synthcohort.models.generator import load_generator

    model = bench.model(way, name, seed)
    if way == "gan":
        generator: Any = gan_generator(model / "model")
    else:
        best = bench.stage("setting")["best"]
        generator = load_generator(model, SamplingConfig(steps=best["steps"], guidance_scale=best["guidance"]))
    label = next(iter(bench.scorer(name).cohort.labels.values()))
    said = [{label.name: label.values[k]} for k in classes]
    next(generator.draw(said[:1], [0]))  # kernels
    began = time.monotonic()
    images = np.stack(list(generator.draw(said, [seed_from("bench", int(seed), i) for i in range(len(said))])))
    return images, len(said) / (time.monotonic() - began)


def which(bench: Bench, seed: str) -> dict[str, Any]:
    """The peer's weights or their average, whichever is nearer to validation patients."""
    import gan_peer
    from generator_scores import wanted_classes
    from generator_settings import criterion

    scorer = bench.scorer(COMPARED)
    classes = wanted_classes(scorer.cohort, 320, int(seed))
    found = {}
    for name in ("last", "average"):
        images, _ = gan_peer.draw(bench.model("peer", COMPARED, seed), name, classes, int(seed))
        found[name] = criterion(scorer.quick(images, "validation"))
    return {"which": min(found, key=lambda name: found[name]), "criterion": found}


def setting(bench: Bench) -> dict[str, Any]:
    """Diffusion's best-quality setting, by the criterion on validation patients, of the first seed's model."""
    from generator_scores import wanted_classes
    from generator_settings import criterion

    from synthcohort.core.seeds import seed_from
    from synthcohort.diffusion.sampling import SamplingConfig
    from synthcohort.models.generator import load_generator

    scorer, label = bench.scorer(COMPARED), next(iter(bench.scorer(COMPARED).cohort.labels.values()))
    said = [{label.name: label.values[k]} for k in wanted_classes(scorer.cohort, 320, 0)]
    found = []
    for steps in STEPS:
        for guidance in GUIDANCE:
            sampling = SamplingConfig(steps=steps, guidance_scale=guidance)
            generator = load_generator(bench.model("diffusion", COMPARED, bench.args.seeds[0]), sampling)
            images = np.stack(list(generator.draw(said, [seed_from("setting", i) for i in range(len(said))])))
            found.append(
                {"steps": steps, "guidance": guidance, "criterion": criterion(scorer.quick(images, "validation"))}
            )
    return {"tried": found, "best": min(found, key=lambda one: one["criterion"])}


def score(bench: Bench, way: str, name: str, seed: str) -> dict[str, Any]:
    """Distances, copies and labels read (the generator benchmark's scores); coverage and Vendi scores with floors."""
    from generator_scores import real

    from synthcohort.metrics.neighbors import coverage

    scorer = bench.scorer(name)
    images, classes, rate = drawn(bench, way, name, seed)
    test, (base, _) = real(scorer.cohort, "test"), scorer.floor_images(len(images), int(seed))
    found = dict(scorer.whole(images, classes, int(seed)))
    train = real(scorer.cohort, "train")
    for encoder in ENCODERS:
        seen, made, floor = (scorer.see(x, encoder) for x in (test.images, images, base))
        found[encoder] |= {
            "coverage": coverage(real=seen, synthetic=made), "coverage_floor": coverage(real=seen, synthetic=floor),
            "vendi": vendi_by_class(
                made, np.array(classes), scorer.see(train.images, encoder), train.classes, int(seed)
            ),
        }  # fmt: skip
    return found | {"images_per_second": rate}


def vendi_by_class(
    made: np.ndarray, classes: np.ndarray, real: np.ndarray, real_classes: np.ndarray, seed: int
) -> dict[str, dict[str, float]]:
    """Of each class with enough images: the Vendi score of drawn images, and of as many real training images."""
    from synthcohort.core.seeds import rng
    from synthcohort.metrics.diversity import vendi_score

    found = {}
    for k in np.unique(classes):
        own, others = made[classes == k], real[real_classes == k]
        count = min(len(own), len(others))
        if count >= LEAST_OF_CLASS:
            chosen = rng("vendi floor", seed, int(k)).permutation(len(others))[:count]
            found[str(k)] = {"drawn": vendi_score(own[:count]), "floor": vendi_score(others[chosen]), "images": count}
    return found


def alive(scores: dict[str, Any]) -> bool:
    """No collapse, in the packaged encoder: coverage and every class' Vendi score are near the real floor."""
    own = scores["packaged"]
    return bool(
        own["coverage"] >= LEAST_COVERAGE * own["coverage_floor"]
        and all(one["drawn"] >= LEAST_VENDI * one["floor"] for one in own["vendi"].values())
    )


def evaluated(bench: Bench, name: str, seed: str) -> dict[str, Any]:
    """The product's own evaluation of a cohort that the product generated."""
    from synthcohort.evaluation import evaluate
    from synthcohort.generation.config import GenerateConfig
    from synthcohort.generation.synthesize import generate

    out = bench.out / "evidence" / f"{name}-{seed}"
    generate(bench.model("gan", name, seed), out / "cohort", GenerateConfig(), int(seed), bench.args.count)
    return dict(evaluate(bench.small(name), out / "cohort", out / "evidence", seed=int(seed)))


def everything(bench: Bench) -> dict[str, Any]:
    found: dict[str, Any] = {"sets": {}, "compared": {}}
    for name in SETS:
        bench.stage(f"cohort/{name}")
        bench.stage(f"prepare/{name}")
    for seed in bench.args.seeds:
        for name in SETS:
            key = f"{name}/{seed}"
            trained_ = bench.stage(f"train/{key}")
            scores = bench.stage(f"score/gan/{key}")
            found["sets"][key] = {"train": trained_, "score": scores, "alive": alive(scores)}
            if bench.args.only != "sets":
                found["sets"][key]["evaluation"] = bench.stage(f"evaluate/{key}")
    if bench.args.only == "sets":
        return found
    for seed in bench.args.seeds:
        for way in ("peer", "diffusion"):
            bench.stage(f"{way}/{seed}")
    bench.stage("setting")
    for seed in bench.args.seeds:
        bench.stage(f"which/{seed}")
        for way in ("peer", "diffusion"):
            found["compared"][f"{way}/{seed}"] = bench.stage(f"score/{way}/{COMPARED}/{seed}")
    return found


def report(found: dict[str, Any]) -> str:
    """What was asked, in tables."""
    alive_ = [one["alive"] for one in found["sets"].values()]
    head = (
        "set/seed", "images seen", "stopped", "Fréchet, packaged", "floor", "coverage", "floor",
        "least class Vendi over its floor", "copies",
    )  # fmt: skip
    rows = []
    for key, one in found["sets"].items():
        own, copies = one["score"]["packaged"], one["score"]["copies"]
        least = min((v["drawn"] / v["floor"] for v in own["vendi"].values()), default=float("nan"))
        rows.append(
            (key, f"{one['train']['images_seen']:,}", one["train"].get("stopped") or "no",
             f"{own['frechet']['value']:.3g}", f"{own['frechet']['floor']['value']:.3g}", f"{own['coverage']:.2f}",
             f"{own['coverage_floor']:.2f}", f"{least:.2f}", f"{copies['above']} of {copies['images']}")
        )  # fmt: skip
    text = f"{sum(alive_)} of {len(alive_)} runs ended without collapse.\n\n" + table(head, rows)
    return text + (compared(found) if found["compared"] else "")


def compared(found: dict[str, Any]) -> str:
    """The GAN beside the peer and diffusion, of one set, and the ratios that were wanted."""
    own = {f"gan/{key.split('/')[1]}": v["score"] for key, v in found["sets"].items() if key.startswith(COMPARED)}
    ways: dict[str, list[dict[str, Any]]] = {}
    rows = []
    for key, scores in (own | found["compared"]).items():
        ways.setdefault(key.split("/")[0], []).append(scores)
        near = (f"{scores[encoder]['frechet']['value']:.4g}" for encoder in ENCODERS)
        rows.append((key, *near, f"{scores['label_read']:.2f}", f"{scores['images_per_second']:.4g}"))

    def ratio(read: Callable[[dict[str, Any]], float], other: str) -> float:
        logs = {way: np.mean([np.log(max(read(one), 1e-9)) for one in ways[way]]) for way in ("gan", other)}
        return float(np.exp(logs["gan"] - logs[other]))

    head = ("way/seed", *(f"Fréchet, {encoder}" for encoder in ENCODERS), "label read", "images/s")
    text = f"\n## {COMPARED} at equal wall-clock\n\n" + table(head, rows)
    for encoder in ENCODERS:
        for way in ("peer", "diffusion"):
            times = ratio(lambda s, e=encoder: s[e]["frechet"]["value"], way)  # type: ignore[misc]
            text += f"\nFréchet distance, {encoder}: {times:.2f} of that of {way}."
    speed = ratio(lambda s: s["images_per_second"], "diffusion")
    wanted = f"wanted: at most {WANTED} of the peer's distance, at least {SLOWER} times diffusion's sampling"
    return text + f"\n\nSampling: {speed:.1f} times diffusion's at its best setting ({wanted}).\n"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


STAGES: dict[str, Callable[..., dict[str, Any]]] = {
    "cohort": shrunk, "train": trained, "diffusion": diffusion, "peer": peer, "which": which, "setting": setting,
    "score": score, "evaluate": evaluated, "prepare": lambda bench, name: dict(bench.scorer(name).prepare()),
}  # fmt: skip
Bench.work = STAGES


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--source", type=Path, default=Path("runs/ten"), help=f"folder of the cohorts {', '.join(SETS)}"
    )
    parser.add_argument("--out", type=Path, default=Path("runs/bench-gan"))
    parser.add_argument("--minutes", type=float, default=20, help="of each training")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--count", type=int, default=1000, help="images scored of each training")
    parser.add_argument("--only", choices=("sets",), help="leave out the product's evaluation, the peer and diffusion")
    parser.add_argument("--stage", help=argparse.SUPPRESS)
    args = parser.parse_args()
    bench = Bench(args)
    if args.stage:
        bench.run(args.stage)
        return 0
    settings = bench.begin("minutes", "size", "threads", "seeds", "count")
    found = {"settings": settings, **everything(bench)}
    write_json(bench.out / "gan.json", found)
    text = report(found)
    (bench.out / "gan.md").write_text(text, encoding="utf-8")
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
