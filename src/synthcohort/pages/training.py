"""The page of a training under way: what it has learned, whether it copies, how long it takes. It shows no patient."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from synthcohort.core.progress import duration
from synthcohort.pages.curves import Curve, curves
from synthcohort.pages.render import render

RELOAD_SECONDS = 30


def render_training(
    name: str, info: Mapping[str, Any], log: Sequence[Mapping[str, Any]], samples: bytes | None, batch: int
) -> str:
    """The page from run.json's content, the lines of log.jsonl and the sheet of synthetic samples (PNG)."""
    progress = [line for line in log if line["event"] == "progress"]
    looks = [line for line in log if line["event"] == "watch"]
    total = info.get("steps", 0) * batch
    seen = max((line["images_seen"] for line in [*progress, *looks]), default=0)
    rates = [line["images_per_second"] for line in progress if line.get("images_per_second")]
    done = bool(info.get("done"))
    left = duration((total - seen) / rates[-1]) if rates and not done else None
    sigmas = list(looks[-1].get("validation_loss_by_sigma", {})) if looks else []
    return render(
        "training.html",
        title=f"Training of {name}",
        name=name,
        done=done,
        reload=None if done else RELOAD_SECONDS,
        written=time.strftime("%Y-%m-%d %H:%M"),
        seen=seen,
        total=total,
        share=seen / total if total else 0.0,
        left=left,
        rate=rates[-1] if rates else None,
        learning_rate=progress[-1].get("learning_rate") if progress else None,
        warnings=looks[-1]["warnings"] if looks else [],
        losses=curves(
            [
                Curve("while training", [(p["images_seen"], p["loss"]) for p in progress]),
                Curve("validation", _of(looks, "validation_loss")),
                Curve("training images", _of(looks, "training_loss"), dashed=True),
            ],
            "images seen",
            log=True,
        ),
        by_sigma=curves(
            [Curve(f"σ {sigma}", [(p["images_seen"], p["validation_loss_by_sigma"][sigma]) for p in looks
                                  if sigma in p.get("validation_loss_by_sigma", {})]) for sigma in sigmas],
            "images seen",
            log=True,
        ),
        copies=curves(
            [
                Curve("drawn images", [(p["images_seen"], p["copies"] / p["drawn"]) for p in looks if p["drawn"]]),
                Curve("allowed", [(p["images_seen"], p["control"]["upper"]) for p in looks if p["drawn"]], dashed=True),
            ],
            "images seen",
        ),
        last=looks[-1] if looks else None,
        speed=curves([Curve("images/s", [(p["images_seen"], p["images_per_second"]) for p in progress
                                         if p.get("images_per_second")])], "images seen", zero=True),
        samples=samples,
        config=info["config"],
    )  # fmt: skip


def _of(looks: Sequence[Mapping[str, Any]], name: str) -> list[tuple[float, float]]:
    return [(line["images_seen"], line[name]) for line in looks if line.get(name) is not None]
