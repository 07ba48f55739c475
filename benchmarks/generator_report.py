"""What the generator benchmark found, in words: tables, ratios with intervals over the seeds, and a plot."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from generator_settings import ENCODERS, PEERS, WAYS
from scipy import stats

Found = Mapping[str, Any]
TITLES = {"packaged": "packaged encoder", "self_trained": "self-trained encoder"}
COLORS = {"ours": "#0b6e99", "diffusers": "#c2571a", "monai": "#4a7c2f"}


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> tuple[float, float, float]:
    """Ratio of geometric means, with its interval of 95 % by Welch's t on logarithms; NaN where it can't be said."""
    if min(*ours, *theirs) <= 0:
        return float(np.mean(ours) / np.mean(theirs)), math.nan, math.nan
    a, b = np.log(ours), np.log(theirs)
    difference = float(a.mean() - b.mean())
    if min(len(a), len(b)) < 2:
        return math.exp(difference), math.nan, math.nan
    parts = a.var(ddof=1) / len(a), b.var(ddof=1) / len(b)
    error = math.sqrt(sum(parts))
    if not error:
        return math.exp(difference), math.exp(difference), math.exp(difference)
    freedom = sum(parts) ** 2 / sum(p**2 / (len(x) - 1) for p, x in zip(parts, (a, b), strict=True))
    reach = float(stats.t.ppf(0.975, freedom)) * error
    return tuple(math.exp(difference + sign * reach) for sign in (0, -1, 1))  # type: ignore[return-value]


def excess(found: Found, way: str, setting: str, encoder: str) -> list[float]:
    """Fréchet distance above the real-vs-real floor of each seed."""
    scores = [found["score"][f"{way}/{seed}/{setting}"][encoder]["frechet"] for seed in found["settings"]["seeds"]]
    return [score["value"] - score["floor"]["value"] for score in scores]


def training_rates(found: Found, way: str) -> list[float]:
    return [run["images_per_second"] for run in found["train"][way].values()]


def sampling_rates(found: Found, way: str, setting: str) -> list[float]:
    runs = (found["sample"][f"{way}/{seed}/{setting}"] for seed in found["settings"]["seeds"])
    return [run["sampling"]["images_per_second"] for run in runs]


def wanted(found: Found) -> list[tuple[str, str, tuple[float, float, float]]]:
    """The three figures of the comparison: (what, wanted, ratio to the better peer)."""
    picked, fast = found["picked"], found["fast"]
    rows = []
    for encoder in ENCODERS:
        peers = {peer: excess(found, peer, picked[peer], encoder) for peer in PEERS}
        better = min(PEERS, key=lambda peer: float(np.mean(peers[peer])))
        value = ratio(excess(found, "ours", picked["ours"], encoder), peers[better])
        rows.append((f"Fréchet distance above the floor, {TITLES[encoder]}, over {better}", "≤ 0.6", value))
    better = max(PEERS, key=lambda peer: float(np.mean(training_rates(found, peer))))
    value = ratio(training_rates(found, "ours"), training_rates(found, better))
    rows.append((f"training images/s, over {better}", "≥ 1.5", value))
    better = max(PEERS, key=lambda peer: float(np.mean(sampling_rates(found, peer, picked[peer]))))
    value = ratio(sampling_rates(found, "ours", fast), sampling_rates(found, better, picked[better]))
    rows.append((f"sampling images/s of {fast}, over {better} at {picked[better]}", "≥ 8", value))
    return rows


def markdown(found: Found) -> str:
    """Everything, as tables."""
    parts = [_speed(found)]
    if "train" in found:
        parts.append(_training(found))
    if "score" in found:
        parts = [_wanted(found), *parts, _scores(found), _matched(found), _curve(found)]
    return "\n\n".join(parts) + "\n"


def _table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [f"### {title}", "", "| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def _short(value: float) -> str:
    return "–" if not math.isfinite(value) else f"{value:.3g}"


def _between(value: float, low: float, high: float) -> str:
    return f"{_short(value)} ({_short(low)} to {_short(high)})" if math.isfinite(low) else _short(value)


def _wanted(found: Found) -> str:
    rows = [(what, goal, _between(*value)) for what, goal, value in wanted(found)]
    return _table(f"Ratios over {len(found['settings']['seeds'])} seeds", ("ratio", "wanted", "measured"), rows)


def _speed(found: Found) -> str:
    threads = found["settings"]["threads"]
    rate = found["machine"]["matmul_tflops"].get(str(threads)) or math.nan
    rows = []
    for name, run in found["speed"].items():
        trained, drawn, work = run["training"], run["sampling"], run["arithmetic"]
        shares = (
            work["training_gflop"] * trained["median_images_per_second"] / rate / 1e3,
            work["evaluation_gflop"] * drawn["evaluations_per_second"] / rate / 1e3,
        )
        rows.append((
            name, f"{trained['parameters'] / 1e6:.2f}", _short(trained["median_images_per_second"]),
            _short(drawn["evaluations_per_second"]), _short(work["training_gflop"]), _short(work["evaluation_gflop"]),
            f"{shares[0]:.0%}", f"{shares[1]:.0%}",
        ))  # fmt: skip
    head = (
        "way", "million parameters", "training images/s", "evaluations/s", "GFLOP a training image",
        "GFLOP an evaluation", "share of the matmul rate, training", "share, sampling",
    )  # fmt: skip
    title = (
        f"Each way alone: {threads} thread(s), bfloat16 matmul {_short(rate)} TFLOP/s, {found['machine']['processor']}"
    )
    return _table(title, head, rows)


def _training(found: Found) -> str:
    rows = []
    for way in WAYS:
        for seed, run in found["train"][way].items():
            what = "defaults" if way == "ours" else f"{run['shape']}, rate {run['rate']:g}, average {run['average']}"
            rows.append((
                way, seed, what, f"{run['parameters'] / 1e6:.2f}", f"{run['seconds']:.0f}", f"{run['images_seen']:,}",
                _short(run["images_per_second"]), f"{run['process']['load_before']:.1f}",
            ))  # fmt: skip
    head = ("way", "seed", "setting", "million parameters", "seconds", "images seen", "images/s", "load before")
    return _table("Training at equal wall-clock", head, rows)


def _scores(found: Found) -> str:
    rows = []
    for key, score in found["score"].items():
        way, seed, setting = key.split("/")
        drawn = found["sample"][key]["sampling"]
        cells = [way, seed, setting, _short(drawn["images_per_second"])]
        for encoder in ENCODERS:
            for name in ("frechet", "kernel"):
                one = score[encoder][name]
                cells.append(
                    f"{_between(one['value'], one['low'], one['high'])}, floor {_short(one['floor']['value'])}"
                )
        cells += [f"{score['copies']['above']} of {score['copies']['images']}", f"{score['label_read']:.2f}"]
        rows.append(cells)
    names = [f"{kind}, {TITLES[encoder]}" for encoder in ENCODERS for kind in ("Fréchet distance", "kernel distance")]
    head = ("way", "seed", "sampler-steps-guidance", "images/s", *names, "copies", "prompted label read")
    control = found["scorer"]["control_copies"]
    note = (
        f"Real control patients: {control['above']} of {control['images']} images above the copy threshold. The grader "
        f"reads the label of real test images with accuracy {found['scorer']['grader_accuracy_on_test']:.2f}."
    )
    return _table(f"Against test patients, {found['settings']['count']} images each", head, rows) + "\n\n" + note


def _matched(found: Found) -> str:
    """For each point of a peer's curve, our fastest point that is at least as near: the whole trade, not one point."""
    rows = []
    for encoder in ENCODERS:
        ours = found["curve"]["ours"]
        for peer in PEERS:
            for name, point in found["curve"][peer].items():
                bar = point["test"][encoder]["frechet"]
                good = {n: p for n, p in ours.items() if p["test"][encoder]["frechet"] <= bar}
                best = max(good, key=lambda n: good[n]["sampling"]["images_per_second"]) if good else None
                speed = (
                    good[best]["sampling"]["images_per_second"] / point["sampling"]["images_per_second"] if best else 0
                )
                chosen = " (chosen)" if name == found["picked"][peer] else ""
                rows.append((
                    TITLES[encoder], peer, name + chosen, _short(bar), best or "none as near",
                    _short(good[best]["test"][encoder]["frechet"]) if best else "–", f"{speed:.1f}" if best else "–",
                ))  # fmt: skip
    head = (
        "encoder",
        "peer",
        "its setting",
        "its distance",
        "our fastest as near",
        "our distance",
        "times its images/s",
    )
    return _table("Speed at equal or better distance, first seed", head, rows)


