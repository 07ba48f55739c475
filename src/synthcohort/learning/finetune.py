"""Fine-tuning: a fitted classifier goes on learning from other images."""

import copy
import math

import numpy as np
import torch
import torch.nn.functional as F

from synthcohort.core.errors import Problem, TrainingError
from synthcohort.core.progress import progress
from synthcohort.core.seeds import rng, seed_from
from synthcohort.learning.fit import Classifier, FitConfig, augment, class_weights
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
    weights = class_weights(labels, shape.num_classes, config.class_weight_power)
    targets, batch = torch.from_numpy(labels), min(config.batch, len(labels))
    network.train()
    with progress(config.steps, description, unit="steps") as advance:
        for step in range(config.steps):
            chosen = np.sort(rng("finetune", seed, "batch", step).choice(len(labels), batch, replace=False))
            generator = torch.Generator().manual_seed(seed_from("finetune", seed, "augment", step))
            x = augment((pixels.batch(chosen) - start.mean) / start.std, config, generator)
            with torch.random.fork_rng(devices=[]), torch.autocast("cpu", torch.bfloat16):
                torch.manual_seed(seed_from("finetune", seed, "dropout", step))
                logits = network(x)
            loss = F.cross_entropy(logits.float(), targets[chosen], weights, label_smoothing=config.label_smoothing)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
            if not math.isfinite(float(loss.detach())):
                raise TrainingError(Problem(description, f"the loss is not finite at step {step}"))
            advance(1)
    return Classifier(network.eval(), start.value_range, start.mean, start.std, start.flip_votes)
