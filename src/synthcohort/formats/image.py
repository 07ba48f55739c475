"""What every reader gives: pixels with the facts needed to understand them, and apart from these, who they are of."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from synthcohort.core.errors import InputError

MAX_PIXELS = 2**28


class Unreadable(InputError):
    """A file that is refused; the message is one sentence fit for a list, and holds no value from the file's header."""


@dataclass(frozen=True)
class Image:
    """One decoded image. `facts` may travel after cleaning; `identifiers` may not, and are for hashing alone.

    facts: modality, body_part, laterality, view, manufacturer, sex, age (years): as the header says them, or absent.
    identifiers: patient_id, series_uid, sop_instance_uid.
    notes: what was changed on the way, in words without values, for example that MONOCHROME1 was inverted.
    """

    pixels: np.ndarray  # [rows, columns] or [rows, columns, 3]; uint8, uint16 or int16
    bits_stored: int
    pixel_spacing_mm: tuple[float, float] | None = None  # between rows, between columns
    window: tuple[float, float] | None = None  # center and width, in the units of `pixels`
    facts: Mapping[str, Any] = field(default_factory=dict)
    identifiers: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
