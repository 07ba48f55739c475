"""The data profile of a cohort of real images: what a data manager would print. It shows patients: it stays inside."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup

from synthcohort.core.cohort import ROLES, Cohort, LabelColumn
from synthcohort.pages.grids import class_sheets, spread
from synthcohort.pages.render import render

MOST_VALUES = 30  # rows of a table of values; the rest is one row
MOST_SIZES = 10
MOST_SHEETS = 12
SAMPLE, PIXELS = 400, 4096  # images whose intensities are read, and pixels of each, at even steps
BINS = 64
ATTRIBUTES = ("modality", "body_part", "view", "laterality", "sex", "ethnicity", "site", "manufacturer")


@dataclass(frozen=True)
class Bar:
    """A value with its count; `share` is of the largest count and sets the bar's length."""

    name: str
    count: int
    share: float
    roles: tuple[int, ...] = ()


@dataclass(frozen=True)
class Field:
    """A column: how many images have it, and its values as bars."""

    name: str
    kind: str
    known: int
    missing: int
    bars: tuple[Bar, ...]
    note: str = ""


@dataclass(frozen=True)
class Histogram:
    """Gray values of a sample of images: bars of equal width between two values."""

    kind: str
    images: int
    low: float
    high: float
    mean: float
    std: float
    svg: Markup


def render_profile(cohort: Cohort, result: Mapping[str, Any]) -> str:
    """The page for a cohort and what ingest said of it (its result: counts, reasons, columns, warnings, ...)."""
    sheets = list(class_sheets(cohort, per_class=12, columns=6).items()) if len(cohort) else []
    return render(
        "profile.html",
        title=f"Private: data profile of {cohort.name}",
        cohort=cohort,
        result=result,
        roles=_roles(result),
        known_patients=any(part["patients"] for part in result["roles"].values()),
        labels=[_field(cohort, name, label) for name, label in cohort.labels.items()],
        attributes=[field for name in ATTRIBUTES if (field := _field(cohort, name)).known],
        absent=[name for name in (*ATTRIBUTES, "age", "pixel_spacing_mm", "caption") if not _known(cohort, name)],
        ages=_ages(cohort),
        sizes=_bars(
            [f"{c} × {r} pixels" for c, r in zip(cohort.column("columns"), cohort.column("rows"), strict=True)],
            most=MOST_SIZES,
        ),
        kinds=_bars(_kinds(cohort)),
        spacings=_bars([_spacing(value) for value in cohort.column("pixel_spacing_mm")], most=MOST_SIZES),
        histograms=_histograms(cohort),
        captions=_captions(cohort),
        sheets=sheets[:MOST_SHEETS],
        more_sheets=max(0, len(sheets) - MOST_SHEETS),
        role_names=ROLES,
    )


