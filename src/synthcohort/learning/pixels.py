"""Pixels for learners: arrays, lists of arrays and cohort views, all read the same way, a batch at a time.

Shape suffixes: B images, C channels, H rows, W columns.
"""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from synthcohort.core.cohort import Cohort
from synthcohort.core.files import digest_array, digest_json
from synthcohort.imaging.intensity import ValueRange, to_unit, value_range_of

Images = Cohort | np.ndarray | Sequence[np.ndarray]


class Pixels:
    """Images [rows, columns] or [rows, columns, 3] of any integer or float dtype, given as float32 in [-1, 1].

    `size` None keeps the stored shape. `value_range` None takes the source's own (floats are taken to be in [-1, 1]);
    give it where several sources must be on one scale.
    """

    def __init__(
        self,
        source: Images,
        size: int | None = None,
        channels: int | None = None,
        value_range: ValueRange | None = None,
    ) -> None:
        self.source, self.size = source, size
        first = self.stored(0) if len(source) else np.zeros((1, 1), np.uint8)
        self.channels = channels or (1 if first.ndim == 2 else first.shape[2])
        self.shape = first.shape[:2]
        if value_range is None and first.dtype.kind != "f":
            bits = source.column("bits_stored") if isinstance(source, Cohort) else None
            wide = first.dtype.kind in "ui" and first.dtype.itemsize <= 2 and first.dtype != np.int8
            value_range = value_range_of(first.dtype, bits) if wide else None
        self.value_range = value_range

    def __len__(self) -> int:
        return len(self.source)

    def stored(self, index: int) -> np.ndarray:
        """One image as it is stored."""
        return self.source.image(int(index)) if isinstance(self.source, Cohort) else np.asarray(self.source[int(index)])

    def batch(self, indices: Sequence[int] | np.ndarray) -> Tensor:
        """Images at these positions: float32 [B, C, H, W] in [-1, 1]."""
        images = [self.stored(index) for index in indices]
        if len({image.shape for image in images}) == 1:
            return self._prepare(np.stack(images))
        if self.size is None:
            raise ValueError("images of several shapes need a size")
        return torch.cat([self._prepare(image[None]) for image in images])

    def _prepare(self, images: np.ndarray) -> Tensor:
        if self.value_range is not None:
            unit = to_unit(images, self.value_range)
        elif images.dtype.kind == "f":
            unit = images.astype(np.float32)
        else:
            raise ValueError(f"dtype {images.dtype}; allowed: uint8, uint16, int16, float")
        x = torch.from_numpy(np.ascontiguousarray(unit))
        x_BCHW = x[:, None] if x.ndim == 3 else x.permute(0, 3, 1, 2)
        if x_BCHW.shape[1] != self.channels:
            x_BCHW = x_BCHW.mean(dim=1, keepdim=True).expand(-1, self.channels, -1, -1)
        if self.size is not None and x_BCHW.shape[2:] != (self.size, self.size):
            x_BCHW = F.interpolate(
                x_BCHW.contiguous(), size=(self.size, self.size), mode="bilinear", antialias=True, align_corners=False
            )
        return x_BCHW.contiguous()

    def digest(self) -> str:
        """Digest of the pixels in order; a cohort knows it without reading them."""
        if isinstance(self.source, Cohort):
            return self.source.pixels_digest
        if isinstance(self.source, np.ndarray):
            return digest_array(self.source)
        return digest_json([digest_array(np.asarray(image)) for image in self.source])