def _curve(found: Found) -> str:
    rows = []
    for way in WAYS:
        for name, point in found["curve"][way].items():
            cells = [way, name + (" (chosen)" if name == found["picked"][way] else "")]
            cells += [_short(point["sampling"][k]) for k in ("evaluations_per_image", "images_per_second")]
            cells += [_short(point[split][e]["frechet"]) for split in ("validation", "test") for e in ENCODERS]
            rows.append(cells)
    names = [f"{split}, {TITLES[e]}" for split in ("validation", "test") for e in ENCODERS]
    head = ("way", "sampler-steps-guidance", "evaluations an image", "images/s", *names)
    return _table(f"Fréchet distance of {found['settings']['curve_count']} images, first seed", head, rows)


def plot(found: Found) -> str:
    """Distance against images a second of every setting, both on logarithmic axes: one panel an encoder, as SVG."""
    width, height, margin = 420, 300, 56
    panels = []
    points = [(way, p) for way in WAYS for p in found["curve"][way].values()]
    speeds = [p["sampling"]["images_per_second"] for _, p in points]
    for number, encoder in enumerate(ENCODERS):
        values = [p["test"][encoder]["frechet"] for _, p in points]
        across, up = _scale(speeds, margin, width - 12), _scale(values, height - margin, 24)
        parts = [
            f'<g transform="translate({number * width},0)">',
            f'<text x="{margin}" y="14">{TITLES[encoder]}</text>',
        ]
        for tick in _ticks(speeds):
            parts.append(
                f'<line x1="{across(tick):.1f}" x2="{across(tick):.1f}" y1="24" y2="{height - margin}" stroke="#ddd"/>'
            )
            parts.append(
                f'<text x="{across(tick):.1f}" y="{height - margin + 16}" text-anchor="middle">{tick:g}</text>'
            )
        for tick in _ticks(values):
            parts.append(
                f'<line x1="{margin}" x2="{width - 12}" y1="{up(tick):.1f}" y2="{up(tick):.1f}" stroke="#ddd"/>'
            )
            parts.append(f'<text x="{margin - 6}" y="{up(tick) + 4:.1f}" text-anchor="end">{tick:g}</text>')
        for (way, point), value in zip(points, values, strict=True):
            x, y = across(point["sampling"]["images_per_second"]), up(value)
            parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{COLORS[way]}"><title>{way}</title></circle>')
        parts.append(f'<text x="{(margin + width) / 2}" y="{height - 22}" text-anchor="middle">images a second</text>')
        panels.append("".join(parts) + "</g>")
    legend = "".join(
        f'<circle cx="{margin + 130 * i}" cy="{height - 8}" r="4" fill="{COLORS[way]}"/>'
        f'<text x="{margin + 130 * i + 9}" y="{height - 4}">{way}</text>'
        for i, way in enumerate(WAYS)
    )
    size = f'width="{width * len(ENCODERS)}" height="{height}" viewBox="0 0 {width * len(ENCODERS)} {height}"'
    style = "<style>text{font:12px sans-serif;fill:#222}</style>"
    label = 'role="img" aria-label="Fréchet distance to test patients against sampling speed"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} {label}>{style}{"".join(panels)}{legend}</svg>\n'


def _scale(values: Sequence[float], start: float, end: float) -> Any:
    """Logarithmic position of a value between two places, with a little room at both ends."""
    low, high = math.log(min(values) / 1.15), math.log(max(values) * 1.15)
    return lambda value: start + (math.log(value) - low) / (high - low) * (end - start)


def _ticks(values: Sequence[float]) -> list[float]:
    low, high = min(values) / 1.15, max(values) * 1.15
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    return [f * 10.0**p for p in powers for f in (1, 2, 5) if low <= f * 10.0**p <= high]
