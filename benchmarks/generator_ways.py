"""The three ways behind one face: train for a time, draw images, count arithmetic. `ours` goes through the public API.

Every function here runs in a process of its own (generators.py), so that no way warms another one's caches.
"""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import generator_peers as peers
import numpy as np
import torch
from generator_scores import real
from generator_settings import Setting
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from synthcohort.core.cohort import Cohort
from synthcohort.core.config import to_mapping
from synthcohort.core.files import remove
from synthcohort.core.seeds import seed_from
from synthcohort.diffusion.sampling import SamplingConfig
from synthcohort.imaging.intensity import from_unit, to_unit, value_range_of
from synthcohort.models import load_generator
from synthcohort.training import train
from synthcohort.training.config import TrainConfig

FEW = 8  # images of the batch whose arithmetic is counted


def our_config(cohort: Cohort, batch: int, **changes: Any) -> TrainConfig:
    """The product's defaults, conditioned on the label alone, as the peers are."""
    return TrainConfig(labels=(next(iter(cohort.labels)),), attributes=(), batch=batch, **changes)


def hidden_share(config: TrainConfig) -> float:
    """Share of the images whose label is hidden in our training; the peers get the same."""
    return 1 - (1 - config.label_dropout) * (1 - config.column_dropout)


def train_ours(cohort_path: Path, run: Path, minutes: float, batch: int, seed: int) -> dict[str, Any]:
    """One training through the public function, with all it does: losses on validation patients, copy watch, pages.

    `seconds` runs from the first step to the finished model; what comes before (pixels, copy index, measuring the rate
    that turns minutes into steps) is left out, and so are the peers' preparations.
    """
    remove(run)
    config = our_config(Cohort.open(cohort_path), batch, minutes=minutes)
    train([cohort_path], run, config, seed)
    log = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    times = {event: [line["time"] for line in log if line["event"] == event] for event in ("start", "progress", "done")}
    seen = next(line["images_seen"] for line in reversed(log) if line["event"] == "done")
    seconds = times["done"][-1] - times["start"][-1]
    rates = [line["images_per_second"] for line in log if line.get("images_per_second")]
    return {
        "seconds": seconds, "images_seen": seen, "images_per_second": seen / seconds,
        "median_images_per_second": float(np.median(rates)),
        "parameters": parameter_count(load_generator(run).denoiser),
        "seconds_watching": sum(line.get("seconds", 0.0) for line in log if line["event"] == "watch"),
        "config": to_mapping(config),
    }  # fmt: skip


def speed_of_ours(cohort_path: Path, run: Path, batch: int, steps: int) -> dict[str, Any]:
    """A few steps through the public function; the rate of each is in the log."""
    remove(run)
    config = our_config(
        Cohort.open(cohort_path), batch, images=steps * batch, log_images=batch, checkpoint_images=10**9,
        validation_images=0, watch_images=0,
    )  # fmt: skip
    train([cohort_path], run, config, 0)
    log = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    rates = [line["images_per_second"] for line in log if line["event"] == "progress"]
    return {
        "median_images_per_second": float(np.median(rates[1:])),
        "parameters": parameter_count(load_generator(run).denoiser),
        "config": to_mapping(config),
    }


