"""The token embeddings of many captions in memory-mapped files, so that training looks them up by number.

A folder holds `tokens.npy` [S, W] float16, the tokens of all captions one after the other; `starts.npy` [N + 1] int64,
where each caption begins; `text.json`: the encoder, and a digest of each caption. No caption is stored; but digests and
embeddings of short texts tell them to whoever guesses them, so the folder is as sensitive as the captions.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from synthcohort.core.errors import ArtifactError, InputError, Problem
from synthcohort.core.files import digest_bytes, read_artifact, read_json, remove, write_artifact, write_json
from synthcohort.core.kept import new_array
from synthcohort.core.progress import progress

if TYPE_CHECKING:
    from synthcohort.models.text import TextEncoder

FORMAT, VERSION = "text-table", 1
_CHUNK = 256  # captions between two notes of how far it got


@dataclass(frozen=True)
class TextTable:
    """Captions by row number; `length` T is what lookups are padded to."""

    flat: np.ndarray  # [S, W] float16
    starts: np.ndarray  # [N + 1] int64
    length: int
    numbers: Mapping[str, int]  # of a caption's digest

    def __len__(self) -> int:
        return len(self.starts) - 1

    def rows(self, strings: Sequence[str]) -> np.ndarray:
        """The row [N] int64 of each string. Raises InputError with the count of those that are not in the table."""
        found = [self.numbers.get(_digest(text), -1) for text in strings]
        missing = found.count(-1)
        if missing:
            raise InputError(Problem("text table", f"{missing} of {len(found)} texts are not in it"))
        return np.array(found, dtype=np.int64)

    def tokens(self, rows: Sequence[int] | np.ndarray) -> tuple[Tensor, Tensor]:
        """Token embeddings [B, T, W] float32, zeros where there is none, and where there is one [B, T] bool.

        A table without captions has no rows; whatever is asked of it is silent.
        """
        tokens_BTW = torch.zeros(len(rows), self.length, self.flat.shape[1])
        mask_BT = torch.zeros(len(rows), self.length, dtype=torch.bool)
        if not len(self):
            return tokens_BTW, mask_BT
        for i, row in enumerate(np.asarray(rows).tolist()):
            if not 0 <= row < len(self):
                raise IndexError(f"row {row} of a text table of {len(self)}")
            own = np.array(self.flat[self.starts[row] : self.starts[row + 1]])
            tokens_BTW[i, : len(own)] = torch.from_numpy(own)
            mask_BT[i, : len(own)] = True
        return tokens_BTW, mask_BT

    def sentences(self, rows: Sequence[int] | np.ndarray) -> np.ndarray:
        """The mean of each row's tokens, scaled to length 1, [B, W] float32; zeros for a caption without words."""
        means = np.zeros((len(rows), self.flat.shape[1]), dtype=np.float32)
        for i, row in enumerate(np.asarray(rows).tolist()):
            own = self.flat[self.starts[row] : self.starts[row + 1]]
            if len(own):
                mean = own.mean(axis=0, dtype=np.float64)
                means[i] = mean / np.linalg.norm(mean)
        return means


def text_table(folder: Path, strings: Sequence[str], encoder: "TextEncoder") -> TextTable:
    """The table of these strings in `folder`: one that holds them all is used as it is, else it is made anew.

    A kill loses little: what is embedded stays in a folder beside it, and the same call goes on from there.
    """
    texts = list(dict.fromkeys(strings))
    digests = [_digest(text) for text in texts]
    there = _open(folder, encoder)
    if there is not None and all(digest in there.numbers for digest in digests):
        return there
    partial = folder.with_name(f".{folder.name}.partial")
    said = {"encoder": encoder.digest, "length": encoder.length, "texts": digests}
    _embed_all(partial, texts, said, encoder)
    remove(folder)  # killed here, the next call finds the partial folder complete
    partial.replace(folder)
    remove(folder / "progress.json")
    table = _open(folder, encoder)
    assert table is not None
    return table


def _embed_all(partial: Path, texts: Sequence[str], said: Mapping[str, object], encoder: "TextEncoder") -> None:
    """Fills the partial folder; what an earlier call for the same texts got done is kept."""
    sizes = np.minimum(encoder.count(texts), encoder.length)
    starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    shape = (int(starts[-1]), encoder.width)
    note = partial / "progress.json"
    if not _is_for(partial, said) or not note.exists():
        remove(partial)
        partial.mkdir(parents=True)
        np.save(partial / "starts.npy", starts)
        flat = new_array(partial / "tokens.npy", np.float16, shape)
        write_artifact(partial / "text.json", FORMAT, VERSION, said)
        write_json(note, {"done": 0})
    else:
        flat = np.lib.format.open_memmap(partial / "tokens.npy", mode="r+")
    done = read_json(note)["done"]
    if done == len(texts):
        return
    with progress(len(texts), "captions", unit="texts", start=done) as advance:
        for first in range(done, len(texts), _CHUNK):
            chunk = texts[first : first + _CHUNK]
            for row, text in enumerate(chunk, first):
                flat[starts[row] : starts[row + 1]] = encoder.embed(text)
                advance()
            flat.flush()
            write_json(note, {"done": first + len(chunk)})


def _is_for(folder: Path, said: Mapping[str, object]) -> bool:
    try:
        content = read_artifact(folder / "text.json", FORMAT, VERSION)
    except ArtifactError:
        return False
    return {key: content.get(key) for key in said} == dict(said)


def _open(folder: Path, encoder: "TextEncoder") -> TextTable | None:
    """The table in a folder, when it is whole and of this encoder."""
    try:
        content = read_artifact(folder / "text.json", FORMAT, VERSION)
        starts = np.load(folder / "starts.npy")
        flat = np.load(folder / "tokens.npy", mmap_mode="r")
    except (ArtifactError, OSError, ValueError):
        return None
    digests = content.get("texts", [])
    whole = len(starts) == len(digests) + 1 and flat.shape == (starts[-1], encoder.width)
    if not whole or (content.get("encoder"), content.get("length")) != (encoder.digest, encoder.length):
        return None
    return TextTable(flat, starts, encoder.length, {digest: row for row, digest in enumerate(digests)})


def _digest(text: str) -> str:
    return digest_bytes(text.encode("utf-8", "surrogatepass"))
