"""The owner's private page: synthetic images beside the real ones nearest to them. It must never leave."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from synthcohort.pages.render import render


@dataclass(frozen=True)
class Pair:
    """A synthetic image and the training image nearest to it."""

    synthetic: bytes  # PNG
    real: bytes  # PNG
    synthetic_id: str
    real_id: str
    similarity: float
    flagged: bool = False  # nearer than the policy allows
    note: str = ""


def render_owner(
    name: str,
    pairs: Sequence[Pair],
    threshold: float | None = None,
    control: Mapping[str, Any] | None = None,
    measure: str = "similarity",
    meaning: str = "",
    sheets: Mapping[str, tuple[bytes, bytes]] | None = None,
) -> str:
    """The pairs most alike first, as the caller orders them; `sheets` maps a class to (real PNG, synthetic PNG).

    `threshold` is the similarity from which a pair counts as a copy, `control` the same figure for control patients
    (`value`, `low`, `high`), `meaning` what the measure is.
    """
    return render(
        "owner.html",
        title=f"Private: {name} beside its real images",
        pairs=pairs,
        flagged=sum(pair.flagged for pair in pairs),
        threshold=threshold,
        control=control,
        measure=measure,
        meaning=meaning,
        sheets=sheets or {},
    )
