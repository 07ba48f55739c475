"""Refill: images too near to a patient are drawn anew and judged again, until the audit holds or surely will not.

Each step is one recorded stage, so that a kill between any two of them, or within one, changes nothing of the end. What
a round began with stays in `rounds/N/`: the cohort, its scores and the names of the images that were too near.
"""

import os
import shutil
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from synthcohort.core.files import remove
from synthcohort.core.run import RunFolder
from synthcohort.core.signing import signature_path
from synthcohort.pipeline.stage import Stage, run_stage
from synthcohort.release import Judged
from synthcohort.release.rules import get, is_of_copies, is_stated

KEPT = "rounds"


def refill_until_it_holds(
    record: RunFolder,
    out: Path,
    title: str,
    rounds: int,
    tries: int,
    *,
    judge: Callable[[], Judged],
    evaluate: Callable[[], dict[str, Any]],
    asked: str | None = None,
) -> dict[str, Any]:
    """Audits, and while that helps draws others in place of the images that are too near and evaluates again.

    `judge`: the decision of a release, as it would be now. `asked`: digest of what the decision is asked for and may
    change between two calls; under another one the last audit is made anew, as there may be more to do, and those that
    led to a round stay. Returns the last audit and {refills}: how many rounds.
    """
    before: list[int] = []
    while True:
        name = f"audit {len(before)}" if before else "audit"
        work = partial(_audited, judge, tuple(before), rounds)
        led_on = (record.info.get("stages", {}).get(name) or {}).get("again")
        basis = record.info.get("made_from", {}).get(name) if led_on else asked
        stage = Stage(name, "", work, resumable=True, made_from=basis)
        found = run_stage(record, stage, out, f"{title} {name}")
        print(f"{title} {name}: {found['reason']}", file=sys.stderr)
        if not found["again"]:
            return {**found, "refills": len(before)}
        before.append(len(found["near"]))
        number = len(before)
        draw = partial(refill, out, number, tuple(found["near"]), tries)
        for stage in (
            Stage(f"refill {number}", "synthetic", draw, resumable=True),
            Stage(f"evaluate {number}", "evidence", evaluate, resumable=True),
        ):
            run_stage(record, stage, out, f"{title} {stage.name}")


def _audited(judge: Callable[[], Judged], before: Sequence[int], rounds: int) -> dict[str, Any]:
    return audit(judge(), before, rounds)


def audit(judged: Judged, before: Sequence[int], rounds: int) -> dict[str, Any]:
    """Whether drawing others in place of the images that are too near is worth another round, and why not.

    `before`: how many images were too near in each round so far. What only a person can state is left aside here: no
    image changes it. Returns {again, near, images, rate, reason}; `near` names the images.
    """
    policy, near = judged.policy, list(judged.evidence.near or [])
    broken = [rule for rule in judged.decision.rules if not rule.holds and not is_stated(rule.name)]
    others = [rule.name for rule in broken if not is_of_copies(rule.name, policy)]
    again, reason = False, ""
    if not broken:
        reason = "the audit holds"
    elif others:
        reason = f"other rules refuse, which no new image changes: {', '.join(others)}"
    elif not near:
        reason = "no image is too near to a patient’s; what refuses is that too little is known (more images may help)"
    elif before and len(near) >= before[-1]:
        counts = ", then ".join(str(count) for count in (*before, len(near)))
        reason = (
            f"drawing others does not help: {counts} images were too near to a patient’s. The generator makes copies: "
            "train on more images, for a shorter time, or a smaller network"
        )
    elif rounds == 0:
        reason = f"{len(near)} images are too near to a patient’s, and none are drawn anew (study.refill_rounds is 0)"
    elif len(before) >= rounds:
        reason = f"{len(near)} images are still too near to a patient’s after {rounds} rounds (study.refill_rounds)"
    else:
        again, reason = (
            True,
            f"{len(near)} of {len(judged.cohort)} images are too near to a patient’s: others are drawn",
        )
    figures = get(judged.evidence.scores, "families", "copies", "figures")
    return {
        "again": again,
        "near": near,
        "images": len(judged.cohort),
        "rate": get(figures, "rate"),
        "holds": not broken,
        "reason": reason,
    }


def refill(out: Path, number: int, names: Sequence[str], tries: int) -> dict[str, Any]:
    """Round `number`, from 1: puts the cohort as it was aside, and draws these images of it anew.

    Returns what `generation.replace` returns, with the number of the round.
    """
    from synthcohort.generation.replace import replace

    was = out / KEPT / str(number - 1)
    if not (was / "synthetic").exists():  # it does when a kill came after the cohort was put aside
        was.mkdir(parents=True, exist_ok=True)
        scores = out / "evidence" / "scores.json"
        for path in (scores, signature_path(scores), out / "evidence" / "owner" / "near.json"):
            if path.exists():
                shutil.copyfile(path, was / path.name)
        os.rename(out / "synthetic", was / "synthetic")
    remove(out / "synthetic")
    found = replace(out / "run", was / "synthetic", names, out / "synthetic", tries)
    return {**found, "cohort": "synthetic", "round": number}
