"""Settings of the autoencoder of latent diffusion."""

from dataclasses import dataclass, field

from synthcohort.core.config import require
from synthcohort.imaging.geometry import FITS, Fit
from synthcohort.models.autoencoder import AutoencoderConfig
from synthcohort.models.denoiser import Precision


@dataclass(frozen=True)
class AutoencoderTraining:
    """The budget and the recipe. The same size and fit are used when a diffusion model is trained on the latents.

    images             crops seen, all passes together: the budget; the learning rate ends at 0 with it
    minutes            instead of `images`: the rate is measured for a few steps and `images` chosen once, at the start
    size               rows and columns of the images, one number or both; None takes the cohort's own size
    fit                how an image of another shape is brought to that size: pad, crop or stretch
    network            size of the network
    batch              crops per step, over all processes
    crop               side of the random part of an image that is trained on; None takes whole images
    muon_rate          highest rate of Muon, which moves the hidden weights
    learning_rate      highest rate of AdamW, which moves all others
    warmup             share of the steps in which the rate rises from 0
    hold               share of the steps before the rate begins to fall (as a cosine)
    texture_weight     of the local contrast, beside the weight 1 of the pixel values
    kl_weight          of the KL divergence, in nats per pixel value: more makes latents smoother, images blurrier
    type_balance       how far image types of unequal size are evened out: 0 draws all images equally often, 1 all types
    flip               mirror half of the images left to right
    precision          bfloat16 or float32 inside the network
    validation_images  validation images for the validation loss; 0 for none
    report_images      validation images for the report on reconstructions at the end; 0 for no report
    log_images         crops between two lines of the log
    checkpoint_images  crops between two checkpoints
    """

    images: int = 64_000
    minutes: float | None = None
    size: int | tuple[int, int] | None = 128
    fit: Fit = "pad"
    network: AutoencoderConfig = field(default_factory=AutoencoderConfig)
    batch: int = 16
    crop: int | None = 64
    muon_rate: float = 0.02
    learning_rate: float = 1e-3
    warmup: float = 0.03
    hold: float = 0.2
    texture_weight: float = 1.0
    kl_weight: float = 1e-3
    type_balance: float = 0.5
    flip: bool = True
    precision: Precision = "bfloat16"
    validation_images: int = 64
    report_images: int = 1_000
    log_images: int = 4_000
    checkpoint_images: int = 16_000

    def __post_init__(self) -> None:
        sizes = self.size if isinstance(self.size, tuple) else (self.size,)
        blocks = self.network.factor
        checks = [
            ("images", self.images >= 1, "1 or more"),
            ("minutes", self.minutes is None or self.minutes > 0, "more than 0"),
            ("size", all(side is None or side >= 8 for side in sizes), "8 or more"),
            ("fit", self.fit in FITS, ", ".join(FITS)),
            ("batch", self.batch >= 1, "1 or more"),
            (
                "crop",
                self.crop is None or (self.crop >= blocks and self.crop % blocks == 0),
                f"none, or multiples of {blocks}, the side of a latent pixel",
            ),
            ("muon_rate", self.muon_rate > 0, "more than 0, for example 0.02"),
            ("learning_rate", self.learning_rate > 0, "more than 0, for example 0.001"),
            ("warmup", 0 <= self.warmup < 1, "0 up to 1"),
            ("hold", 0 <= self.hold < 1, "0 up to 1"),
            ("texture_weight", self.texture_weight >= 0, "0 or more"),
            ("kl_weight", self.kl_weight > 0, "more than 0, for example 0.001"),
            ("type_balance", 0 <= self.type_balance <= 1, "0 to 1"),
            ("validation_images", self.validation_images >= 0, "0 or more"),
            ("report_images", self.report_images >= 0, "0 or more"),
            ("log_images", self.log_images >= 1, "1 or more"),
            ("checkpoint_images", self.checkpoint_images >= 1, "1 or more"),
        ]
        require("setting autoencoder.", self, checks)
