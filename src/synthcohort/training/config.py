"""Settings of training. Every default is what the 64-pixel knee study was tuned to (docs/decisions)."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from synthcohort.core.config import require
from synthcohort.imaging.canaries import LEAST_CANARIES, CanaryConfig
from synthcohort.imaging.geometry import FITS, Fit
from synthcohort.models.denoiser import NetworkConfig, Precision
from synthcohort.models.transformer import TransformerConfig

ARCHITECTURES = ("unet", "transformer")
OBJECTIVES = ("edm", "flow")
WIDEST_AVERAGE = 0.25  # relative width; a uniform average over all of training has 0.289


@dataclass(frozen=True)
class TrainConfig:
    """The budget and the recipe.

    images             images seen, all passes together: the budget; the learning rate ends at 0 with it
    minutes            instead of `images`: the rate is measured for a few steps and `images` chosen once, at the start
    size               rows and columns of the model's images, one number or both; None takes the cohort's own size
    fit                how an image of another shape is brought to that size: pad, crop or stretch
    labels             label columns to condition on; None takes all of the cohorts
    attributes         standard columns to condition on (sex, age, view, laterality …); None takes sex, age and view
                       where they vary, () none
    text               captions to condition on: "packaged" for the text encoder that comes along, or the folder of
                       another one; None leaves captions aside
    latent             a finished run of train --autoencoder: the model works on its latents, of images of train.size;
                       None works on pixels, or in the space of the run to start from
    architecture       unet, or transformer (over patches)
    network            size of the U-Net
    transformer        size of the transformer
    batch              images per step, over all processes and pieces
    accumulate         pieces that each process's part of a batch is computed in: less memory, the same step
    muon_rate          highest rate of Muon, which moves the hidden weights
    learning_rate      highest rate of AdamW, which moves all others
    finetune_rate      both rates are multiplied by this where training starts from another run's weights
    warmup             share of the steps in which the rate rises from 0
    hold               share of the steps before the rate begins to fall (as a cosine)
    clip               largest norm of the gradient, longer ones are shortened to it; None leaves them
    average            relative width of the weights' average that becomes the model (0.05: about the last tenth), or
                       "auto": picked on the validation loss at the end; it can be changed for a finished run
    objective          edm: the preconditioned denoiser's own loss; flow: rectified flow's, which weighs low noise more
    sigma_mean, sigma_std   log-normal distribution of training noise levels: mean and std of log(sigma); None takes
                       the objective's own: -0.8 and 1.4 for edm (in latent space about 0 and 1.4), 0 and 1 for flow
    label_dropout      share of images of which nothing is said but their type, which guidance needs
    column_dropout     share of images in which a column is not said, each column on its own
    text_dropout       share of images with text whose text is not said; as large a share is told the text alone
    label_balance      how far rare labels are evened out: images are drawn as frequency ** -label_balance;
                       0 draws every image once a pass, 0.5 is the square root, 1 gives every label the same share
    type_balance       how far image types of unequal size are evened out: a type's share of the training is its number
                       of images ** (1 - type_balance); 0 draws every image equally often, 1 every type
    flip               mirror half of the images left to right; only where sides do not matter
    augment            probability of each of a few small changes of an image (mirror, size, stretch, turn, shift,
                       gain), of which the network is told so that it draws none changed; 0 is off, 0.1 to 0.3 is usual
    precision          bfloat16 or float32 inside the network
    validation_images  validation images, and as many training images, for the losses at fixed noise; 0 for none
    watch_images       images drawn at each watch point and searched for copies of training images; 0 for none
    log_images         images between two lines of the log
    checkpoint_images  images between two checkpoints
    canaries           training images that get a mark which occurs nowhere else, to audit what the model keeps of
                       them; release refuses the images of such a run. count 0 plants none
    shadow             trains shadow number N for the audit of a run with the same settings: on half of the patients of
                       the roles train and control; shadows 2k and 2k + 1 share them out between them. Nothing can be
                       generated from it. None trains on all patients of the role train
    """

    images: int = 72_000
    minutes: float | None = None
    size: int | tuple[int, int] | None = 64
    fit: Fit = "pad"
    labels: tuple[str, ...] | None = None
    attributes: tuple[str, ...] | None = None
    text: str | None = None
    latent: Path | None = None
    architecture: Literal["unet", "transformer"] = "unet"
    network: NetworkConfig = field(default_factory=NetworkConfig)
    transformer: TransformerConfig = field(default_factory=TransformerConfig)
    batch: int = 64
    accumulate: int = 1
    muon_rate: float = 0.02
    learning_rate: float = 1e-3
    finetune_rate: float = 0.3
    warmup: float = 0.03
    hold: float = 0.2
    clip: float | None = None
    average: Literal["auto"] | float = 0.05
    objective: Literal["edm", "flow"] = "edm"
    sigma_mean: float | None = None
    sigma_std: float | None = None
    label_dropout: float = 0.1
    column_dropout: float = 0.1
    text_dropout: float = 0.1
    label_balance: float = 0.0
    type_balance: float = 0.5
    flip: bool = True
    augment: float = 0.0
    precision: Precision = "bfloat16"
    validation_images: int = 64
    watch_images: int = 32
    log_images: int = 4_000
    checkpoint_images: int = 8_000
    canaries: CanaryConfig = field(default_factory=CanaryConfig)
    shadow: int | None = None

    @property
    def denoiser(self) -> NetworkConfig | TransformerConfig:
        """The settings of the network that is trained."""
        return self.transformer if self.architecture == "transformer" else self.network

    def __post_init__(self) -> None:
        sides = self.size if isinstance(self.size, tuple) else (self.size or 8,)
        average = self.average if isinstance(self.average, (int, float)) else 0.05
        checks = [
            ("images", self.images >= 1, "1 or more"),
            ("minutes", self.minutes is None or self.minutes > 0, "more than 0"),
            ("size", min(sides) >= 8, "8 or more"),
            ("fit", self.fit in FITS, ", ".join(FITS)),
            ("architecture", self.architecture in ARCHITECTURES, ", ".join(ARCHITECTURES)),
            ("batch", self.batch >= 1, "1 or more"),
            ("accumulate", 1 <= self.accumulate <= self.batch, "1 up to train.batch"),
            ("learning_rate", self.learning_rate > 0, "more than 0, for example 0.001"),
            ("muon_rate", self.muon_rate > 0, "more than 0, for example 0.02"),
            ("finetune_rate", 0 < self.finetune_rate <= 1, "more than 0, up to 1"),
            ("warmup", 0 <= self.warmup < 1, "0 up to 1"),
            ("hold", 0 <= self.hold < 1, "0 up to 1"),
            ("clip", self.clip is None or self.clip > 0, "more than 0, for example 1.0"),
            ("average", 0 < average <= WIDEST_AVERAGE, f'"auto", or more than 0, up to {WIDEST_AVERAGE}'),
            ("objective", self.objective in OBJECTIVES, ", ".join(OBJECTIVES)),
            ("sigma_std", self.sigma_std is None or self.sigma_std > 0, "more than 0"),
            ("label_dropout", 0 <= self.label_dropout < 1, "0 up to 1"),
            ("column_dropout", 0 <= self.column_dropout < 1, "0 up to 1"),
            ("text_dropout", 0 <= self.text_dropout <= 0.4, "0 to 0.4"),
            ("label_balance", 0 <= self.label_balance <= 1, "0 to 1"),
            ("type_balance", 0 <= self.type_balance <= 1, "0 to 1"),
            ("augment", 0 <= self.augment <= 1, "0 to 1, for example 0.15"),
            ("validation_images", self.validation_images >= 0, "0 or more"),
            ("watch_images", self.watch_images >= 0, "0 or more"),
            ("log_images", self.log_images >= 1, "1 or more"),
            ("checkpoint_images", self.checkpoint_images >= 1, "1 or more"),
            ("canaries", enough_canaries(self.canaries), f"count 0, or {LEAST_CANARIES} or more"),
            ("shadow", self.shadow is None or self.shadow >= 0, "0 or more"),
            ("shadow", self.shadow is None or not self.canaries.count, "nothing where train.canaries plants some"),
        ]
        require("setting train.", self, checks)


def enough_canaries(config: CanaryConfig) -> bool:
    """Whether as many are planted as the audit needs, or none."""
    return not config.count or config.count >= LEAST_CANARIES
