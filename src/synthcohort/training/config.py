"""Settings of training. Every default is what the 64-pixel knee study was tuned to (docs/decisions)."""

from dataclasses import dataclass, field

from synthcohort.core.errors import ConfigError, Problem
from synthcohort.imaging.geometry import FITS, Fit
from synthcohort.models.denoiser import NetworkConfig, Precision


@dataclass(frozen=True)
class TrainConfig:
    """The budget and the recipe.

    images             images seen, all passes together: the budget; the learning rate ends at 0 with it
    minutes            instead of `images`: the rate is measured for a few steps and `images` chosen once, at the start
    size               rows and columns of the model's images; None takes the cohort's own size
    fit                how an image of another shape is brought to that size: pad, crop or stretch
    labels             label columns to condition on; None takes all of the cohort
    network            size of the network
    batch              images per step
    muon_rate          highest rate of Muon, which moves the hidden weights
    learning_rate      highest rate of AdamW, which moves all others
    warmup             share of the steps in which the rate rises from 0
    hold               share of the steps before the rate begins to fall (as a cosine)
    average            length of the weights' average, as a share of the images seen so far
    sigma_mean, sigma_std   log-normal distribution of training noise levels: mean and std of log(sigma)
    label_dropout      share of images whose labels are hidden, which guidance needs
    label_balance      how far rare labels are evened out: images are drawn as frequency ** -label_balance;
                       0 draws every image once a pass, 0.5 is the square root, 1 gives every label the same share
    flip               mirror half of the images left to right; only where laterality is no label
    precision          bfloat16 or float32 inside the network
    validation_images  validation images for the validation loss; 0 for none
    log_images         images between two lines of the log
    checkpoint_images  images between two checkpoints
    """

    images: int = 72_000
    minutes: float | None = None
    size: int | None = 64
    fit: Fit = "pad"
    labels: tuple[str, ...] | None = None
    network: NetworkConfig = field(default_factory=NetworkConfig)
    batch: int = 64
    muon_rate: float = 0.02
    learning_rate: float = 1e-3
    warmup: float = 0.03
    hold: float = 0.2
    average: float = 0.05
    sigma_mean: float = -0.8
    sigma_std: float = 1.4
    label_dropout: float = 0.1
    label_balance: float = 0.0
    flip: bool = True
    precision: Precision = "bfloat16"
    validation_images: int = 64
    log_images: int = 4_000
    checkpoint_images: int = 8_000

    def __post_init__(self) -> None:
        checks = [
            ("images", self.images >= 1, "1 or more"),
            ("minutes", self.minutes is None or self.minutes > 0, "more than 0"),
            ("size", self.size is None or self.size >= 8, "8 or more"),
            ("fit", self.fit in FITS, ", ".join(FITS)),
            ("batch", self.batch >= 1, "1 or more"),
            ("learning_rate", self.learning_rate > 0, "more than 0, for example 0.001"),
            ("warmup", 0 <= self.warmup < 1, "0 up to 1"),
            ("hold", 0 <= self.hold < 1, "0 up to 1"),
            ("muon_rate", self.muon_rate > 0, "more than 0, for example 0.02"),
            ("average", 0 <= self.average < 1, "0 up to 1"),
            ("sigma_std", self.sigma_std > 0, "more than 0"),
            ("label_dropout", 0 <= self.label_dropout < 1, "0 up to 1"),
            ("label_balance", 0 <= self.label_balance <= 1, "0 to 1"),
            ("validation_images", self.validation_images >= 0, "0 or more"),
            ("log_images", self.log_images >= 1, "1 or more"),
            ("checkpoint_images", self.checkpoint_images >= 1, "1 or more"),
        ]
        problems = [
            Problem(f"setting train.{name}", repr(getattr(self, name)), allowed)
            for name, good, allowed in checks
            if not good
        ]
        if problems:
            raise ConfigError(*problems)
