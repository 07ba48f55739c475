"""The GAN benchmark's tables: what was asked, what was found, and whether it is what was wanted."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

COMPARED = "knee-xray"
ENCODERS = ("packaged", "self_trained")
LEAST_COVERAGE, LEAST_VENDI = 0.5, 0.7  # of the real-against-real floor
WANTED = 0.6  # of the peer's distance
FASTER = 20  # times diffusion's drawing at its best setting
LOST = 0.0379  # of its accuracy, which the knee study's grader lost on synthetic images


def coverage_ratio(score: dict[str, Any]) -> float:
    own = score["packaged"]
    return float(own["coverage"] / max(own["coverage_floor"], 1e-9))


def least_vendi(score: dict[str, Any]) -> float:
    """The smallest ratio of a class' Vendi score to that of as many real images; NaN: no class is large enough."""
    return min((v["drawn"] / v["floor"] for v in score["packaged"]["vendi"].values()), default=float("nan"))


def alive(one: dict[str, Any]) -> dict[str, bool]:
    """No collapse, in the packaged encoder, by each half of the rule. A training without a model has collapsed."""
    if "score" not in one:
        return {"coverage": False, "vendi": False}
    return {
        "coverage": coverage_ratio(one["score"]) >= LEAST_COVERAGE,
        "vendi": not least_vendi(one["score"]) < LEAST_VENDI,
    }


def report(found: dict[str, Any]) -> str:
    parts = [sets(found["sets"])]
    if found["compared"]:
        parts += [compared(found), speed(found.get("speed")), study(found), overtrained(found["overtrained"])]
    parts.append(evaluations(found["sets"]))
    return "\n".join(part for part in parts if part)


def sets(runs: dict[str, Any]) -> str:
    halves = {key: alive(one) for key, one in runs.items()}
    both = sum(all(half.values()) for half in halves.values())
    text = f"## Without collapse: {both} of {len(runs)}\n\n"
    for name in ("coverage", "vendi"):
        text += f"By {name} alone: {sum(half[name] for half in halves.values())} of {len(runs)}. "
    text += f"Wanted: coverage {LEAST_COVERAGE}, every class' Vendi score {LEAST_VENDI} times the floor.\n\n"
    head = (
        "set/seed", "images seen", "back", "ended early", "Fréchet, packaged (floor)", "Fréchet, self-trained (floor)",
        "coverage (floor)", "ratio", "least class Vendi ratio", "copies", "label read", "core",
    )  # fmt: skip
    return text + table(head, [row(key, one) for key, one in runs.items()])


def row(key: str, one: dict[str, Any]) -> tuple[str, ...]:
    train = one["train"]
    first = (key, f"{train['images_seen']:,}", str(len(train.get("rollbacks", ()))),
             train.get("failed") or train.get("stopped") or "no")  # fmt: skip
    share = f"{train.get('cpu_share', float('nan')):.2f}"
    if "score" not in one:
        return (*first, *["no model"] * 7, share)
    score = one["score"]
    near = (f"{score[e]['frechet']['value']:.3g} ({floor_of(score, e):.3g})" for e in ENCODERS)
    own, copies = score["packaged"], score["copies"]
    return (
        *first, *near, f"{own['coverage']:.2f} ({own['coverage_floor']:.2f})", f"{coverage_ratio(score):.2f}",
        f"{least_vendi(score):.2f}", f"{copies['above']} of {copies['images']}", f"{score['label_read']:.2f}", share,
    )  # fmt: skip


def floor_of(score: dict[str, Any], encoder: str) -> float:
    floor = score[encoder]["frechet"]["floor"]
    return float(floor["value"] if isinstance(floor, dict) else floor)


