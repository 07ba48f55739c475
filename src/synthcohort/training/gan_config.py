"""Settings of the training of GANs: two recipes by name, and what a user may change of them."""

from dataclasses import dataclass, field
from typing import Literal

from synthcohort.core.config import require
from synthcohort.imaging.canaries import LEAST_CANARIES, CanaryConfig
from synthcohort.imaging.geometry import FITS, Fit
from synthcohort.models.denoiser import NetworkConfig, Precision
from synthcohort.models.gan import GanNetworkConfig, Preset
from synthcohort.training.config import WIDEST_AVERAGE, TrainConfig, enough_canaries

MOST_AUGMENT = 0.8  # above it augmentation could be learned as if it were the images (Karras et al. 2020, appendix C)
PIXELS, GAMMA = 64 * 64, 2.0  # the weight of the penalties at this size; it grows with pixels ** 1.5


@dataclass(frozen=True)
class Recipe:
    """What a preset fixes.

    learning_rate, rate_end    rate of Adam at the start, and the share of it that is left at the end
    muon_rate                  rate of Muon at the start, which moves the hidden weights; None leaves them to Adam
    beta2                      of Adam; the first moment is not averaged
    gamma, gamma_end           weight of the gradient penalties (None: by the size), and the share left at the end
    critic_steps               steps of the discriminator to one of the generator
    adaptive                   whether images are augmented as far as the discriminator overfits
    """

    learning_rate: float
    rate_end: float
    muon_rate: float | None
    beta2: float
    gamma: float | None
    gamma_end: float
    critic_steps: int
    adaptive: bool


RECIPES: dict[Preset, Recipe] = {
    # Huang et al. 2024, table 8: one rate for both networks, penalties that fall to a tenth. Their rate of 2e-4 is for
    # networks five times as wide and a thousand times the images. Muon: docs/decisions/0026.
    "modern": Recipe(1e-3, 0.25, 0.04, 0.99, None, 0.1, 1, True),
    # Gulrajani et al. 2017, algorithm 1 and appendix: lambda 10, five critic steps, no augmentation
    "wgan_gp": Recipe(1e-4, 0.0, None, 0.9, 10.0, 1.0, 5, False),
}


