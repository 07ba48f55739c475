"""The OCR networks: PP-OCRv6 from the wheel of `rapidocr`, run by onnxruntime in one thread.

Only the two model files of that package are used; it is never imported, so that neither OpenCV nor its loader of
models from the network comes in. Source: PaddleOCR, PP-OCRv6 small, Apache-2.0: detection by differentiable
binarization (Liao et al. 2020), recognition by CTC (Graves et al. 2006).
"""

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

INSTALL = 'install it with: pip install "synthcohort[ocr]"'
DETECTOR, RECOGNIZER = "PP-OCRv6_det_small.onnx", "PP-OCRv6_rec_small.onnx"
# Other models might serve as well, but the figures of docs/experiments hold for these.
DIGESTS = {
    DETECTOR: "090f04abcd9d9a7498bc4ebf677e4cb9bdce1fe4197ddb7e529f1ef44e1ff94f",
    RECOGNIZER: "6f327246b50388f3c176ae304bd95767ea6dc0c9ae92153ef8cbe210b3c14884",
}
STRIDE = 32  # the detector wants sides that are multiples of it
LINE_HEIGHT, LINE_STEP, LONGEST_LINE = 48, 64, 960  # pixels of a line that the recognizer reads


def missing() -> str | None:
    """What the OCR lacks and how to get it, in words for the user; None when it can run."""
    if find_spec("onnxruntime") is None:
        return f"the package onnxruntime is not installed; {INSTALL}"
    folder = _folder()
    if folder is None:
        return f"the package rapidocr is not installed; {INSTALL}"
    changed = [name for name, digest in DIGESTS.items() if _digest(folder / name) != digest]
    if changed:
        return f"the package rapidocr lacks the models that were measured ({', '.join(changed)}); {INSTALL}"
    return None


def _folder() -> Path | None:
    spec = find_spec("rapidocr")
    return Path(spec.origin).parent / "models" if spec and spec.origin else None


@lru_cache(maxsize=4)
def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


@lru_cache(maxsize=2)
def _session(name: str) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = False  # the arena would keep the largest of all sizes seen
    options.log_severity_level = 3
    folder = _folder()
    assert folder is not None
    return onnxruntime.InferenceSession(str(folder / name), options, providers=["CPUExecutionProvider"])


def text_map(image: np.ndarray) -> np.ndarray:
    """How likely each pixel is the core of a line of text, [rows, columns] in [0, 1].

    image: [rows, columns] or [rows, columns, 3] uint8.
    """
    rows, columns = image.shape[:2]
    margins = ((0, -rows % STRIDE), (0, -columns % STRIDE), (0, 0))
    padded = np.pad(image.reshape(rows, columns, -1), margins, mode="edge")
    probability: np.ndarray = _session(DETECTOR).run(None, {"x": _normalized(padded)[None]})[0]
    return probability[0, 0, :rows, :columns]


def read_lines(lines: Sequence[np.ndarray]) -> list[tuple[str, float]]:
    """The characters of each upright line ([rows, columns] or [..., 3] uint8) and their mean probability, 0 to 1.

    One by one, not in batches: what a line reads as must not depend on the lines found beside it.
    """
    answers = []
    for line in lines:
        width = int(np.clip(round(line.shape[1] * LINE_HEIGHT / line.shape[0]), 8, LONGEST_LINE))
        x = np.zeros((1, 3, LINE_HEIGHT, width + -width % LINE_STEP), np.float32)
        scaled = resize(line, (LINE_HEIGHT, width))
        x[0, :, :, :width] = _normalized(scaled.reshape(LINE_HEIGHT, width, -1))
        answers.append(_decode(_session(RECOGNIZER).run(None, {"x": x})[0][0]))
    return answers


def _normalized(image: np.ndarray) -> np.ndarray:
    """[rows, columns, 1 or 3] uint8 to [3, rows, columns] float32 in [-1, 1], blue first as in training."""
    scaled = image[..., ::-1].transpose(2, 0, 1).astype(np.float32) / 127.5 - 1.0
    return np.ascontiguousarray(np.broadcast_to(scaled, (3, *scaled.shape[1:])))


@lru_cache(maxsize=1)
def _characters() -> tuple[str, ...]:
    listed = _session(RECOGNIZER).get_modelmeta().custom_metadata_map["character"].split("\n")
    return ("", *listed, " ")


def _decode(probability: np.ndarray) -> tuple[str, float]:
    """The likeliest character of each step, repeats and blanks dropped: [steps, characters]."""
    best = probability.argmax(1)
    kept = (best != 0) & np.concatenate([[True], best[1:] != best[:-1]])
    if not kept.any():
        return "", 0.0
    characters = _characters()
    return "".join(characters[i] for i in best[kept]), float(probability.max(1)[kept].mean())


def resize(image: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Bilinear, smoothed when it shrinks: [rows, columns] or [rows, columns, 3] uint8."""
    return np.asarray(Image.fromarray(image).resize((shape[1], shape[0]), Image.Resampling.BILINEAR))