def compared(found: dict[str, Any]) -> str:
    """The GAN beside the peer and diffusion on one set, and the ratios that were wanted."""
    own = {
        f"gan/{key.split('/')[1]}": v["score"]
        for key, v in found["sets"].items()
        if key.startswith(COMPARED) and "score" in v
    }
    ways: dict[str, list[dict[str, Any]]] = {}
    rows = []
    for key, scores in (own | found["compared"]).items():
        ways.setdefault(key.split("/")[0], []).append(scores)
        near = (f"{scores[encoder]['frechet']['value']:.4g}" for encoder in ENCODERS)
        rows.append((key, *near, f"{scores['packaged']['coverage']:.2f}", f"{scores['label_read']:.2f}"))
    head = ("way/seed", *(f"Fréchet, {encoder}" for encoder in ENCODERS), "coverage", "label read")
    text = f"\n## {COMPARED}: GAN, WGAN-GP and diffusion\n\n" + table(head, rows)
    seconds = [one["seconds"] for one in found["diffusion"].values()]
    text += f"\nDiffusion trained for {np.mean(seconds):.0f} s a seed; the peer for as long as the GAN.\n"
    if "gan" not in ways:
        return text
    for encoder in ENCODERS:
        for way in ("peer", "diffusion"):
            times = ratio(ways, way, lambda s, e=encoder: s[e]["frechet"]["value"])  # type: ignore[misc]
            text += f"\nFréchet distance, {encoder}: {times:.2f} of that of {way}."
    return text + f"\nWanted: at most {WANTED} of the peer's.\n"


def ratio(ways: dict[str, list[dict[str, Any]]], other: str, read: Callable[[dict[str, Any]], float]) -> float:
    """Of geometric means over the seeds."""
    logs = {way: np.mean([np.log(max(read(one), 1e-9)) for one in ways[way]]) for way in ("gan", other)}
    return float(np.exp(logs["gan"] - logs[other]))


def speed(found: dict[str, Any] | None) -> str:
    if not found:
        return ""
    gan, slow = (found[way]["median"] for way in ("gan", "diffusion"))
    return (
        f"\n## Drawing\n\n{gan:.0f} images/s against {slow:.1f} of diffusion at its best setting: {gan / slow:.1f} "
        f"times (wanted: {FASTER}).\n"
    )


def study(found: dict[str, Any]) -> str:
    """The grader's table, and how strips rise."""
    if not found.get("study"):
        return ""
    own = found["study"]
    head = ("trained on", "accuracy", "balanced accuracy", "weighted kappa", "AUROC")
    names = ("accuracy", "macro_recall", "kappa", "auroc")
    rows = [(side, *(f"{own['scores'][side][name]:.3f}" for name in names)) for side in own["scores"]]
    text = "\n## The knee study again\n\n" + table(head, rows) + "\n"
    for side, one in own["change"].items():
        text += f"Accuracy, {side} minus real: {one['value']:+.3f} ({one['low']:+.3f} to {one['high']:+.3f}).\n"
    text += (
        f"The study's grader lost {LOST:.1%} of its accuracy on synthetic images alone; this one {own['lost']:.1%}.\n\n"
    )
    head = ("strips/seed", *(f"asked {k}" for k in range(5)), "mean rises", "strips that rise", "steps that rise")
    rows = [
        (seed, *(f"{v:.2f}" for v in one["mean"]), "yes" if one["mean_rises"] else "no",
         f"{one['rising']} of {one['strips']}", f"{one['steps_rising']:.2f}")
        for seed, one in found["strips"].items()
    ]  # fmt: skip
    real = next(iter(found["strips"].values()), None)
    text += table(head, rows) if rows else ""
    if real:
        text += "\nReal test images are read as " + ", ".join(f"{v:.2f}" for v in real["real_mean"]) + ".\n"
    return text


def overtrained(found: dict[str, Any]) -> str:
    text = "\n## Trained for too long on 400 images\n\n"
    head = ("settings", "passes", "ended early", "generate, screened", "copies of drawn", "copy audit")
    rows = []
    for kind, one in found.items():
        audit = one.get("audit", {})
        rows.append(
            (kind, f"{one['passes']:.0f}", one["train"].get("failed") or one["train"].get("stopped") or "no",
             one.get("screened", "no model"), one.get("copies", "no model"), audit.get("verdict", "no model"))
        )  # fmt: skip
    return text + table(head, rows)


def evaluations(runs: dict[str, Any]) -> str:
    known = {key: one["evaluation"] for key, one in runs.items() if "evaluation" in one}
    if not known:
        return ""
    text = "\n## The product's own evaluation\n\n"
    return text + table(
        ("set/seed", "verdict", "failed", "inconclusive"),
        [
            (key, one.get("verdict") or one["refused"], ", ".join(one.get("failed", ())) or "none",
             ", ".join(one.get("inconclusive", ())) or "none")
            for key, one in known.items()
        ],
    )  # fmt: skip


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)
