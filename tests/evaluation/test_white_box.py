"""White-box attacks, on a denoiser that knows its training images by heart and on one that knows their mean."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from synthcohort.core.cohort import Cohort
from synthcohort.core.errors import ConfigError, InputError
from synthcohort.core.run import RunFolder
from synthcohort.core.seeds import rng
from synthcohort.evaluation.white_box import Loss, WhiteBoxConfig, loss_scores
from synthcohort.learning.pixels import Pixels
from synthcohort.metrics.attacks import attack_area
from synthcohort.models.checkpoint import ImageSpec, ModelSpec, save_model
from synthcohort.models.condition import Vocabulary
from synthcohort.models.denoiser import NetworkConfig
from synthcohort.models.generator import Generator

NETWORK = NetworkConfig(
    channels=(8, 16), encoder_blocks=(1, 1), decoder_blocks=(1, 1), attention_levels=(1,), embedding_width=16
)
CONFIG = WhiteBoxConfig(sigmas=(0.3, 0.6, 1.2))


class Heart(torch.nn.Module):
    """The optimal denoiser of a finite set of images: their mean, weighted by how likely each is. It copies them."""

    def __init__(self, images: torch.Tensor) -> None:
        super().__init__()
        self.images = torch.nn.Parameter(images.flatten(1), requires_grad=False)

    def forward(self, x, sigma, condition):
        squares = torch.cdist(x.flatten(1), self.images).square()
        return ((-squares / (2 * sigma[:, None] ** 2)).softmax(1) @ self.images).view(x.shape)


def spec(toys) -> ModelSpec:
    image = ImageSpec(rows=32, columns=32, channels=1, dtype="uint8", low=0, high=255)
    return ModelSpec(NETWORK, (image,), Vocabulary.of([toys.grade], {}), 0.5, "float32")


@pytest.fixture(scope="module")
def real(toys, tmp_path_factory):
    roles = ("train", "train", "control", "validation")
    return toys.cohort(tmp_path_factory.mktemp("white") / "real", num=320, roles=roles)


def area(real: Cohort, loss: Loss, teachers: bool = False):
    views = {role: real.select(split=role) for role in ("train", "control", "validation")}
    strangers = loss.losses(views["validation"], views["validation"])
    members, others = (loss.losses(views[role], views["validation"]) for role in ("train", "control"))
    known = members[:60] if teachers else None
    inside, outside = (loss_scores(strangers, part, known) for part in (members[60:], others))
    owners = [views[role].column("patient_id") for role in ("train", "control")]
    return {
        name: attack_area(
            members=inside[name], others=outside[name], member_groups=owners[0][60:], other_groups=owners[1]
        )
        for name in inside
    }


def test_a_model_that_learned_by_heart_is_told_and_one_that_did_not_is_not(toys, real, tmp_path):
    train = Pixels(real.select(split="train"))
    images = train.batch(range(len(train)))
    learned = Loss(Generator(Heart(images), spec(toys), digest="heart"), spec(toys).image, "pad", CONFIG, tmp_path, 0)
    areas = area(real, learned, teachers=True)
    assert len(areas) == 3
    assert min(found.low(0.025) for found in areas.values()) > 0.8
    blurred = images.mean(0, keepdim=True)
    innocent = Loss(Generator(Heart(blurred), spec(toys), digest="mean"), spec(toys).image, "pad", CONFIG, tmp_path, 0)
    assert all(found.low(0.001) < 0.5 < found.high(0.001) for found in area(real, innocent, teachers=True).values())


def test_losses_do_not_depend_on_neighbors_and_are_kept(toys, real, tmp_path):
    train = Pixels(real.select(split="train"))
    generator = Generator(Heart(train.batch(range(40))), spec(toys), digest="few")
    loss = Loss(generator, spec(toys).image, "pad", CONFIG, tmp_path, 0)
    view, reference = real.select(split="control"), real.select(split="validation")
    whole = loss.losses(view, reference)
    assert whole.shape == (len(view), 3, 2)
    turned = loss.losses(view.select(indices=np.arange(len(view))[::-1]), reference)
    assert np.allclose(turned[::-1], whole, atol=1e-5)
    kept = sorted(tmp_path.glob("white_box-*.npy"))
    assert len(kept) == 2
    assert not list(tmp_path.glob("*.partial"))
    again = Loss(generator, spec(toys).image, "pad", CONFIG, tmp_path, 0).losses(view, reference)
    assert np.array_equal(again, whole)
    other = Loss(generator, spec(toys).image, "pad", CONFIG, tmp_path, 1).losses(view, reference)
    assert not np.array_equal(other, whole)


def test_the_linear_denoiser_of_white_noise_shrinks_as_wiener_says(toys, real, tmp_path):
    """Images of unit white noise: the loss of x * 1 / (1 + s^2) is s^2 / (1 + s^2)."""
    loss = Loss(Generator(Heart(torch.zeros(1, 1, 32, 32)), spec(toys)), spec(toys).image, "pad", CONFIG, tmp_path, 0)
    noise = torch.from_numpy(rng("white").normal(size=(64, 1, 32, 32)))
    loss._unit = lambda view, rows: noise[rows.start : rows.stop].float()
    view = real.select(indices=np.arange(64))
    power, mean = torch.ones(1, 32, 32).double(), torch.zeros(1, 32, 32).double()
    found = np.exp(loss._block(view, range(32), power, mean))[..., 1].mean(0)
    sigmas = np.array(CONFIG.sigmas)
    assert found == pytest.approx(sigmas**2 / (1 + sigmas**2), rel=0.05)
    measured, average = loss._spectrum(view)
    assert float(measured.mean()) == pytest.approx(1.0, abs=0.03)
    assert float(average.abs().mean()) < 0.2


def test_easy_images_are_not_taken_for_members_once_difficulty_counts():
    draw = rng("difficulty")
    easy = draw.normal(size=(900, 4, 1))
    losses = np.concatenate([0.8 * easy + draw.normal(0, 0.3, (900, 4, 1)), easy], axis=2)
    reference, members, others = losses[:300], losses[300:600], losses[600:]
    members[:, :, 0] -= 0.25
    areas = {}
    inside, outside = loss_scores(reference, members), loss_scores(reference, others)
    for name in inside:
        areas[name] = attack_area(
            members=inside[name], others=outside[name], member_groups=np.arange(300), other_groups=np.arange(300)
        ).value
    assert areas["denoising loss for its difficulty"] > areas["denoising loss"] + 0.1
    assert "denoising losses, learned" not in inside


def test_runs_that_cannot_be_attacked_say_why(toys, real, tmp_path):
    RunFolder.open(tmp_path / "run", "diffusion", {"train": {"fit": "pad"}})
    weights = spec(toys).build().state_dict()
    save_model(tmp_path / "run" / "model", spec(toys), weights, {"cohorts": ["sha256:other"]})
    with pytest.raises(InputError, match="trained on other cohorts"):
        Loss.of_run(tmp_path / "run", real, CONFIG, tmp_path, 0)
    save_model(tmp_path / "run" / "model", spec(toys), weights, {"cohorts": [real.digest]})
    view = real.select(indices=np.arange(5))
    losses = Loss.of_run(tmp_path / "run", real, CONFIG, tmp_path, 0).losses(view, view)
    assert losses.shape == (5, 3, 2)
    assert np.isfinite(losses).all()
    RunFolder.open(tmp_path / "gan", "gan", {})
    with pytest.raises(InputError, match="no denoiser"):
        Loss.of_run(tmp_path / "gan", real, CONFIG, tmp_path, 0)
    with pytest.raises(ConfigError, match="white_box"):
        replace(CONFIG, sigmas=())
