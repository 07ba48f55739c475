"""The weights of a trained model for another of the same network: new columns, values, image types, sizes, channels.

What both models know is taken over; what only the new one knows starts fresh. Nothing is dropped in silence: a network
of another shape is an error.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from synthcohort.core.errors import ConfigError, Problem
from synthcohort.models.checkpoint import ModelSpec
from synthcohort.models.condition import Vocabulary
from synthcohort.models.layers import resized

EMBEDDING = "network.condition_embedding."


def transferred(old: Mapping[str, Tensor], old_spec: ModelSpec, spec: ModelSpec) -> dict[str, Tensor]:
    """Weights for a denoiser of `spec`, from those of `old_spec`; draws the rest from torch's global generator.

    Raises ConfigError when the two networks differ in more than what they are conditioned on and the size and number
    of channels of their images.
    """
    if old_spec.network != spec.network:
        raise ConfigError(
            Problem(
                "setting train.network",
                "is another network than that of the run to start from",
                remedy="leave train.network as it was, or train from the beginning",
            )
        )
    if (old_spec.vocabulary.text is None) != (spec.vocabulary.text is None) or (
        old_spec.vocabulary.text is not None
        and spec.vocabulary.text is not None
        and old_spec.vocabulary.text.width != spec.vocabulary.text.width
    ):
        was = old_spec.vocabulary.text.encoder if old_spec.vocabulary.text else "none"
        raise ConfigError(Problem("setting train.text", "differs from the run to start from", repr(was)))
    new = spec.build().state_dict()
    places = _places(old_spec.vocabulary, spec.vocabulary)
    unfit = []
    for name, fresh in new.items():
        if name.startswith(EMBEDDING + "tables."):
            continue
        if name in (EMBEDDING + "null", EMBEDDING + "place"):
            for to, back in places.items():
                fresh[to] = old[name][back]
        elif name == EMBEDDING + "augment.weight":
            if name in old:
                fresh.copy_(old[name])
        elif name not in old:
            unfit.append(name)
        elif old[name].shape == fresh.shape:
            fresh.copy_(old[name])
        elif name.endswith(".position") and old[name].shape[:2] == fresh.shape[:2]:
            fresh.copy_(resized(old[name], tuple(fresh.shape[2:])))
        elif name.rpartition(".")[0].endswith(("stem", "head")):
            fresh.copy_(_recolored(old[name], fresh, name, old_spec.channels, spec.channels))
        else:
            unfit.append(name)
    if unfit:
        raise ConfigError(Problem("run to start from", f"its weights do not fit: {', '.join(unfit[:3])}"))
    for to, back in places.items():
        _take_over(old, new, old_spec.vocabulary, spec.vocabulary, back, to)
    return new


def _places(old: Vocabulary, new: Vocabulary) -> dict[int, int]:
    """Positions in the new vocabulary of columns that the old one has too, with their positions there."""
    before = {(c.label.name, c.label.kind): i for i, c in enumerate(old.columns)}
    keys = [(c.label.name, c.label.kind) for c in new.columns]
    return {i: before[key] for i, key in enumerate(keys) if key in before}


def _take_over(
    old: Mapping[str, Tensor], new: dict[str, Tensor], old_words: Vocabulary, words: Vocabulary, back: int, to: int
) -> None:
    """One column's table: the vectors of values that both know, or the map of a number."""
    label, before = words.columns[to].label, old_words.columns[back].label
    for part in ("weight", "bias"):
        name, source = f"{EMBEDDING}tables.{to}.{part}", old.get(f"{EMBEDDING}tables.{back}.{part}")
        if source is None or name not in new:
            continue
        if label.kind == "continuous":
            new[name].copy_(source)
            continue
        for row, value in enumerate(label.values):
            if value in before.values:
                new[name][row] = source[before.values.index(value)]


def _recolored(old: Tensor, fresh: Tensor, name: str, channels: int, wanted: int) -> Tensor:
    """Weights at the image's side for another number of channels; a gray image shown in color gives the same result."""
    axis = 1 if name.endswith("stem.weight") else 0
    planes = old.unflatten(axis, (channels, old.shape[axis] // channels))
    if name.endswith("stem.weight"):  # sums over the channels stay as they were
        spread = planes.mean(axis, keepdim=True) * (channels / wanted)
    else:
        spread = planes.mean(axis, keepdim=True)
    whole = spread.expand(*planes.shape[:axis], wanted, *planes.shape[axis + 1 :]).flatten(axis, axis + 1)
    if name.endswith("stem.bias"):
        return old
    return whole.reshape(fresh.shape)


@torch.no_grad()
def start_weights(old: Mapping[str, Tensor], old_spec: ModelSpec, spec: ModelSpec, seed: int) -> dict[str, Tensor]:
    """`transferred`, with the fresh weights drawn from `seed`."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return transferred(old, old_spec, spec)
