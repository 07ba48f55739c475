"""Our generator against diffusers and MONAI at equal wall-clock, parameters, conditions, precision and batch.

    make bench-generators                                     everything, with the defaults below
    python benchmarks/generators.py --source FOLDER           the same, in an environment that has the peers
    python benchmarks/generators.py --source FOLDER --only speed    training images/s and evaluations/s alone

Protocol: docs/experiments/2026-11-25-generators.md. Every stage runs in a process of its own and leaves a JSON file in
--out; one that is there is not done again, so a run that was stopped goes on. Ours trains first with a seed, and the
peers then get the wall-clock that it took.
"""

import argparse
import os
import platform
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import generator_report as report
import numpy as np
from generator_settings import PEERS, STANDARD, WAYS, Setting, criterion
from stages import Stages

from synthcohort.core.files import atomic_path, write_json

GUIDANCE = (1.0, 1.5, 2.0)
OUR_STEPS, PEER_STEPS = (6, 8, 12, 16, 24), (10, 20, 50, 100)
SPEED_STEPS = 6


class Bench(Stages):
    """The settings of a run and its folder of results."""

    def __init__(self, args: argparse.Namespace) -> None:
        super().__init__(args)
        self.cohort_path = self.out / "cohort"

    @property
    def cohort(self) -> Any:
        from synthcohort.core.cohort import Cohort

        return Cohort.open(self.cohort_path)

    @property
    def scorer(self) -> Any:
        from generator_scores import Scorer

        return Scorer(self.cohort, self.out / "scorer")

    def model(self, way: str, seed: int | str) -> Path:
        return self.out / "models" / (f"ours-{seed}" if way == "ours" else f"{way}-{seed}.pt")

    def chosen(self, peer: str) -> dict[str, Any]:
        """The shape with the most training images a second, and the learning rate with the lowest distance."""
        import generator_peers as peers

        speeds = {shape: self.stage(f"speed/{peer}/{shape}") for shape in peers.SHAPES[peer]}
        shape = max(speeds, key=lambda s: speeds[s]["training"]["median_images_per_second"])
        fits = {rate: self.stage(f"tune/{peer}/{shape}/{rate:g}") for rate in peers.RATES}
        rate = min(fits, key=lambda r: criterion(fits[r]["validation"]))
        return {"shape": shape, "rate": rate}


def make_cohort(bench: Bench) -> dict[str, Any]:
    """The cohort of configs/knee_xray.toml, from --source."""
    from synthcohort.core.config import build, load_toml
    from synthcohort.ingest import IngestConfig, ingest

    settings = load_toml(Path(__file__).parents[1] / "configs" / "knee_xray.toml")["ingest"]
    return dict(ingest(bench.args.source, bench.cohort_path, build(IngestConfig, settings, "ingest"), 0))


def machine(bench: Bench) -> dict[str, Any]:
    import torch
    from generator_ways import matmul_rate

    versions = {"torch": torch.__version__}
    from importlib.metadata import version

    versions |= {name: version(name) for name in ("synthcohort", "diffusers", "monai", "numpy")}
    names = [
        line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line
    ]
    return {
        "processor": names[0] if names else platform.processor(), "cores": os.cpu_count(),
        "matmul_tflops": {str(n): matmul_rate(n) for n in range(1, (os.cpu_count() or 1) + 1)},
        "versions": versions,
    }  # fmt: skip


def speed(bench: Bench, way: str, shape: str) -> dict[str, Any]:
    """A few training steps and evaluations of one way alone, and the arithmetic of both."""
    import generator_peers as peers
    import generator_ways as ways
    from generator_scores import wanted_classes

    batch, cohort = bench.args.batch, bench.cohort
    drawn = Setting("dpmpp_2m" if way == "ours" else "dpmpp", 8, 1.0)
    if way == "ours":
        model = bench.model("ours", "speed")
        training = ways.speed_of_ours(bench.cohort_path, model, batch, SPEED_STEPS)
        counted = ways.our_arithmetic(model)
    else:
        model, parameters = (
            bench.model(way, f"speed-{shape}"),
            bench.stage("speed/ours/default")["training"]["parameters"],
        )
        training = ways.train_peer(cohort, model, way, shape, parameters, 1e-4, 0.0, batch, 0, SPEED_STEPS)
        counted = ways.peer_arithmetic(peers.load(model, cohort.image(0).shape[0]), cohort.image(0).shape[0])
    classes = wanted_classes(cohort, peers.ROWS, 0)
    sampling = ways.Drawer(cohort, way, model).draw(drawn, classes, 0)[1]
    return {"training": training, "arithmetic": counted, "sampling": sampling}


