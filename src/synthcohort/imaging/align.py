"""Laying one small image over another: by which turn and mirror, then exactly, and how alike they are there.

Coordinates are normalized: (x, y) in [-1, 1] over a square view. A transform [2, 3] maps a place in the template to the
place in the query that shows the same. Only what lies in the inscribed disc of both is compared: there, a turn within
the frame brings no corner in.

Shape suffixes: P pairs, V places in the disc, S rows and columns, R rings, M harmonics.
"""

from functools import cache

import numpy as np

DISC = 0.9  # radius of what is compared in the template
EDGE = 0.95  # and in the query
LEAST_OVERLAP = 0.6  # share of the disc that both must show
ANGLES = 72
FREEDOM = 0.15  # how far a registration may move from where it began: of the linear part and of the shift


def best_turns(query_PRM: np.ndarray, template_PRM: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The turn that makes the query's harmonics most like the template's, as it is and mirrored.

    Returns the correlations there, [P, 2] float32 in [-1, 1], and the angles in radians [P, 2]; mirrored second.
    Bodies are so symmetric that the better of the two need not be the true one.
    """
    P, _, M = query_PRM.shape
    angles = np.arange(ANGLES, dtype=np.float32) * np.float32(2 * np.pi / ANGLES)
    waves = np.exp(1j * np.arange(M)[:, None] * angles).astype(np.complex64)
    both = np.stack([(template_PRM * query_PRM.conj()).sum(1), (template_PRM * query_PRM).sum(1)], 1).reshape(2 * P, M)
    values = both.real @ waves.real - both.imag @ waves.imag
    best = values.argmax(1)
    power = (np.abs(query_PRM) ** 2).sum((1, 2)) * (np.abs(template_PRM) ** 2).sum((1, 2))
    correlation = values[np.arange(2 * P), best].reshape(P, 2) / np.sqrt(power + 1e-12)[:, None]
    return correlation, angles[best].reshape(P, 2)


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


def _sampled(query_PSS: np.ndarray, x_PV: np.ndarray, y_PV: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Bilinear values of the queries at these places [P, V], and 1 where the place lies in the query's disc, else 0."""
    P, S, _ = query_PSS.shape
    shown = (x_PV * x_PV + y_PV * y_PV <= EDGE * EDGE).astype(np.float32)
    column = np.clip((x_PV + 1) * (S / 2) - 0.5, 0, S - 1.001)
    row = np.clip((y_PV + 1) * (S / 2) - 0.5, 0, S - 1.001)
    left, top = column.astype(np.int32), row.astype(np.int32)
    column -= left
    row -= top
    at = top * S + left + (np.arange(P, dtype=np.int32) * (S * S))[:, None]
    flat = query_PSS.reshape(-1)
    upper = flat.take(at)
    upper += column * (flat.take(at + 1) - upper)
    at += S
    lower = flat.take(at)
    lower += column * (flat.take(at + 1) - lower)
    return upper + row * (lower - upper), shown


def _standardized(x_PV: np.ndarray, mask_PV: np.ndarray) -> np.ndarray:
    """Mean 0 and squared sum 1 under the mask, 0 elsewhere; a constant becomes 0."""
    mean = np.einsum("pv,pv->p", x_PV, mask_PV) / np.maximum(mask_PV.sum(1), 1)
    centered = (x_PV - mean[:, None]) * mask_PV
    return centered / np.maximum(np.sqrt(np.einsum("pv,pv->p", centered, centered)), 1e-6)[:, None]


def register(
    template_PSS: np.ndarray, query_PSS: np.ndarray, transforms_P23: np.ndarray, steps: int, every_other: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Improves transforms by Gauss-Newton; the best met [P, 2, 3] and the correlation under the mask [P] there.

    Views are detail, float32. Steps that lead further than FREEDOM from the start are not taken; an overlap that is too
    small counts as -1. `every_other` looks at half of the places, nearly as good for choosing at half the cost.
    Source: Baker and Matthews 2004, inverse compositional algorithm, with gain and offset removed.
    """
    P, S, _ = template_PSS.shape
    inside, place_3V = _disc(S, every_other)
    flat = template_PSS.reshape(P, -1)
    template = flat[:, inside]
    slope_x = (flat[:, inside + 1] - flat[:, inside - 1]) * np.float32(S / 4)  # the disc leaves room at the border
    slope_y = (flat[:, inside + S] - flat[:, inside - S]) * np.float32(S / 4)
    inverse = _inverse_hessian(slope_x, slope_y, place_3V)
    start = np.concatenate([transforms_P23, np.broadcast_to(_LAST_ROW, (P, 1, 3))], 1)
    start_inverse = np.linalg.inv(start)
    current = start
    best, best_value = transforms_P23, np.full(P, -2.0, np.float32)
    for step in range(steps + 1):
        where = current[:, :2] @ place_3V
        seen, mask = _sampled(query_PSS, where[:, 0], where[:, 1])
        a, b = _standardized(template, mask), _standardized(seen, mask)
        value = np.einsum("pv,pv->p", a, b)
        value[mask.mean(1) < LEAST_OVERLAP] = -1.0
        better = value > best_value
        best = np.where(better[:, None, None], current[:, :2], best)
        best_value = np.where(better, value, best_value)
        if step == steps:
            break
        strength = np.sqrt(np.einsum("pv,pv->p", template * mask, template))
        error = (b - a) * strength[:, None]
        descent = np.concatenate([(slope_x * error) @ place_3V.T, (slope_y * error) @ place_3V.T], 1)
        change = (inverse @ descent[:, :, None]).reshape(P, 2, 3)
        update = np.concatenate([change, np.zeros((P, 1, 3), np.float32)], 1) + np.eye(3, dtype=np.float32)
        moved = current @ np.linalg.inv(update)
        current = np.where(_near(start_inverse @ moved)[:, None, None], moved, current).astype(np.float32)
    return best, best_value


def _inverse_hessian(slope_x_PV: np.ndarray, slope_y_PV: np.ndarray, place_3V: np.ndarray) -> np.ndarray:
    """The damped inverse of the Gauss-Newton matrix of an affine step: [P, 6, 6].

    Over the whole disc, though the query may show less of it: near enough for the size of a step.
    """
    products_V9 = (place_3V[:, None] * place_3V[None]).reshape(9, -1).T
    xx, xy, yy = (
        ((a * b) @ products_V9).reshape(-1, 3, 3)
        for a, b in ((slope_x_PV, slope_x_PV), (slope_x_PV, slope_y_PV), (slope_y_PV, slope_y_PV))
    )
    hessian = np.concatenate([np.concatenate([xx, xy], 2), np.concatenate([xy, yy], 2)], 1)
    damping = np.maximum(np.einsum("pii->pi", hessian), 1e-3) * 0.02
    return np.asarray(np.linalg.inv(hessian + damping[:, :, None] * np.eye(6, dtype=np.float32)))


_LAST_ROW = np.array([[0, 0, 1]], np.float32)


def _near(change_P33: np.ndarray) -> np.ndarray:
    """True where a change from the start is a small one: [P]."""
    return np.asarray(np.abs(change_P33 - np.eye(3)).max((1, 2)) <= FREEDOM)
