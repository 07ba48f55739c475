"""GANs on four sets with three seeds each, and against a plain WGAN-GP and the diffusion engine at equal wall-clock.

    python benchmarks/gan.py --source runs/ten                        everything, with the defaults below
    python benchmarks/gan.py --source runs/ten --only sets            the twelve trainings and their scores alone
    python benchmarks/gan.py --source runs/ten --sets knee-xray       the comparisons alone
    python benchmarks/gan.py --generators runs/bench-generators       with the diffusion models of a finished comparison
    python benchmarks/gan.py --minutes 0.3 --overtrain-minutes 0.3 --seeds 0 --most 120 --steps 10 --count 60 \\
        --rounds 1 --evaluate 0 --here --out runs/bench-gan-trial                a short run through all stages

Protocol: docs/experiments/2026-11-25-gan.md. Every stage runs in a process of its own and leaves a JSON file in --out;
one that is there is not done again, and a training goes on from its checkpoint: a run that was stopped goes on.
"""

import argparse
import json
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gan_report
import gan_study
import numpy as np
from gan_report import COMPARED, ENCODERS
from stages import Stages

from synthcohort.core.files import read_json, remove, write_json

SETS = (COMPARED, "chest-ct", "brain-mri", "chest-xray")
LEAST_OF_CLASS = 20  # images of a class for its Vendi score
GUIDANCE, STEPS = (1.0, 1.5, 2.0), (8, 12, 16, 24)
OF_GAN, OF_DIFFUSION = 640, 64  # images drawn in turns to measure both rates


class Bench(Stages):
    """The settings of a run and its folder of results."""

    def stage(self, name: str) -> dict[str, Any]:
        """As Stages does; with --here in this process, which spares a short trial the start of forty."""
        if self.args.here and not (self.out / "results" / f"{name}.json").exists():
            print(f"{time.strftime('%H:%M:%S')} {name}", file=sys.stderr, flush=True)
            self.run(name)
        return super().stage(name)

    @property
    def generators(self) -> Path | None:
        """The finished comparison of diffusion models whose knees and models are used."""
        return Path(self.args.generators) if self.args.generators else None

    def cohort(self, name: str) -> Path:
        if name == COMPARED and self.generators is not None:
            return self.generators / "cohort"
        return Path(self.args.source) / name

    def model(self, way: str, name: str, seed: int | str) -> Path:
        if way == "diffusion" and self.generators is not None:
            return self.generators / "models" / f"ours-{seed}"
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

    cohort, most = Cohort.open(bench.cohort(name)), bench.args.most
    return {"images": rewritten(cohort, bench.small(name), name, bench.args.size, first_rows(cohort, most))}


def first_rows(cohort: Any, most: int | None) -> list[int]:
    """The rows with the first label, at most so many of each role."""
    values, roles = cohort.column(next(iter(cohort.labels))), cohort.column("split")
    rows = [n for n in range(len(cohort)) if values[n] is not None]  # the scores are by the first label
    taken: dict[str, list[int]] = {role: [n for n in rows if roles[n] == role][:most] for role in set(roles)}
    return sorted(n for own in taken.values() for n in own)


def rewritten(cohort: Any, out: Path, name: str, size: int, rows: list[int]) -> int:
    """Writes a cohort of some rows with the first label alone; returns how many images it has."""
    from synthcohort.core.cohort_writer import CohortWriter
    from synthcohort.imaging.geometry import placement

    made = {"rows", "columns", "channels", "shard", "pixel_spacing_mm", "derived_from_real"}
    first = next(iter(cohort.labels.values()))
    known = [key for key in cohort.records.column_names if key not in made | set(cohort.labels) or key == first.name]
    columns = {key: cohort.column(key) for key in known}
    writer = CohortWriter(out, name, "real", [first], {"made_from": cohort.digest}, f"{cohort.digest} {len(rows)}")
    for n in rows:
        image, record = cohort.image(n), {key: v[n] for key, v in columns.items() if v[n] is not None}
        writer.add(placement(image.shape[:2], (size, size), "pad").apply(image), writable(record))
    return len(writer.finish())


def writable(record: dict[str, Any]) -> dict[str, Any]:
    """A record without what the writer adds itself; where patients are not known, a group stands for one."""
    own = {key: value for key, value in record.items() if key not in ("position", "digest")}
    return {**own, "patient_id": own.get("patient_id") or own.get("group_id") or own["image_id"]}