def _roles(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    total = sum(part["images"] for part in result["roles"].values()) or 1
    return [
        {"role": role, "share": part["images"] / total, **part}
        for role, part in ((role, result["roles"][role]) for role in ROLES)
    ]


def _known(cohort: Cohort, name: str) -> int:
    return len(cohort) - cohort.records.column(name).null_count


def _field(cohort: Cohort, name: str, label: LabelColumn | None = None) -> Field:
    values, roles = cohort.column(name), cohort.column("split")
    known = [(value, role) for value, role in zip(values, roles, strict=True) if value is not None]
    missing = len(values) - len(known)
    if label is not None and label.kind == "continuous":
        numbers = np.array([value for value, _ in known], np.float64)
        note = f"from {numbers.min():g} to {numbers.max():g}, median {np.median(numbers):g}" if len(numbers) else ""
        return Field(name, "continuous", len(known), missing, (), note)
    ordered = label.values if label is not None else None
    return Field(name, label.kind if label else "attribute", len(known), missing, _bars(*_split(known), order=ordered))


def _split(pairs: Sequence[tuple[Any, Any]]) -> tuple[list[Any], list[Any]]:
    return [value for value, _ in pairs], [role for _, role in pairs]


def _bars(
    values: Sequence[Any],
    roles: Sequence[Any] | None = None,
    order: Sequence[Any] | None = None,
    most: int = MOST_VALUES,
) -> tuple[Bar, ...]:
    """Counts as bars, most frequent first or in the given order; what goes beyond `most` is one row."""
    counts = Counter(values)
    by_role = Counter(zip(values, roles, strict=True)) if roles is not None else Counter()
    names = list(order) if order else [name for name, _ in sorted(counts.items(), key=lambda p: (-p[1], str(p[0])))]
    top = max(counts.values(), default=1)

    def bar(name: Any) -> Bar:
        own = tuple(by_role[name, role] for role in ROLES) if roles is not None else ()
        return Bar(str(name), counts[name], counts[name] / top, own)

    bars = [bar(name) for name in names[:most]]
    if rest := names[most:]:
        count = sum(counts[name] for name in rest)
        own = tuple(sum(by_role[name, role] for name in rest) for role in ROLES) if roles is not None else ()
        bars.append(Bar(f"{len(rest)} more values", count, min(1.0, count / top), own))
    return tuple(bars)


def _ages(cohort: Cohort) -> tuple[Bar, ...]:
    """Images by decade of age."""
    ages = [age for age in cohort.column("age") if age is not None]
    decades = [f"{int(age // 10) * 10}–{int(age // 10) * 10 + 9}" if age < 90 else "90 and older" for age in ages]
    order = sorted(set(decades), key=lambda text: int(text.split("–")[0].split()[0]))
    return _bars(decades, order=order) if order else ()


def _kinds(cohort: Cohort) -> list[str]:
    """What the pixels are: gray or color, and their depth; signed only where they are CT numbers."""
    columns = (cohort.column(name) for name in ("channels", "bits_stored", "modality"))
    return [
        f"{'gray' if channels == 1 else 'color'}, {bits} bits{', CT numbers' if modality == 'CT' else ''}"
        for channels, bits, modality in zip(*columns, strict=True)
    ]


def _spacing(value: Sequence[float] | None) -> str:
    return "not stated" if value is None else f"{value[0]:.3g} × {value[1]:.3g} mm"


def _captions(cohort: Cohort) -> list[str]:
    """A few captions, at even steps."""
    known = sorted({text for text in cohort.column("caption") if text})
    return [known[i] for i in spread(len(known), 8)]


def _histograms(cohort: Cohort) -> list[Histogram]:
    """Gray values (color: mean of the channels) of evenly spread images, one histogram for each pixel type."""
    chosen = spread(len(cohort), SAMPLE)
    by_type: dict[str, list[np.ndarray]] = {}
    for i in chosen:
        image = cohort.image(i)
        flat = image.reshape(-1, *image.shape[2:])
        seen = flat[:: max(1, len(flat) // PIXELS)].astype(np.float32)
        by_type.setdefault(image.dtype.name, []).append(seen.mean(axis=1) if image.ndim == 3 else seen)
    found = []
    for kind, parts in sorted(by_type.items()):
        values = np.concatenate(parts)
        low, high = (float(v) for v in (values.min(), values.max()))
        counts, _ = np.histogram(values, BINS, (low, high if high > low else low + 1))
        mean, std = float(values.mean(dtype=np.float64)), float(values.std(dtype=np.float64))
        found.append(Histogram(kind, len(parts), low, high, mean, std, _svg(counts)))
    return found


def _svg(counts: np.ndarray) -> Markup:
    """Bars with heights as square roots, so that a large background does not hide the rest."""
    heights = np.sqrt(counts / max(1, counts.max())) * 100
    bars = "".join(
        f'<rect x="{8 * i}" y="{100 - height:.1f}" width="7" height="{height:.1f}"/>'
        for i, height in enumerate(heights)
    )
    return Markup(
        f'<svg class="histogram" viewBox="0 0 {8 * len(counts)} 100" preserveAspectRatio="none" role="img" '
        f'aria-label="Histogram of gray values">{bars}</svg>'
    )
