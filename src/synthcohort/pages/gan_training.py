"""The page of a GAN's training under way: losses, how near and how diverse its images are, what the guards did."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from synthcohort.core.progress import duration
from synthcohort.pages.curves import Curve, curves
from synthcohort.pages.render import render
from synthcohort.pages.training import RELOAD_SECONDS

Lines = Sequence[Mapping[str, Any]]


def render_gan_training(
    name: str, info: Mapping[str, Any], log: Lines, samples: bytes | None, images_per_step: int
) -> str:
    """The page from run.json's content, the lines of log.jsonl and the sheet of synthetic samples (PNG)."""
    progress, looks = _events(log, "progress"), _events(log, "look")
    total = info.get("steps", 0) * images_per_step
    seen = max((line["images_seen"] for line in [*progress, *looks]), default=0)
    rates = [line["images_per_second"] for line in progress if line.get("images_per_second")]
    done, stopped = bool(info.get("done")), _events(log, "stop")
    ended = done or bool(stopped)
    return render(
        "gan_training.html",
        title=f"Training of {name}",
        name=name,
        done=done,
        stopped=stopped[-1]["reason"] if stopped else None,
        reload=None if ended else RELOAD_SECONDS,
        written=time.strftime("%Y-%m-%d %H:%M"),
        seen=seen,
        total=total,
        share=seen / total if total else 0.0,
        left=duration((total - seen) / rates[-1]) if rates and not ended else None,
        rate=rates[-1] if rates else None,
        last_line=progress[-1] if progress else None,
        warnings=looks[-1]["warnings"] if looks else [],
        rollbacks=_events(log, "rollback"),
        distance=_drawn([_curve("drawn images", looks, "distance"),
                         _curve("training images", looks, "floor", dashed=True)], log=True),
        diversity=_drawn([_curve("all", looks, "diversity"), _curve("within classes", looks, "of_classes"),
                          _curve("coverage", looks, "coverage"),
                          _curve("coverage, training", looks, "coverage_floor", dashed=True)], zero=True),
        scores=_drawn([_curve("sure of pairs", progress, "signs"), _curve("augmentation", progress, "augment"),
                       _curve("by heart", progress, "by_heart"),
                       _curve("by heart, at looks", looks, "overfitting", dashed=True)]),
        losses=_drawn([_curve("discriminator", progress, "discriminator_loss"),
                       _curve("generator", progress, "generator_loss")]),
        copies=_drawn([
            Curve("drawn images", [(p["images_seen"], p["copies"] / p["drawn"]) for p in looks if p["drawn"]]),
            Curve("allowed", [(p["images_seen"], p["control"]["upper"]) for p in looks if p["drawn"]], dashed=True),
        ]),
        last=looks[-1] if looks else None,
        speed=_drawn([_curve("images/s", progress, "images_per_second")], zero=True),
        samples=samples,
    )  # fmt: skip


def _events(log: Lines, name: str) -> list[Mapping[str, Any]]:
    return [line for line in log if line["event"] == name]


def _curve(name: str, lines: Lines, key: str, dashed: bool = False) -> Curve:
    return Curve(name, [(line["images_seen"], line[key]) for line in lines if line.get(key) is not None], dashed)


def _drawn(lines: Sequence[Curve], log: bool = False, zero: bool = False) -> Markup:
    return curves(lines, "images seen", log=log, zero=zero)