def trained(bench: Bench, name: str, seed: str) -> dict[str, Any]:
    """One preset, no setting by hand but the size and the minutes.

    The copy index depends on the images alone; it is built once for a set and lent to each of its trainings.
    """
    from synthcohort.training.gan_config import GanConfig

    run = bench.model("gan", name, seed)
    lend(bench.out / "scorer" / name / "index", run / "train_features" / "00" / "00")
    config = GanConfig(size=bench.args.size, minutes=bench.args.minutes)
    return timed_training(bench.small(name), run, config, int(seed))


def lend(index: Path, to: Path) -> None:
    """Copies an index to where a training looks for it, whole or not at all."""
    if not (to / "index.json").exists():
        remove(to)
        half = to.with_name(to.name + ".half")
        remove(half)
        shutil.copytree(index, half)
        half.rename(to)


def timed_training(cohort: Path, run: Path, config: Any, seed: int) -> dict[str, Any]:
    """Trains; `seconds` are those from the first step to the model, `cpu_share` how much of a core it got.

    A training that the guards end without a model gives `failed`, the reason.
    """
    from synthcohort.core.errors import TrainingError
    from synthcohort.training.gan import train_gan

    began, own = time.monotonic(), time.process_time()
    found: dict[str, Any]
    try:
        found = train_gan([cohort], run, config, seed)
    except TrainingError as error:
        found = {"run": run.as_posix(), "failed": str(error.problems[0]), "images_seen": 0, "resumed": False}
    share = (time.process_time() - own) / (time.monotonic() - began)
    log = [json.loads(line) for line in (run / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    looks = [line for line in log if line["event"] == "look"]
    found["images_seen"] = found["images_seen"] or max((look["images_seen"] for look in looks), default=0)
    return found | {
        "seconds": seconds_of(log), "cpu_share": share, "looks": looks,
        "rollbacks": [line["text"] for line in log if line["event"] == "rollback"],
        "memory_mib": peak_memory(),
    }  # fmt: skip


def seconds_of(log: list[dict[str, Any]]) -> float:
    """Time spent training, all sessions together: each from its start to the last line before the next one."""
    total, start, last = 0.0, None, 0.0
    for line in log:
        if line["event"] in ("start", "resume"):
            total += 0.0 if start is None else last - start
            start = line["time"]
        last = line["time"]
    return total + (0.0 if start is None else last - start)


def peak_memory() -> int:
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def diffusion(bench: Bench, seed: str) -> dict[str, Any]:
    """Trained for the wall-clock that ours took; or what is known of the finished comparison's model."""
    from synthcohort.training import train
    from synthcohort.training.config import TrainConfig

    if bench.generators is not None:
        known = read_json(bench.generators / "results" / "train" / "ours" / f"{seed}.json")
        return {"seconds": known["seconds"], "images_seen": known["images_seen"], "from": "finished comparison"}
    minutes = bench.stage(f"train/{COMPARED}/{seed}")["seconds"] / 60
    run = bench.model("diffusion", COMPARED, seed)
    config = TrainConfig(size=bench.args.size, minutes=minutes)
    found = train([bench.small(COMPARED)], run, config, int(seed))
    log = [json.loads(line) for line in (run / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    return {**found, "seconds": seconds_of(log)}


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
    generator = generator_of(bench, way, name, seed)
    said = conditions(bench, name, classes)
    next(generator.draw(said[:1], [0]))  # kernels
    return timed_drawing(generator, said, int(seed))


def generator_of(bench: Bench, way: str, name: str, seed: str) -> Any:
    from synthcohort.diffusion.sampling import SamplingConfig
    from synthcohort.models.generator import load_generator

    if way == "gan":
        return load_generator(bench.model(way, name, seed))
    best = bench.stage("setting")["best"]
    sampling = SamplingConfig(steps=best["steps"], guidance_scale=best["guidance"])
    return load_generator(bench.model(way, name, seed), sampling)


def conditions(bench: Bench, name: str, classes: list[int]) -> list[dict[str, Any]]:
    label = next(iter(bench.scorer(name).cohort.labels.values()))
    return [{label.name: label.values[k]} for k in classes]


def timed_drawing(generator: Any, said: list[dict[str, Any]], seed: int) -> tuple[np.ndarray, float]:
    from synthcohort.core.seeds import seed_from

    began = time.monotonic()
    images = np.stack(list(generator.draw(said, [seed_from("bench", seed, i) for i in range(len(said))])))
    return images, len(said) / (time.monotonic() - began)


def speed(bench: Bench, seed: str) -> dict[str, Any]:
    """Images a second of the GAN and of diffusion at its best setting, in turns, so that both meet the same machine."""
    from generator_scores import wanted_classes

    ways = {"gan": OF_GAN, "diffusion": OF_DIFFUSION}
    generators = {way: generator_of(bench, way, COMPARED, seed) for way in ways}
    said = conditions(bench, COMPARED, wanted_classes(bench.scorer(COMPARED).cohort, OF_GAN, 0))
    rates: dict[str, list[float]] = {way: [] for way in ways}
    for turn in range(bench.args.rounds + 1):
        for way, count in ways.items():
            rate = timed_drawing(generators[way], said[:count], turn)[1]
            if turn:  # the first one prepares kernels
                rates[way].append(rate)
    return {way: {"rounds": own, "median": float(np.median(own))} for way, own in rates.items()} | {
        "parameters": {way: sum(p.numel() for p in one.denoiser.parameters()) for way, one in generators.items()}
    }


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

    if bench.generators is not None:
        return known_setting(bench.generators)
    scorer = bench.scorer(COMPARED)
    said = conditions(bench, COMPARED, wanted_classes(scorer.cohort, 320, 0))
    found: list[dict[str, Any]] = []
    for steps in STEPS:
        for guidance in GUIDANCE:
            sampling = SamplingConfig(steps=steps, guidance_scale=guidance)
            generator = load_generator(bench.model("diffusion", COMPARED, bench.args.seeds[0]), sampling)
            images = np.stack(list(generator.draw(said, [seed_from("setting", i) for i in range(len(said))])))
            found.append(
                {"steps": steps, "guidance": guidance, "criterion": criterion(scorer.quick(images, "validation"))}
            )
    return {"tried": found, "best": min(found, key=lambda one: one["criterion"])}


def known_setting(generators: Path) -> dict[str, Any]:
    """The best setting of a finished comparison, by the same criterion on its validation patients."""
    from generator_settings import Setting, criterion

    found = []
    for file in sorted((generators / "results" / "curve" / "ours").glob("*.json")):
        own = Setting.of(file.stem)
        value = criterion(read_json(file)["validation"])
        found.append({"steps": own.steps, "guidance": own.guidance, "criterion": value})
    return {"tried": found, "best": min(found, key=lambda one: one["criterion"])}


def score(bench: Bench, way: str, name: str, seed: str) -> dict[str, Any]:
    """Distances, copies and labels read (the generator benchmark's scores); coverage and Vendi scores with floors."""
    from generator_scores import real

    from synthcohort.core.seeds import rng
    from synthcohort.metrics.neighbors import coverage

    scorer = bench.scorer(name)
    images, classes, rate = drawn(bench, way, name, seed)
    train = real(scorer.cohort, "train")
    if len(images) > len(train.images):  # the floor has as many images as there are scored
        chosen = np.sort(rng("scored", name, int(seed)).permutation(len(images))[: len(train.images)])
        images, classes = images[chosen], [classes[i] for i in chosen]
    test, (base, _) = real(scorer.cohort, "test"), scorer.floor_images(len(images), int(seed))
    found = dict(scorer.whole(images, classes, int(seed)))
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


def evaluated(bench: Bench, name: str, seed: str) -> dict[str, Any]:
    """The product's own evaluation of a cohort that the product generated."""
    from synthcohort.core.errors import Refused
    from synthcohort.evaluation import evaluate
    from synthcohort.generation.config import GenerateConfig
    from synthcohort.generation.synthesize import generate

    out, run = bench.out / "evidence" / f"{name}-{seed}", bench.model("gan", name, seed)
    try:
        if not (out / "cohort" / "cohort.json").exists():
            generate(run, out / "cohort", GenerateConfig(), int(seed), bench.args.count)
    except Refused as refusal:
        return {"refused": str(refusal.problems[0])}
    found = dict(evaluate(bench.small(name), out / "cohort", out / "evidence", seed=int(seed)))
    families = read_json(out / "evidence" / "scores.json")["families"]
    return found | {"families": {key: [one["verdict"], one["reason"]] for key, one in families.items()}}


def everything(bench: Bench) -> dict[str, Any]:
    """All stages in order. The trainings of a seed follow each other, so that they meet the same machine."""
    found: dict[str, Any] = {"sets": {}, "compared": {}, "prepared": {}}
    for name in bench.args.sets:
        bench.stage(f"cohort/{name}")
        found["prepared"][name] = bench.stage(f"prepare/{name}")
    comparing = bench.args.only != "sets"
    for seed in bench.args.seeds:
        for name in bench.args.sets:
            own = found["sets"][f"{name}/{seed}"] = {"train": bench.stage(f"train/{name}/{seed}")}
            if "failed" not in own["train"]:
                own["score"] = bench.stage(f"score/gan/{name}/{seed}")
        if comparing:
            bench.stage(f"peer/{seed}")
            bench.stage(f"which/{seed}")
            found["compared"][f"peer/{seed}"] = bench.stage(f"score/peer/{COMPARED}/{seed}")
    if comparing:
        compared(bench, found)
    for seed in bench.args.seeds[: bench.args.evaluate]:  # the longest, and the least missed
        for name in bench.args.sets:
            if "score" in found["sets"][f"{name}/{seed}"]:
                found["sets"][f"{name}/{seed}"]["evaluation"] = bench.stage(f"evaluate/{name}/{seed}")
    return found


def compared(bench: Bench, found: dict[str, Any]) -> None:
    """Adds diffusion, the rates, the knee study, the strips, and the trainings on few images for too long."""
    with_model = [seed for seed in bench.args.seeds if "score" in found["sets"][f"{COMPARED}/{seed}"]]
    found["diffusion"] = {str(seed): bench.stage(f"diffusion/{seed}") for seed in bench.args.seeds}
    found["setting"] = bench.stage("setting")
    for seed in bench.args.seeds:
        found["compared"][f"diffusion/{seed}"] = bench.stage(f"score/diffusion/{COMPARED}/{seed}")
    found["speed"] = bench.stage(f"speed/{with_model[0]}") if with_model else None
    for seed in with_model:
        bench.stage(f"grade/{seed}")
    found["study"] = bench.stage("study/" + "-".join(map(str, with_model))) if with_model else None
    found["strips"] = {str(seed): bench.stage(f"strips/{seed}") for seed in with_model}
    bench.stage("few")
    found["overtrained"] = {kind: bench.stage(f"overtrain/{kind}") for kind in gan_study.OVERTRAINED}


STAGES: dict[str, Callable[..., dict[str, Any]]] = {
    "cohort": shrunk, "train": trained, "diffusion": diffusion, "peer": peer, "which": which, "setting": setting,
    "score": score, "evaluate": evaluated, "speed": speed, "few": gan_study.few, "overtrain": gan_study.overtrained,
    "grade": gan_study.graded, "study": gan_study.study, "strips": gan_study.strips,
    "prepare": lambda bench, name: dict(bench.scorer(name).prepare(bench.args.steps)),
}  # fmt: skip
Bench.work = STAGES


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--source", type=Path, default=Path("runs/ten"), help=f"folder of the cohorts {', '.join(SETS)}"
    )
    parser.add_argument("--out", type=Path, default=Path("runs/bench-gan"))
    parser.add_argument("--minutes", type=float, default=20, help="of each training")
    parser.add_argument("--overtrain-minutes", type=float, default=15, help="of each training on 400 images")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--count", type=int, default=1000, help="images scored of each training")
    parser.add_argument("--steps", type=int, default=800, help="batches of each grader's fit")
    parser.add_argument("--rounds", type=int, default=5, help="turns in which both rates of drawing are measured")
    parser.add_argument("--most", type=int, metavar="N", help="at most N images of each role: for a short trial")
    parser.add_argument(
        "--generators", type=Path, metavar="DIR",
        help="finished run of benchmarks/generators.py: its knees, and its diffusion models in place of new ones",
    )  # fmt: skip
    parser.add_argument(
        "--evaluate", type=int, default=3, metavar="N", help="seeds that the product's whole evaluation judges too"
    )
    parser.add_argument("--only", choices=("sets",), help="the trainings of the sets and their scores alone")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS), help="all comparisons need knee-xray")
    parser.add_argument("--here", action="store_true", help="all stages in one process: for a short trial")
    parser.add_argument("--stage", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.only != "sets" and COMPARED not in args.sets:
        parser.error(f"--sets {' '.join(args.sets)}: comparisons need {COMPARED}; or give --only sets")
    bench = Bench(args)
    if args.stage:
        bench.run(args.stage)
        return 0
    names = ("minutes", "overtrain_minutes", "size", "threads", "seeds", "count", "steps", "most", "sets")
    settings = bench.begin(*names)
    found = {"settings": settings, **everything(bench)}
    write_json(bench.out / "gan.json", found)
    text = gan_report.report(found)
    (bench.out / "gan.md").write_text(text, encoding="utf-8")
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
