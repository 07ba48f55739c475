"""What is watched: the validation loss is the same every time, and the sheet is a picture."""

import io
from pathlib import Path

import torch
from PIL import Image

from synthcohort.core.cohort import Cohort
from synthcohort.models.checkpoint import ModelSpec
from synthcohort.models.condition import Vocabulary
from synthcohort.training.config import TrainConfig
from synthcohort.training.data import image_spec, training_set
from synthcohort.training.watch import WATCHED_SIGMAS, sample_sheet, validation_loss


def test_loss_of_a_fresh_network_and_sheet(cohort_path: Path, config: TrainConfig, tmp_path: Path) -> None:
    view = Cohort.open(cohort_path).select(split="train")
    vocabulary = Vocabulary.of(list(view.labels.values()), {})
    image = image_spec([view], 16, "pad")
    data = training_set(tmp_path / "x.npy", [view], image, "pad", vocabulary)
    spec = ModelSpec(config.network, image, vocabulary, data.std(), "float32")
    torch.manual_seed(0)
    denoiser = spec.build().eval()
    losses = validation_loss(denoiser, data, 12, 5, seed=0)
    assert tuple(losses) == WATCHED_SIGMAS
    assert losses == validation_loss(denoiser, data, 12, 5, seed=0)
    assert losses != validation_loss(denoiser, data, 12, 5, seed=1)
    assert 0.8 < losses[0.05] < 1.2  # a network that answers 0
    picture = Image.open(io.BytesIO(sample_sheet(denoiser, spec, seed=0, per_class=2)))
    assert picture.height > picture.width  # three grades, two samples each
