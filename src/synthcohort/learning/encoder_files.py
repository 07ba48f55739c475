"""Encoders by name, those whose weights a user supplies among them. Nothing is downloaded.

Files are of three kinds, by the end of the file's name:

- `.safetensors`: a DINOv2 vision transformer with the names of weights that Hugging Face gives it (facebook/dinov2-*,
  microsoft/rad-dino); the class token after the last norm is the feature vector. Nothing in the file is executed.
- `.onnx`: any network; needs onnxruntime (`pip install "synthcohort[ocr]"`).
- `.pt`: a TorchScript module, such as InceptionV3 as it is given away for Fréchet distances. It runs what its author
  wrote: load only files you trust.

The last two take one input [B, C, size, size] float32, standardized by `mean` and `std` of intensities 0 to 1, and give
[B, D] (or [B, D, 1, 1], or several outputs of which the first counts).
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from synthcohort.core.errors import ConfigError, Problem
from synthcohort.core.files import digest_file, digest_json
from synthcohort.imaging.intensity import ValueRange
from synthcohort.learning.features import ENCODERS, Encoder, self_supervised_encoder
from synthcohort.learning.fit import FitConfig
from synthcohort.learning.pixels import Images
from synthcohort.models import vision_transformer
from synthcohort.models.vision_transformer import read_vision_transformer

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class EncoderFile:
    """A file of weights and how its input must be: size, mean and std as its authors state them.

    For models of Hugging Face these stand in preprocessor_config.json; those of DINOv2 are the defaults.
    """

    path: Path
    size: int = 224
    channels: int = 3
    mean: tuple[float, ...] = IMAGENET_MEAN  # of intensities 0 to 1, by channel
    std: tuple[float, ...] = IMAGENET_STD
    batch: int = 16

    def __post_init__(self) -> None:
        place, problems = "setting evaluate.encoder_files", []
        if self.path.suffix not in KINDS:
            problems.append(Problem(f"{place}.path", f"{self.path.name}", f"a file ending in {', '.join(KINDS)}"))
        if self.size < 16 or self.batch < 1:
            problems.append(Problem(f"{place}.size or .batch", f"{self.size}, {self.batch}", "16 or more, 1 or more"))
        if self.channels not in (1, 3):
            problems.append(Problem(f"{place}.channels", str(self.channels), "1, 3"))
        if {len(self.mean), len(self.std)} != {self.channels} or min(self.std, default=0) <= 0:
            problems.append(
                Problem(
                    f"{place}.mean and .std",
                    f"{len(self.mean)} and {len(self.std)} numbers",
                    f"{self.channels} numbers each, those of std above 0",
                )
            )
        if problems:
            raise ConfigError(*problems)


def encoder_named(
    name: str,
    train: Images,
    folder: Path,
    seed: int,
    fit: FitConfig,
    files: Mapping[str, EncoderFile],
    value_range: ValueRange | None = None,
) -> Encoder:
    """`packaged`, `self_supervised` (fitted on `train`, kept in `folder`), or one of the user's files by its name.

    Raises ConfigError for another name.
    """
    if name in ENCODERS:
        encoder = ENCODERS[name]()
    elif name == "self_supervised":
        return self_supervised_encoder(train, folder, fit, seed, value_range)
    elif name in files:
        encoder = file_encoder(name, files[name])
    else:
        known = ", ".join([*ENCODERS, "self_supervised", *files])
        raise ConfigError(Problem("encoder", repr(name), known, "name its file in evaluate.encoder_files"))
    return replace(encoder, value_range=value_range)


def file_encoder(name: str, file: EncoderFile) -> Encoder:
    """The encoder in a user's file. Raises ConfigError for a file that is absent or is not what its name says."""
    place = f"encoder {name}"
    if not file.path.is_file():
        remedy = "put the weights there, or take the encoder out of evaluate.encoders"
        raise ConfigError(Problem(place, f"no file {file.path}", remedy=remedy))
    try:
        network = KINDS[file.path.suffix](file.path)
    except ConfigError:
        raise
    except Exception as error:  # whatever a foreign file makes a reader raise
        words = f"{file.path} can't be read as {file.path.suffix} ({type(error).__name__})"
        raise ConfigError(Problem(place, words, remedy="see the kinds of files in the documentation")) from error
    mean = torch.tensor(file.mean).view(1, -1, 1, 1)
    std = torch.tensor(file.std).view(1, -1, 1, 1)

    def encode(x_BCSS: Tensor) -> Tensor:
        try:
            found = network(((x_BCSS + 1) / 2 - mean) / std)
        except Exception as error:  # a network of another input
            words = f"can't be run on {tuple(x_BCSS.shape)} ({type(error).__name__})"
            raise ConfigError(Problem(place, words, remedy="check size and channels")) from error
        return _vectors(place, found, len(x_BCSS))

    settings = {"size": file.size, "channels": file.channels, "mean": list(file.mean), "std": list(file.std)}
    code = inspect.getsource(vision_transformer)
    version = digest_json({"file": digest_file(file.path), "kind": file.path.suffix, "code": code, **settings})
    return Encoder(name, version, encode, file.size, file.channels, file.batch)


def _vectors(place: str, found: Any, num: int) -> Tensor:
    """[B, D] from what a network gave; ConfigError when it gives something else."""
    if isinstance(found, (tuple, list)) and found:
        found = found[0]
    if isinstance(found, Tensor) and found.ndim > 2 and found.shape[2:].numel() == 1:
        found = found.flatten(1)
    if not isinstance(found, Tensor) or found.ndim != 2 or len(found) != num:
        shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise ConfigError(Problem(place, f"gives {shape} for {num} images", f"[{num}, D]"))
    return found.float()


def _torchscript(path: Path) -> Callable[[Tensor], Any]:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that TorchScript is old is not this user's problem
        module = torch.jit.load(str(path), map_location="cpu").eval()
    return module


def _onnx(path: Path) -> Callable[[Tensor], Any]:
    try:
        import onnxruntime
    except ImportError:
        found = "onnxruntime is not installed"
        raise ConfigError(Problem(f"encoder file {path}", found, remedy='pip install "synthcohort[ocr]"')) from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def run(x_BCSS: Tensor) -> Tensor:
        return torch.from_numpy(np.asarray(session.run(None, {name: x_BCSS.numpy()})[0]))

    return run


KINDS: dict[str, Callable[[Path], Callable[[Tensor], Any]]] = {
    ".safetensors": read_vision_transformer,
    ".onnx": _onnx,
    ".pt": _torchscript,
}
