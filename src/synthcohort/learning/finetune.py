"""Fine-tuning: a fitted classifier goes on learning from other images."""

import copy

import numpy as np
import torch

from synthcohort.core.seeds import rng
from synthcohort.learning.fit import Classifier, FitConfig, descend
from synthcohort.learning.pixels import Images, Pixels


def go_on(
    start: Classifier, images: Images, labels: np.ndarray, config: FitConfig, seed: int, description: str = "fine-tune"
) -> Classifier:
    """A copy of `start`, all of its weights fitted further on images [N] and labels [N]; `start` stays as it is.

    Size, value range, mean and standard deviation stay those of `start`. Deterministic for a seed.
    """
    labels = np.asarray(labels, np.int64)
    if len(labels) != len(images) or len(labels) < 2:
        raise ValueError(f"{len(labels)} labels for {len(images)} images; needed: the same number, at least 2")
    network = copy.deepcopy(start.network)
    shape = network.config
    pixels = Pixels(images, shape.size, shape.channels, start.value_range)
    optimizer = torch.optim.AdamW(network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, config.learning_rate, total_steps=max(2, config.steps))
    batch = min(config.batch, len(labels))

    def chosen_in(step: int) -> np.ndarray:
        return np.sort(rng("finetune", seed, "batch", step).choice(len(labels), batch, replace=False))

    descend(network, optimizer, schedule, pixels, (start.mean, start.std), labels, shape.num_classes, config, chosen_in,
            ("finetune", seed), description)  # fmt: skip
    return Classifier(network.eval(), start.value_range, start.mean, start.std, start.flip_votes)