def parameter_count(network: torch.nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def peer_data(cohort: Cohort, split: str) -> peers.Data:
    part = real(cohort, split)
    unit = to_unit(part.images, value_range_of(part.images.dtype, cohort.column("bits_stored")))
    return peers.Data(torch.from_numpy(unit)[:, None].contiguous(), torch.from_numpy(part.classes))


def train_peer(
    cohort: Cohort, file: Path | None, library: str, shape: str, parameters: int, rate: float, seconds: float,
    batch: int, seed: int, least_steps: int = 4,
) -> dict[str, Any]:  # fmt: skip
    """One training of a peer for a number of seconds, and at least a few steps."""
    label = next(iter(cohort.labels.values()))
    peer = peers.build(library, shape, parameters, len(label.values), cohort.image(0).shape[0], seed)
    data, validation = peer_data(cohort, "train"), peer_data(cohort, "validation")
    dropout = hidden_share(our_config(cohort, batch))
    facts = peers.train(peer, data, validation, rate, seconds, batch, dropout, seed, least_steps)
    if file is not None:
        peers.save(peer, file)
    return facts | {"label_dropout": dropout}


class Drawer:
    """Draws images of classes, timed, with the passes of the network counted."""

    def __init__(self, cohort: Cohort, way: str, model: Path) -> None:
        self.label, self.way, self.model = next(iter(cohort.labels.values())), way, model
        self.dtype, self.bits = cohort.image(0).dtype, cohort.column("bits_stored")
        self.size = cohort.image(0).shape[0]
        self.network = load_generator(model).denoiser if way == "ours" else peers.load(model, self.size)

    def draw(self, setting: Setting, classes: Sequence[int], seed: int) -> tuple[np.ndarray, dict[str, float]]:
        """Images [N, H, W] in the cohort's dtype, and how fast; a first batch that is not counted warms the kernels."""
        rows = 0

        def count(_: Any, inputs: tuple[Tensor, ...]) -> None:
            nonlocal rows
            rows += len(inputs[0])

        self._draw(Setting(setting.sampler, min(4, setting.steps), setting.guidance), classes[: peers.ROWS], seed)
        hook = self.network.register_forward_pre_hook(count)
        began = time.monotonic()
        images = self._draw(setting, classes, seed)
        seconds = time.monotonic() - began
        hook.remove()
        return images, {
            "seconds": seconds, "images": len(classes), "images_per_second": len(classes) / seconds,
            "evaluations_per_image": rows / len(classes), "evaluations_per_second": rows / seconds,
        }  # fmt: skip

    def _draw(self, setting: Setting, classes: Sequence[int], seed: int) -> np.ndarray:
        if self.way == "ours":
            sampling = SamplingConfig(sampler=setting.sampler, steps=setting.steps, guidance_scale=setting.guidance)  # type: ignore[arg-type]
            generator = load_generator(self.model, sampling)
            generator.denoiser = self.network
            conditions = [{self.label.name: self.label.values[c]} for c in classes]
            seeds = [seed_from("benchmark image", seed, n) for n in range(len(classes))]
            return np.stack(list(generator.draw(conditions, seeds)))
        unit = peers.draw(
            self.network, setting.sampler, setting.steps, setting.guidance, classes, seed, self.size
        )[:, 0].numpy()  # fmt: skip
        return from_unit(unit, value_range_of(self.dtype, self.bits), self.dtype)


def our_arithmetic(run: Path) -> dict[str, float]:
    """Floating-point operations of an image: one evaluation, and one forward and backward pass."""
    generator = load_generator(run)
    denoiser = generator.denoiser.requires_grad_(True)
    condition = generator.condition([{}] * FEW)
    rows, columns = generator.spec.image.rows, generator.spec.image.columns
    x = torch.randn(FEW, generator.spec.channels, rows, columns)
    return arithmetic(lambda: denoiser(x, torch.ones(FEW), condition))


def peer_arithmetic(peer: peers.Peer, size: int) -> dict[str, float]:
    x, zeros = torch.randn(FEW, 1, size, size), torch.zeros(FEW, dtype=torch.long)
    peer.requires_grad_(True)
    return arithmetic(lambda: peer(x, zeros, zeros))


def arithmetic(evaluate: Any) -> dict[str, float]:
    """Counted by torch: convolutions and matrix products; normalizations and optimizers are not."""
    with FlopCounterMode(display=False) as counter:
        out = evaluate()
    forward = counter.get_total_flops()
    with FlopCounterMode(display=False) as counter:
        evaluate_and_back(evaluate)
    del out
    return {"evaluation_gflop": forward / FEW / 1e9, "training_gflop": counter.get_total_flops() / FEW / 1e9}


def evaluate_and_back(evaluate: Any) -> None:
    evaluate().square().mean().backward()


def matmul_rate(threads: int, side: int = 2048, repeats: int = 8) -> float:
    """TFLOP/s of a bfloat16 matrix product, the best of several."""
    torch.set_num_threads(threads)
    a, b = (torch.randn(side, side).bfloat16() for _ in range(2))
    best = float("inf")
    for _ in range(repeats):
        began = time.monotonic()
        a @ b
        best = min(best, time.monotonic() - began)
    return 2 * side**3 / best / 1e12
