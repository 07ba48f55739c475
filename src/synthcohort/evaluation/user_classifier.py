"""A user's own classifier: a function, a TorchScript file or an ONNX file, all with one convention.

Convention: it takes float32 images [N, C, rows, columns] in [0, 1], C being 1 for gray and 3 for color, at the cohort's
own size, and gives scores [N, K], one column per value of the label, in the label's order: probabilities or logits, the
largest wins. What else it needs (another size, a mean and a standard deviation) it does itself.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from synthcohort.core.errors import ConfigError, InputError, Problem

Judge = Callable[[np.ndarray], np.ndarray]  # [N, C, rows, columns] float32 in [0, 1] to scores [N, K]
ENDINGS = ".pt, .ts (TorchScript), .onnx"
BATCH = 64


def open_classifier(source: str | Path | Judge, num_classes: int) -> Judge:
    """A classifier whose answers are checked. Raises ConfigError for a file that is absent or of another kind."""
    if not callable(source):
        path = Path(source)
        if not path.is_file():
            raise ConfigError(Problem("setting evaluate.stress.classifier", f"no file {path}", f"a file {ENDINGS}"))
        readers = {".pt": _torchscript, ".ts": _torchscript, ".onnx": _onnx}
        if path.suffix.lower() not in readers:
            raise ConfigError(Problem("setting evaluate.stress.classifier", f"file {path.name}", ENDINGS))
        source = readers[path.suffix.lower()](path)
    judge = source

    def checked(images: np.ndarray) -> np.ndarray:
        scores = np.asarray(judge(images), np.float64)
        if scores.shape != (len(images), num_classes) or not np.isfinite(scores).all():
            found = f"answers of shape {scores.shape} to {len(images)} images"
            allowed = f"[{len(images)}, {num_classes}] finite scores, one for each value of the label"
            raise InputError(Problem("the classifier of evaluate.stress", found, allowed))
        return scores

    return checked


def predicted(judge: Judge, images: np.ndarray) -> np.ndarray:
    """Class of each image [N] int64; images [N, rows, columns] or [N, rows, columns, 3] in [0, 1]."""
    x = np.asarray(images, np.float32)
    x = x[:, None] if x.ndim == 3 else x.transpose(0, 3, 1, 2)
    parts = [judge(np.ascontiguousarray(x[i : i + BATCH])).argmax(axis=1) for i in range(0, len(x), BATCH)]
    return np.concatenate(parts) if parts else np.zeros(0, np.int64)


def _torchscript(path: Path) -> Judge:
    import warnings

    import torch

    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", DeprecationWarning
            )  # torch prefers torch.export; hospitals have TorchScript
            network = torch.jit.load(str(path), map_location="cpu").eval()
    except (RuntimeError, ValueError) as error:
        raise InputError(
            Problem(f"file {path}", "no TorchScript that can be read", remedy="use torch.jit.save")
        ) from error

    def judge(images: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return np.asarray(network(torch.from_numpy(images)).float().numpy())

    return judge


def _onnx(path: Path) -> Judge:
    try:
        import onnxruntime
    except ImportError:
        needed = "the package onnxruntime"
        raise ConfigError(Problem(f"file {path}", "ONNX needs a package", needed, "pip install onnxruntime")) from None
    try:
        session: Any = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    except Exception as error:  # the package raises classes of its own that share no base
        raise InputError(Problem(f"file {path}", "no ONNX model that can be read")) from error
    name = session.get_inputs()[0].name
    return lambda images: np.asarray(session.run(None, {name: images})[0])