def tune(bench: Bench, peer: str, shape: str, rate: str) -> dict[str, Any]:
    """A short training with one learning rate, its images scored against validation patients."""
    import generator_ways as ways
    from generator_scores import wanted_classes

    parameters = bench.stage("speed/ours/default")["training"]["parameters"]
    model, cohort = bench.model(peer, f"tune-{rate}"), bench.cohort
    facts = ways.train_peer(
        cohort, model, peer, shape, parameters, float(rate), 60 * bench.args.tune_minutes, bench.args.batch, 1000
    )
    classes = wanted_classes(cohort, bench.args.curve_count, 0)
    images, timing = ways.Drawer(cohort, peer, model).draw(Setting("dpmpp", 20, 1.0), classes, 0)
    return {"training": facts, "sampling": timing, "validation": bench.scorer.quick(images, "validation")}


def training(bench: Bench, way: str, seed: str) -> dict[str, Any]:
    import generator_ways as ways

    if way == "ours":
        return ways.train_ours(
            bench.cohort_path, bench.model(way, seed), bench.args.minutes, bench.args.batch, int(seed)
        )
    ours, chosen = bench.stage(f"train/ours/{seed}"), bench.chosen(way)
    return ways.train_peer(
        bench.cohort, bench.model(way, seed), way, chosen["shape"], ours["parameters"], chosen["rate"], ours["seconds"],
        bench.args.batch, int(seed),
    )  # fmt: skip


def curve(bench: Bench, way: str, setting: str) -> dict[str, Any]:
    """Images of one setting from the first seed's model, scored against validation and against test patients."""
    import generator_ways as ways
    from generator_scores import wanted_classes

    drawer = ways.Drawer(bench.cohort, way, bench.model(way, bench.args.seeds[0]))
    classes = wanted_classes(bench.cohort, bench.args.curve_count, 0)
    images, timing = drawer.draw(Setting.of(setting), classes, 0)
    found = {split: bench.scorer.quick(images, split) for split in ("validation", "test")}
    return {"sampling": timing, **found}


def sampled(bench: Bench, way: str, seed: str, setting: str) -> dict[str, Any]:
    """The images that are scored, of one training."""
    import generator_ways as ways
    from generator_scores import wanted_classes

    drawer = ways.Drawer(bench.cohort, way, bench.model(way, seed))
    classes = wanted_classes(bench.cohort, bench.args.count, int(seed))
    images, timing = drawer.draw(Setting.of(setting), classes, int(seed))
    path = bench.out / "images" / f"{way}-{seed}-{setting}.npy"
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        np.save(file, images)
    return {"sampling": timing, "classes": classes}


def score(bench: Bench, way: str, seed: str, setting: str) -> dict[str, Any]:
    images = np.load(bench.out / "images" / f"{way}-{seed}-{setting}.npy")
    return dict(bench.scorer.whole(images, bench.stage(f"sample/{way}/{seed}/{setting}")["classes"], int(seed)))


def picked(bench: Bench, way: str) -> tuple[str, dict[str, dict[str, Any]]]:
    """The setting with the lowest criterion, and all that were tried: guidance first, then the sampler, then steps."""
    tried: dict[str, dict[str, Any]] = {}

    def best(*settings: Setting) -> Setting:
        for setting in settings:
            tried[setting.name] = bench.stage(f"curve/{way}/{setting.name}")
        return min(settings, key=lambda s: criterion(tried[s.name]["validation"]))

    if way == "ours":
        guidance = best(*(Setting("dpmpp_2m", 16, g) for g in GUIDANCE)).guidance
        return best(*(Setting("dpmpp_2m", steps, guidance) for steps in OUR_STEPS)).name, tried
    guidance = best(*(Setting("dpmpp", 20, g) for g in GUIDANCE)).guidance
    chosen = best(*(Setting(sampler, steps, guidance) for sampler, steps in STANDARD.items()))
    steps = [n for n in PEER_STEPS if n <= bench.args.most_steps]
    return best(chosen, *(Setting(chosen.sampler, n, guidance) for n in steps)).name, tried