@dataclass(frozen=True)
class GanConfig:
    """The budget and the recipe. Settings that are None are the preset's.

    images             images that the discriminator sees, all passes together and those of parts done again: the budget
    minutes            instead of `images`: the rate is measured for a few steps and `images` chosen once, at the start
    preset             modern (relativistic loss, penalties on real and drawn images), or wgan_gp (the classic recipe)
    size               rows and columns of the images, one number or both; None takes the cohort's own size
    fit                how an image of another shape is brought to that size: pad, crop or stretch
    labels             label columns to condition on; None takes all of the cohorts
    attributes         standard columns to condition on (sex, age, view …); None takes sex, age and view where they vary
    text               captions to condition on: "packaged", or the folder of a text encoder; None leaves them aside
    network            size of both networks
    batch              images per step of the discriminator, over all processes and pieces
    accumulate         pieces that each process's part of a batch is computed in: less memory, the same step
    learning_rate      rate of Adam at the start, of both networks
    muon_rate          rate of Muon at the start, which moves the hidden weights of both networks (docs/decisions/0026)
    gamma              weight of the gradient penalties at the start
    critic_steps       steps of the discriminator to one of the generator
    augment            probability of each change of an image, up to 0.8; "adaptive" raises and lowers it as the
                       discriminator overfits; 0 is off
    augment_target     how well the discriminator may know its training images by heart before augmentation rises: how
                       far its scores of validation images lie from those of training images, 0, to drawn ones, 1
    augment_images     images over which the probability can rise from 0 to 1
    average            relative width of the weights' average that becomes the model
    label_dropout      share of images of which nothing is said but their type
    column_dropout     share of images in which a column is not said, each column on its own
    text_dropout       share of images with text whose text is not said; as large a share is told the text alone
    label_balance      how far rare labels are evened out: 0 not at all, 1 gives every label the same share
    type_balance       how far image types of unequal size are evened out
    flip               mirror half of the images left to right; only where sides do not matter
    precision          bfloat16 or float32 inside the networks
    looks              times that samples are compared with validation images; a run of few images has fewer
    guard_images       validation images, and as many drawn and training images, of each look; 0 leaves the guards off
    watch_images       images drawn at each look and searched for copies of training images; 0 for none
    rollbacks          times that training may go back to its last good look, with gentler settings, before it stops
    log_images         images between two lines of the log
    checkpoint_images  images between two checkpoints
    canaries           training images that get a mark which occurs nowhere else, to audit what the model keeps of
                       them; release refuses the images of such a run. count 0 plants none
    """

    images: int = 200_000
    minutes: float | None = None
    preset: Preset = "modern"
    size: int | tuple[int, int] | None = 64
    fit: Fit = "pad"
    labels: tuple[str, ...] | None = None
    attributes: tuple[str, ...] | None = None
    text: str | None = None
    network: GanNetworkConfig = field(default_factory=GanNetworkConfig)
    batch: int = 16
    accumulate: int = 1
    learning_rate: float | None = None
    muon_rate: float | None = None
    gamma: float | None = None
    critic_steps: int | None = None
    augment: Literal["adaptive"] | float | None = None
    augment_target: float = 0.5
    augment_images: int = 50_000
    average: float = 0.05
    label_dropout: float = 0.1
    column_dropout: float = 0.1
    text_dropout: float = 0.1
    label_balance: float = 0.0
    type_balance: float = 0.5
    flip: bool = True
    precision: Precision = "bfloat16"
    looks: int = 10
    guard_images: int = 256
    watch_images: int = 32
    rollbacks: int = 3
    log_images: int = 4_000
    checkpoint_images: int = 16_000
    canaries: CanaryConfig = field(default_factory=CanaryConfig)

    @property
    def recipe(self) -> Recipe:
        return RECIPES[self.preset]

    @property
    def rate(self) -> float:
        return self.learning_rate if self.learning_rate is not None else self.recipe.learning_rate

    @property
    def hidden_rate(self) -> float | None:
        """Muon's rate at the start; None: Adam moves all weights."""
        return self.muon_rate if self.muon_rate is not None else self.recipe.muon_rate

    @property
    def discriminator_steps(self) -> int:
        return self.critic_steps if self.critic_steps is not None else self.recipe.critic_steps

    @property
    def adaptive(self) -> bool:
        return self.recipe.adaptive if self.augment is None else self.augment == "adaptive"

    @property
    def augment_start(self) -> float:
        return self.augment if isinstance(self.augment, (int, float)) else 0.0

    @property
    def images_per_step(self) -> int:
        """Images that the discriminator sees in one step of the generator."""
        return self.batch * self.discriminator_steps

    def penalty(self, size: tuple[int, int]) -> float:
        """The weight of the gradient penalties at the start, for images of this size."""
        if self.gamma is not None:
            return self.gamma
        # the paper's: 0.05 to 0.5 at 32, 1 to 2 at 64, 150 at 256 pixels
        return self.recipe.gamma if self.recipe.gamma is not None else GAMMA * (size[0] * size[1] / PIXELS) ** 1.5

    @property
    def data(self) -> TrainConfig:
        """The settings that the preparation of images and conditions reads; it takes any size of image."""
        return TrainConfig(
            size=self.size, fit=self.fit, labels=self.labels, attributes=self.attributes, text=self.text,
            network=NetworkConfig(1, (4,), (0,), (0,), (), 8), batch=self.batch, label_dropout=self.label_dropout,
            column_dropout=self.column_dropout, text_dropout=self.text_dropout, label_balance=self.label_balance,
            type_balance=self.type_balance, flip=self.flip, augment=0.0, watch_images=self.watch_images,
            validation_images=self.guard_images, canaries=self.canaries,
        )  # fmt: skip

    def __post_init__(self) -> None:
        sides = self.size if isinstance(self.size, tuple) else (self.size or 8,)
        checks = [
            ("images", self.images >= 1, "1 or more"),
            ("minutes", self.minutes is None or self.minutes > 0, "more than 0"),
            ("preset", self.preset in RECIPES, ", ".join(RECIPES)),
            ("size", min(sides) >= 8, "8 or more"),
            ("fit", self.fit in FITS, ", ".join(FITS)),
            ("batch", self.batch >= 2, "2 or more"),
            ("accumulate", 1 <= self.accumulate <= self.batch, "1 up to gan.batch"),
            ("learning_rate", self.learning_rate is None or self.learning_rate > 0, "more than 0, for example 0.0002"),
            ("muon_rate", self.muon_rate is None or self.muon_rate > 0, "more than 0, for example 0.04"),
            ("gamma", self.gamma is None or self.gamma > 0, "more than 0, for example 2"),
            ("critic_steps", self.critic_steps is None or self.critic_steps >= 1, "1 or more"),
            (
                "augment",
                self.augment in (None, "adaptive") or 0 <= self.augment_start <= MOST_AUGMENT,
                f'"adaptive", or 0 to {MOST_AUGMENT}',
            ),
            ("augment_target", 0 < self.augment_target < 1, "between 0 and 1, for example 0.5"),
            ("augment_images", self.augment_images >= 1, "1 or more"),
            ("average", 0 < self.average <= WIDEST_AVERAGE, f"more than 0, up to {WIDEST_AVERAGE}"),
            ("label_dropout", 0 <= self.label_dropout < 1, "0 up to 1"),
            ("column_dropout", 0 <= self.column_dropout < 1, "0 up to 1"),
            ("text_dropout", 0 <= self.text_dropout <= 0.4, "0 to 0.4"),
            ("label_balance", 0 <= self.label_balance <= 1, "0 to 1"),
            ("type_balance", 0 <= self.type_balance <= 1, "0 to 1"),
            ("looks", self.looks >= 1, "1 or more"),
            ("guard_images", self.guard_images >= 0, "0 or more"),
            ("watch_images", self.watch_images >= 0, "0 or more"),
            ("rollbacks", self.rollbacks >= 0, "0 or more"),
            ("log_images", self.log_images >= 1, "1 or more"),
            ("checkpoint_images", self.checkpoint_images >= 1, "1 or more"),
            ("canaries", enough_canaries(self.canaries), f"count 0, or {LEAST_CANARIES} or more"),
        ]
        require("setting gan.", self, checks)
