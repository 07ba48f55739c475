"""Laying one small image over another: by which turn and mirror, then exactly, and how alike they are there.

Coordinates are normalized: (x, y) in [-1, 1] over a square view. A transform [2, 3] maps a place in the template to the
place in the query that shows the same. Only what lies in the inscribed disc of both is compared: there, a turn within
the frame brings no corner in.

Shape suffixes: P pairs, T and Q distinct templates and queries, V places in the disc, S rows and columns, C harmonics.
"""

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import DTypeLike

from synthcohort.imaging.fingerprint import HARMONIC

DISC = 0.9  # radius of what is compared in the template
EDGE = 0.95  # and in the query
LEAST_OVERLAP = 0.6  # share of the disc that both must show
ANGLES = 72
FREEDOM = 0.15  # how far a registration may move from where it began: of the linear part and of the shift


def best_turns(query_PX: np.ndarray, template_PX: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The turn that makes the query's harmonics most like the template's, as it is and mirrored.

    Harmonics are [P, 2 * C], real parts before imaginary parts. Returns the correlations there, [P, 2] float32 in
    [-1, 1], and the angles in radians [P, 2]; mirrored second. Bodies are so symmetric that the better of the two need
    not be the true one.
    """
    P, C = len(query_PX), query_PX.shape[1] // 2
    (q_real, q_imag), (t_real, t_imag) = ((x[:, :C], x[:, C:]) for x in (query_PX, template_PX))
    straight, crossed = t_real * q_real, t_imag * q_real
    both = np.empty((2, P, 2, C), np.float32)
    other = t_imag * q_imag
    np.add(straight, other, out=both[0, :, 0])
    np.subtract(straight, other, out=both[1, :, 0])
    np.multiply(t_real, q_imag, out=other)
    np.subtract(crossed, other, out=both[0, :, 1])
    np.add(crossed, other, out=both[1, :, 1])
    values = both.reshape(2 * P, 2 * C) @ _waves()
    best = values.argmax(1)
    power = np.vecdot(query_PX, query_PX) * np.vecdot(template_PX, template_PX)
    correlation = values[np.arange(2 * P), best].reshape(2, P) / np.sqrt(power + np.float32(1e-12))
    return correlation.T, _angles()[best].reshape(2, P).T


@cache
def _angles() -> np.ndarray:
    return np.arange(ANGLES, dtype=np.float32) * np.float32(2 * np.pi / ANGLES)


@cache
def _waves() -> np.ndarray:
    """What a turn by each angle does to harmonics: [2 * C, ANGLES] float32."""
    phase = HARMONIC[:, None] * _angles().astype(np.float64)
    return np.concatenate([np.cos(phase), -np.sin(phase)]).astype(np.float32)


def similarity_transforms(
    angle_P: np.ndarray, mirrored_P: np.ndarray, scale_P: np.ndarray, center_P2: np.ndarray
) -> np.ndarray:
    """Transforms [P, 2, 3] into the query's square of this scale and center, turned by the angle, then mirrored."""
    cos, sin = np.cos(angle_P) * scale_P, np.sin(angle_P) * scale_P
    flip = np.where(mirrored_P, -1.0, 1.0)
    rows = [np.stack([cos, sin, center_P2[:, 0]], 1), np.stack([-sin * flip, cos * flip, center_P2[:, 1]], 1)]
    return np.stack(rows, 1).astype(np.float32)


def in_disc(size: int) -> np.ndarray:
    """Positions of a flattened view's pixels that are compared: [V]."""
    return _disc(size)[0]


@cache
def _disc(size: int, every_other: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """The places of a view that are compared, or every other like a chessboard's: positions [V], (x, y, 1) [3, V]."""
    line = (np.arange(size) * 2 + 1) / size - 1
    y, x = np.meshgrid(line, line, indexing="ij")
    board = np.add.outer(np.arange(size), np.arange(size)).ravel() % 2
    inside = np.flatnonzero((np.hypot(x, y).ravel() <= DISC) & (board <= 1 - every_other))
    return inside, np.stack([x.ravel()[inside], y.ravel()[inside], np.ones(len(inside))]).astype(np.float32)


class Room:
    """Memory for intermediate results, used again by the next call: fresh memory costs more than filling it. One thread
    at a time may use it."""

    def __init__(self) -> None:
        self._held: dict[str, np.ndarray] = {}

    def array(self, name: str, shape: tuple[int, ...], dtype: DTypeLike = np.float32) -> np.ndarray:
        size = math.prod(shape)
        held = self._held.get(name)
        if held is None or held.size < size:
            held = self._held[name] = np.empty(size, dtype)
        return held[:size].reshape(shape)


@dataclass(frozen=True)
class Templates:
    """What registration needs to know of views that others are laid over: at V places, of all or of every other."""

    slopes: np.ndarray  # [T, 2, V] float32: along x and along y
    values: np.ndarray  # [T, V] float32
    inverse: np.ndarray  # [T, 6, 6] float32: of the damped Gauss-Newton matrix of an affine step
    every_other: bool


def make_templates(views_TSS: np.ndarray, every_other: bool = False) -> Templates:
    """Templates of views (detail, float32). `every_other` looks at half of the places, nearly as good for choosing at
    half the cost.

    The matrix is over the whole disc, though the query may show less of it: near enough for the size of a step.
    """
    T, S, _ = views_TSS.shape
    inside = _disc(S, every_other)[0]
    flat = views_TSS.reshape(T, -1)
    slopes = np.empty((T, 2, len(inside)), np.float32)
    for axis, next_one in enumerate((1, S)):  # the disc leaves room at the border
        np.subtract(flat[:, inside + next_one], flat[:, inside - next_one], out=slopes[:, axis])
    slopes *= np.float32(S / 4)
    along_x, along_y = slopes[:, 0], slopes[:, 1]
    products = np.stack([along_x * along_x, along_x * along_y, along_y * along_y])
    sums = products.reshape(3 * T, -1) @ _products(S, every_other)
    xx, xy, yy = sums[:, [0, 1, 2, 1, 3, 4, 2, 4, 5]].reshape(3, T, 3, 3)
    hessian = np.concatenate([np.concatenate([xx, xy], 2), np.concatenate([xy, yy], 2)], 1)
    damping = np.maximum(np.einsum("pii->pi", hessian), 1e-3) * 0.02
    inverse = np.linalg.inv(hessian + damping[:, :, None] * np.eye(6, dtype=np.float32))
    return Templates(slopes, flat[:, inside], inverse.astype(np.float32, copy=False), every_other)


def register(
    templates: Templates,
    query_QSS: np.ndarray,
    transforms_P23: np.ndarray,
    steps: int,
    template_of: np.ndarray | None = None,
    query_of: np.ndarray | None = None,
    room: Room | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Improves transforms by Gauss-Newton; the best met [P, 2, 3] and the correlation under the mask [P] there.

    Queries are detail, float32. `template_of` and `query_of` [P] say which view each pair is of; None: in order. Steps
    that lead further than FREEDOM from the start are not taken; an overlap that is too small counts as -1.
    Source: Baker and Matthews 2004, inverse compositional algorithm, with gain and offset removed.
    """
    room = room or Room()
    P, S = len(transforms_P23), query_QSS.shape[-1]
    place_3V = _disc(S, templates.every_other)[1]
    V = place_3V.shape[1]
    own = np.arange(P) if template_of is None else template_of
    template = templates.values.take(own, 0, out=room.array("template", (P, V)), mode="clip")
    if steps:
        slopes = templates.slopes.take(own, 0, out=room.array("slopes", (P, 2, V)), mode="clip")
        inverse = templates.inverse[own]
    base = (np.arange(P) if query_of is None else query_of).astype(np.float32)[:, None]
    base *= S * S  # exact: blocks hold fewer than 2**24 numbers
    start_inverse = _inverse(transforms_P23)
    current = transforms_P23
    best, best_value = transforms_P23, np.full(P, -2.0, np.float32)
    for step in range(steps + 1):
        seen, mask = _sampled(query_QSS, current, place_3V, base, room)
        value, error = _compared(template, seen, mask, step < steps, room)
        better = value > best_value
        best = np.where(better[:, None, None], current, best)
        best_value = np.where(better, value, best_value)
        if error is None:
            break
        pulls = np.multiply(slopes, error[:, None], out=room.array("pulls", (P, 2, V)))
        change = inverse @ (pulls.reshape(2 * P, V) @ place_3V.T).reshape(P, 6, 1)
        moved = _composed(current, _inverse(change.reshape(P, 2, 3) + _UNIT))
        near = np.abs(_composed(start_inverse, moved) - _UNIT).max((1, 2)) <= FREEDOM
        current = np.where(near[:, None, None], moved, current)
    return best, best_value


_UNIT = np.eye(2, 3, dtype=np.float32)


@cache
def _products(size: int, every_other: bool) -> np.ndarray:
    """xx, xy, x, yy, y and 1 of each place: [V, 6]."""
    x, y, one = _disc(size, every_other)[1]
    return np.stack([x * x, x * y, x, y * y, y, one], 1)


def _sampled(
    query_QSS: np.ndarray, transforms_P23: np.ndarray, place_3V: np.ndarray, base_P1: np.ndarray, room: Room
) -> tuple[np.ndarray, np.ndarray]:
    """Bilinear values of the queries where transforms lead [P, V], 0 outside of the query's disc, and 1 inside of it.

    `base` is where the pair's query begins among the numbers of all.
    """
    P, S, V = len(transforms_P23), query_QSS.shape[-1], place_3V.shape[1]
    # In pixels from the middle of the view.
    lead = (transforms_P23 * np.float32(S / 2)).transpose(1, 0, 2).reshape(2 * P, 3)
    at = np.matmul(lead, place_3V, out=room.array("at", (2 * P, V))).reshape(2, P, V)
    square = np.multiply(at, at, out=room.array("square", (2, P, V)))
    reach = square[0]
    reach += square[1]
    mask = np.less_equal(reach, np.float32((EDGE * S / 2) ** 2), out=room.array("mask", (P, V)), casting="unsafe")
    at += np.float32(S / 2 - 0.5)
    whole = np.trunc(at, out=square)  # inside of the disc nothing is negative
    at -= whole
    column, row = at
    index = whole[1]
    index *= np.float32(S)
    index += whole[0]
    index += base_P1
    corner = room.array("corner", (P, V), np.intp)
    corner[...] = index
    flat = query_QSS.reshape(-1)
    # Outside of the disc places may lie outside of the view: what is found there is masked.
    upper, lower, right = (
        flat[first:].take(corner, mode="clip", out=room.array(name, (P, V)))
        for first, name in ((0, "upper"), (S, "lower"), (1, "right"))
    )
    right -= upper
    right *= column
    upper += right
    flat[S + 1 :].take(corner, mode="clip", out=right)
    right -= lower
    right *= column
    lower += right
    lower -= upper
    lower *= row
    upper += lower
    upper *= mask
    return upper, mask


def _compared(
    template_PV: np.ndarray, seen_PV: np.ndarray, mask_PV: np.ndarray, moving: bool, room: Room
) -> tuple[np.ndarray, np.ndarray | None]:
    """The correlation under the mask [P], and what the template misses of what is seen there [P, V], in its scale.

    `seen` is 0 outside of the mask. The mask is no longer one afterwards.
    """
    V = template_PV.shape[1]
    masked = np.multiply(template_PV, mask_PV, out=room.array("masked", template_PV.shape))
    ones = np.ones(V, np.float32)
    shown = mask_PV @ ones
    count = np.maximum(shown, 1)
    a_mean, b_mean = masked @ ones / count, seen_PV @ ones / count
    power = np.vecdot(masked, masked)
    a_size = np.maximum(np.sqrt(np.maximum(power - a_mean * a_mean * count, 0)), np.float32(1e-6))
    b_power = np.vecdot(seen_PV, seen_PV) - b_mean * b_mean * count
    b_size = np.maximum(np.sqrt(np.maximum(b_power, 0)), np.float32(1e-6))
    value = (np.vecdot(masked, seen_PV) - a_mean * b_mean * count) / (a_size * b_size)
    value[shown < LEAST_OVERLAP * V] = -1.0
    if not moving:
        return value, None
    strength = np.sqrt(power)
    a_gain, b_gain = strength / a_size, strength / b_size
    seen_PV *= b_gain[:, None]
    masked *= a_gain[:, None]
    seen_PV -= masked
    mask_PV *= (a_gain * a_mean - b_gain * b_mean)[:, None]
    seen_PV += mask_PV
    return value, seen_PV


def _inverse(transforms_P23: np.ndarray) -> np.ndarray:
    """The transforms that lead back: [P, 2, 3]."""
    (a, b, x), (c, d, y) = transforms_P23.transpose(1, 2, 0)
    scale = 1 / (a * d - b * c)
    result = np.empty_like(transforms_P23)
    result[:, 0, 0], result[:, 0, 1], result[:, 1, 0], result[:, 1, 1] = d * scale, -b * scale, -c * scale, a * scale
    result[:, 0, 2] = (b * y - d * x) * scale
    result[:, 1, 2] = (c * x - a * y) * scale
    return result


def _composed(outer_P23: np.ndarray, inner_P23: np.ndarray) -> np.ndarray:
    """What first `inner` and then `outer` do: [P, 2, 3]."""
    result = outer_P23[:, :, :2] @ inner_P23
    result[:, :, 2] += outer_P23[:, :, 2]
    return np.asarray(result)