def everything(bench: Bench) -> dict[str, Any]:
    """All stages in order; the trainings of a seed follow each other, so that they meet the same machine."""
    import generator_peers as peers  # torch is imported by stages alone, and here: this process idles

    found: dict[str, Any] = {"machine": bench.stage("machine"), "speed": {"ours": bench.stage("speed/ours/default")}}
    for peer in PEERS:
        for shape in peers.SHAPES[peer]:
            found["speed"][f"{peer}/{shape}"] = bench.stage(f"speed/{peer}/{shape}")
    if bench.args.only == "speed":
        return found
    found["scorer"] = bench.stage("prepare")
    found["tuned"] = {peer: bench.chosen(peer) for peer in PEERS}
    found["train"] = {way: {} for way in WAYS}
    for seed in bench.args.seeds:
        for way in WAYS:
            found["train"][way][str(seed)] = bench.stage(f"train/{way}/{seed}")
    if bench.args.only == "train":
        return found
    found["picked"], found["curve"] = {}, {}
    for way in WAYS:
        found["picked"][way], found["curve"][way] = picked(bench, way)
    found["fast"] = fast(found)
    found["sample"], found["score"] = {}, {}
    for seed in bench.args.seeds:
        for way in WAYS:
            for setting in dict.fromkeys([found["picked"][way], *([found["fast"]] if way == "ours" else [])]):
                key = f"{way}/{seed}/{setting}"
                found["sample"][key] = {"sampling": bench.stage(f"sample/{key}")["sampling"]}
                found["score"][key] = bench.stage(f"score/{key}")
    return found


def fast(found: dict[str, Any]) -> str:
    """Our fastest setting that is, on validation patients, at least as near as the better peer's choice."""
    bar = min(criterion(found["curve"][way][found["picked"][way]]["validation"]) for way in PEERS)
    good = {name: s for name, s in found["curve"]["ours"].items() if criterion(s["validation"]) <= bar}
    if not good:
        return str(found["picked"]["ours"])
    return min(good, key=lambda name: good[name]["sampling"]["evaluations_per_image"])


STAGES: dict[str, Callable[..., dict[str, Any]]] = {
    "cohort": make_cohort, "machine": machine, "speed": speed, "tune": tune, "train": training, "curve": curve,
    "sample": sampled, "score": score, "prepare": lambda bench: dict(bench.scorer.prepare()),
}  # fmt: skip
Bench.work = STAGES


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--source", type=Path, default=Path("../shared/data/knee-xray"), help="images/ and metadata.csv"
    )
    parser.add_argument("--out", type=Path, default=Path("runs/bench-generators"))
    parser.add_argument(
        "--minutes", type=float, default=20, help="of each training of ours; the peers get what it took"
    )
    parser.add_argument("--tune-minutes", type=float, default=4, help="of each short training of a peer")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--count", type=int, default=1000, help="images scored of each training")
    parser.add_argument(
        "--curve-count", type=int, default=320, help="images of each point of the curves and of choices"
    )
    parser.add_argument("--most-steps", type=int, default=50, help="largest number of steps on the peers' curves")
    parser.add_argument("--only", choices=("speed", "train"), help="stop after these stages")
    parser.add_argument("--stage", help=argparse.SUPPRESS)
    args = parser.parse_args()
    bench = Bench(args)
    if args.stage:
        bench.run(args.stage)
        return 0
    settings = bench.begin("minutes", "tune_minutes", "threads", "seeds", "batch", "count", "curve_count", "most_steps")
    if not (bench.cohort_path / "cohort.json").exists():
        bench.stage("cohort")
    found = {"settings": settings, **everything(bench)}
    write_json(bench.out / "generators.json", found)
    text = report.markdown(found)
    (bench.out / "generators.md").write_text(text, encoding="utf-8")
    if "score" in found:
        (bench.out / "generators.svg").write_text(report.plot(found), encoding="utf-8")
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
