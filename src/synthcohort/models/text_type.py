"""Which image type a prompt speaks of: told by its words and by its likeness to the training captions, or refused.

Words decide first. A type whose captions always speak of a method or a part of the body is none that a prompt with
another method or part can mean; one that the prompt names by method and part is meant. Among what is left, the prompt's
sentence vector is compared with the mean of each type's captions. The settings were chosen on prompts that are not
those of docs/experiments/2026-11-25-text-encoder.md.
"""

import base64
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from synthcohort.core.errors import InputError, Problem
from synthcohort.models.image_words import Cues, cues

if TYPE_CHECKING:
    from synthcohort.models.text import TextEncoder

# A prompt must be this part as near to a type's mean as half of the type's captions are.
_NEAR = 0.6
# Types whose likeness differs by less are equally near.
_MARGIN = 0.06
# A type speaks of methods (parts) when this share of its captions names the most frequent one. It is made by methods
# that are about as frequent (dermoscopy may be confirmed by histology, and is none); the parts it shows may be rare.
_SPEAKS, _METHODS, _PARTS = 0.3, 0.5, 0.01


@dataclass(frozen=True)
class TypeGuess:
    """The image types of a generator as its training captions describe them; no caption is kept.

    names       of the types that have captions
    means       [K, W] float16 unit vectors: the mean of a type's captions
    thresholds  likeness below which a prompt is not about the type
    said        the methods and parts that each type's captions name; empty where they name none
    allowed     all types of the generator, for messages
    """

    names: tuple[str, ...]
    means: np.ndarray
    thresholds: tuple[float, ...]
    said: tuple[Cues, ...]
    allowed: tuple[str, ...]

    @classmethod
    def fit(cls, captions: Mapping[str, Sequence[str]], vectors: Mapping[str, np.ndarray]) -> "TypeGuess":
        """From the distinct training captions of each type and their sentence vectors [N, W]."""
        names = tuple(name for name, texts in captions.items() if any(text.strip() for text in texts))
        means, thresholds, said = [], [], []
        for name in names:
            own = vectors[name][np.any(vectors[name], axis=1)].astype(np.float64)
            mean = own.mean(axis=0)
            means.append((mean / np.linalg.norm(mean)).astype(np.float16))
            thresholds.append(round(_NEAR * float(np.median(own @ means[-1].astype(np.float64))), 4))
            found = [cues(text) for text in captions[name]]
            said.append(Cues(_usual((i.methods for i in found), _METHODS), _usual((i.parts for i in found), _PARTS)))
        stacked = np.stack(means) if means else np.zeros((0, 0), np.float16)
        return cls(names, stacked, tuple(thresholds), tuple(said), tuple(captions))

    def guess(self, prompt: str, encoder: "TextEncoder") -> str:
        """The type that a prompt speaks of. Raises InputError when that is none, or more than one."""
        return self.of(prompt, encoder.sentences([prompt])[0])

    def of(self, prompt: str, vector: np.ndarray) -> str:
        """The same, of a prompt and its sentence vector [W]."""
        if not self.names or not prompt.strip():
            raise InputError(self._problem("does not say which image type"))
        words = cues(prompt)
        possible = [k for k, own in enumerate(self.said) if not _contradicts(words, own)]
        if not possible:
            spoken = ", ".join(sorted(words.methods)) or "no method"
            parts = ", ".join(sorted(words.parts)) or "no part of the body"
            raise InputError(self._problem(f"speaks of an image type that was not trained on ({spoken}; {parts})"))
        likeness = self.means.astype(np.float64) @ vector.astype(np.float64)
        named = [k for k in possible if words.methods & self.said[k].methods and words.parts & self.said[k].parts]
        order = sorted(named or possible, key=lambda k: -likeness[k])
        best = order[0]
        if not named and likeness[best] < self.thresholds[best]:
            nearest = " and ".join(self.names[k] for k in order[:2])
            raise InputError(self._problem(f"speaks of no image type that was trained on (nearest: {nearest})"))
        equal = [self.names[k] for k in order if likeness[k] > likeness[best] - _MARGIN]
        if len(equal) > 1:
            raise InputError(self._problem(f"fits {' and '.join(equal)} about equally"))
        return self.names[best]

    def _problem(self, found: str) -> Problem:
        return Problem("prompt", found, f"image types {', '.join(self.allowed)}", "say which one with image_type=…")

    def to_mapping(self) -> dict[str, Any]:
        """For model.json; the means as base64 of little-endian float16."""
        said = [{"methods": sorted(own.methods), "parts": sorted(own.parts)} for own in self.said]
        means = [base64.b64encode(mean.astype("<f2").tobytes()).decode() for mean in self.means]
        return {
            "names": list(self.names), "means": means, "thresholds": list(self.thresholds), "said": said,
            "allowed": list(self.allowed),
        }  # fmt: skip

    @classmethod
    def from_mapping(cls, content: Mapping[str, Any]) -> "TypeGuess":
        means = [np.frombuffer(base64.b64decode(mean), "<f2") for mean in content["means"]]
        said = [Cues(frozenset(own["methods"]), frozenset(own["parts"])) for own in content["said"]]
        return cls(
            tuple(content["names"]),
            np.stack(means) if means else np.zeros((0, 0), np.float16),
            tuple(content["thresholds"]),
            tuple(said),
            tuple(content["allowed"]),
        )


def _usual(found: Iterable[frozenset[str]], share: float) -> frozenset[str]:
    """What captions name, at least `share` times as often as the most frequent; nothing when most name none."""
    listed = list(found)
    counts = Counter(name for own in listed for name in own)
    most = max(counts.values(), default=0)
    return frozenset(name for name, count in counts.items() if count >= share * most and most >= _SPEAKS * len(listed))


def _contradicts(words: Cues, own: Cues) -> bool:
    pairs = ((words.methods, own.methods), (words.parts, own.parts))
    return any(bool(asked and said and not asked & said) for asked, said in pairs)
