"""The policy's lines beside the figures: which threshold a figure is held against, and what each threshold asks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from synthcohort.pages.numbers import number

# What each threshold of a check asks; the number stands beside it.
ASKS = {
    "copies.false_positive_rate": "The detector may call at most this share of clean real images a copy.",
    "copies.significance": "Fails when chance explains the number of copies less often than this.",
    "copies.detectable_rate": "Passes only when surely no larger share of the images are copies.",
    "copies.min_control_images": "With fewer images of control patients the check is inconclusive.",
    "membership.max_auc": "An attacker’s area must surely not exceed this; guessing reaches 0.5.",
    "membership.max_tpr_at_1_percent_fpr": "At one false alarm in a hundred, surely no larger share of the training "
    "images may be found; guessing finds 0.01.",
    "label_truth.min_ratio": "The reader’s skill on synthetic images, as a part of its skill on real ones.",
    "label_truth.min_reader_skill": "A reader with less skill on real images can’t judge: inconclusive.",
    "image_damage.max_damaged_share": "So much larger than among real images the share of damaged images may be.",
    "image_damage.max_shift": "So much more often than by chance (one half) a synthetic image may look more damaged "
    "than a real one.",
    "coverage.min_ratio": "The variety reached, as a part of what as many real training images reach.",
    "coverage.min_class_fraction": "A class is missing when its share is surely below this part of its real share.",
    "subgroups.min_ratio": "The worst group’s score, as a part of the score of all.",
    "subgroups.min_group_images": "Groups with fewer images can’t be judged.",
    "subgroups.min_group_fraction": "A group is missing when its share is surely below this part of the expected one.",
    "subgroups.max_gap": "So much more often than the others the images of a group may look damaged or "
    "unlike real ones.",
    "harm.max_recall_loss": "No class may lose more recall than this by training on synthetic images.",
}


@dataclass(frozen=True)
class Limit:
    """One line of the policy for a figure: `value` on the figure's own axis, None where it moves with the floor."""

    key: str  # as the policy file calls it
    value: float | None
    text: str


@dataclass(frozen=True)
class _Held:
    """Figures of `family` whose name begins with `prefix` are held against a threshold, shifted by `offset`."""

    family: str
    prefix: str
    key: str
    side: str  # "at most" or "at least"
    offset: float = 0.0
    above: str = ""  # what the threshold is counted from, where that is not a fixed number


HELD = (
    _Held("copies", "copy_rate", "detectable_rate", "at most"),
    _Held("membership", "membership_auc", "max_auc", "at most"),
    _Held("membership", "membership_tpr_at_1_percent_fpr", "max_tpr_at_1_percent_fpr", "at most"),
    _Held("label_truth", "label_skill_ratio", "min_ratio", "at least"),
    _Held("image_damage", "damage_shift_", "max_shift", "at most", offset=0.5),
    _Held("image_damage", "damaged_share", "max_damaged_share", "at most", above="above real images"),
    _Held("coverage", "coverage_ratio", "min_ratio", "at least"),
    _Held("subgroups", "group_gap_", "max_gap", "at most"),
    _Held("harm", "recall_lost_", "max_recall_loss", "at most"),
)


def limit_of(score: Mapping[str, Any], policy: Mapping[str, Any] | None) -> Limit | None:
    """The line that a figure is held against; None where the policy has none for it."""
    thresholds = (policy or {}).get("thresholds") or {}
    for held in HELD:
        if score.get("family") == held.family and str(score["name"]).startswith(held.prefix):
            found = (thresholds.get(held.family) or {}).get(held.key)
            if found is not None:
                value = float(found) + held.offset
                text = f"{held.side} {number(value)} {held.above}".rstrip()
                return Limit(f"{held.family}.{held.key}", None if held.above else value, text)
    for rule in ((policy or {}).get("release") or {}).get("figures") or []:
        if rule.get("score") != score["name"] or rule.get("subset") != score.get("subset"):
            continue
        for side, words in (("at_least", "at least"), ("at_most", "at most")):
            if rule.get(side) is not None:
                value = float(rule[side])
                return Limit(f"release.{rule['name']}", value, f"{words} {number(value)}")
    return None


def thresholds_of(policy: Mapping[str, Any] | None, family: str) -> list[tuple[str, str]]:
    """The thresholds of a check as (key, number)."""
    found = ((policy or {}).get("thresholds") or {}).get(family) or {}
    return [(key, f"{value:g}" if isinstance(value, (int, float)) else str(value)) for key, value in found.items()]


def policy_rows(policy: Mapping[str, Any] | None, families: Sequence[str]) -> list[tuple[str, str, str]]:
    """Every threshold and every rule over a single figure as (key, number, what it asks)."""
    rows = [
        (f"{family}.{key}", text, ASKS.get(f"{family}.{key}", ""))
        for family in dict.fromkeys([*families, *((policy or {}).get("thresholds") or {})])
        for key, text in thresholds_of(policy, family)
    ]
    for rule in ((policy or {}).get("release") or {}).get("figures") or []:
        asked = [("at_least", "at least"), ("at_most", "at most"), ("widest", "interval no wider than")]
        text = ", ".join(f"{words} {rule[side]:g}" for side, words in asked if rule.get(side) is not None)
        rows.append(
            (f"release.{rule['name']}", text, f"{rule.get('why') or ''} (Figure: {rule.get('score')}.)".strip())
        )
    return rows
