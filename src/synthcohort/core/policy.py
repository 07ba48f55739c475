"""The policy: one strict TOML file with the thresholds of every gating family and the rule of release.

`evaluate` and `release` read the same file; its digest stands in the evidence, so a verdict and a decision can't rest
on different rules. A policy of one's own: copy one of `synthcohort/policies/`, edit it, pass `--policy FILE`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from importlib import resources
from pathlib import Path
from typing import Any

from synthcohort.core.config import build, load_toml, to_mapping
from synthcohort.core.errors import ConfigError, Problem
from synthcohort.core.files import digest_json

VERSION = 1
FAMILIES = ("copies", "membership", "label_truth", "image_damage", "coverage", "subgroups", "harm")
SHIPPED = ("open", "partner", "internal")


@dataclass(frozen=True)
class CopiesThresholds:
    """Synthetic images that copy a training image, against control patients as the floor."""

    false_positive_rate: float  # share of clean real images the detector may call a copy
    significance: float  # fail: one-sided p-value of more copies than among the control patients
    detectable_rate: float  # pass: the upper end of the copy rate's interval is at most this
    min_control_images: int  # with fewer there is no floor: inconclusive


@dataclass(frozen=True)
class MembershipThresholds:
    """Whether an attacker can tell who was in the training data."""

    max_auc: float  # area under the attack's ROC curve
    max_tpr_at_1_percent_fpr: float  # hits at one false alarm in a hundred


@dataclass(frozen=True)
class LabelTruthThresholds:
    """Whether an image shows what its label says."""

    min_ratio: float  # reader's skill on synthetic images over its skill on real test images
    min_reader_skill: float  # a reader with less skill on real images can't judge: inconclusive


@dataclass(frozen=True)
class ImageDamageThresholds:
    """Blur, noise and values outside the real range."""

    max_damaged_share: float  # share of images outside the range of real ones, beyond the share among real images
    max_shift: float  # probability of looking more damaged than a real image, beyond one half, of all images together


@dataclass(frozen=True)
class CoverageThresholds:
    """Whether the variety of the real patients is there."""

    min_ratio: float  # coverage over the coverage that as many real training images reach
    min_class_fraction: float  # a class is missing when its share is surely below this fraction of its real share


@dataclass(frozen=True)
class SubgroupsThresholds:
    """Whether a group of patients is left out or rendered worse."""

    min_ratio: float  # worst group's score over the score of all
    min_group_images: int  # smaller groups can't be judged
    min_group_fraction: float  # a group is missing when its share is surely below this fraction of the expected one
    max_gap: float  # how much more often than the others a group may look damaged, unlike real images, or all alike


@dataclass(frozen=True)
class HarmThresholds:
    """Whether training on the images loses a class that matters."""

    max_recall_loss: float  # of any class, against training on real images of the same number


@dataclass(frozen=True)
class Thresholds:
    """One table per gating family."""

    copies: CopiesThresholds
    membership: MembershipThresholds
    label_truth: LabelTruthThresholds
    image_damage: ImageDamageThresholds
    coverage: CoverageThresholds
    subgroups: SubgroupsThresholds
    harm: HarmThresholds


@dataclass(frozen=True)
class FigureRule:
    """What the interval of one figure of scores.json must keep; the value alone is never looked at.

    Every figure of that name has to keep it, whatever its encoder, and there has to be one.
    """

    name: str
    score: str  # name of the figure
    why: str  # one sentence, for people
    subset: str | None = None  # a part such as `kl_grade=4`; None: the figures of all images
    at_most: float | None = None  # the upper end of the interval must not exceed it
    at_least: float | None = None  # the lower end must reach it
    widest: float | None = None  # the interval must not be wider: else nobody knows


@dataclass(frozen=True)
class ReleaseRules:
    """Every family stands in one of the first two lists; none may fail."""

    must_pass: tuple[str, ...]
    may_be_inconclusive: tuple[str, ...]
    must_state: tuple[str, ...] = ()  # what a person has to have stated, beside the license
    must_record: tuple[str, ...] = ()  # what the synthetic cohort must record of its making
    must_be_signed: bool = False  # evaluation's scores carry the owner's signature
    never_override: tuple[str, ...] = ()  # rules that no written reason sets aside
    figures: tuple[FigureRule, ...] = ()


@dataclass(frozen=True)
class Policy:
    """Thresholds and rules with their name and explanation."""

    name: str
    version: int
    purpose: str  # one sentence: what a release under this policy is for
    thresholds: Thresholds
    release: ReleaseRules

    def __post_init__(self) -> None:
        problems = []
        if self.version != VERSION:
            problems.append(Problem("policy.version", str(self.version), str(VERSION)))
        listed = [*self.release.must_pass, *self.release.may_be_inconclusive]
        for name in sorted(set(listed) - set(FAMILIES)):
            problems.append(Problem("policy.release", f"unknown family {name!r}", ", ".join(FAMILIES)))
        for name in FAMILIES:
            if listed.count(name) != 1:
                found = f"family {name!r} is listed {listed.count(name)} times"
                problems.append(Problem("policy.release", found, "once, in must_pass or in may_be_inconclusive"))
        problems.extend(_out_of_range(self.thresholds))
        problems.extend(_empty_rules(self.release))
        if problems:
            raise ConfigError(*problems)

    @property
    def digest(self) -> str:
        """Digest of the whole content, whatever the layout of the file."""
        return digest_json(to_mapping(self))

    def summary(self) -> dict[str, Any]:
        """What scores.json records of the policy."""
        content = to_mapping(self)
        return {
            "name": self.name,
            "digest": self.digest,
            "thresholds": content["thresholds"],
            "release": content["release"],
        }


def _out_of_range(thresholds: Thresholds) -> list[Problem]:
    """Shares lie in [0, 1], counts are positive."""
    problems = []
    for family in fields(thresholds):
        table = getattr(thresholds, family.name)
        for field in fields(table):
            value = getattr(table, field.name)
            if field.type is int and value < 1:
                problems.append(Problem(f"policy.thresholds.{family.name}.{field.name}", str(value), "1 or more"))
            if field.type is float and not 0 <= value <= 1:
                problems.append(Problem(f"policy.thresholds.{family.name}.{field.name}", str(value), "0 to 1"))
    return problems


def _empty_rules(rules: ReleaseRules) -> list[Problem]:
    """A rule over a figure asks for something, and has a name of its own and a reason."""
    problems = []
    names = [rule.name for rule in rules.figures]
    for rule in rules.figures:
        place = f"policy.release.figures {rule.name!r}"
        if rule.at_most is None and rule.at_least is None and rule.widest is None:
            problems.append(Problem(place, "asks for nothing", "at_most, at_least or widest"))
        if not rule.why.strip() or not rule.name.strip():
            problems.append(Problem(place, "has no name or no reason (why)"))
        if names.count(rule.name) > 1:
            problems.append(Problem(place, "occurs twice"))
    return problems


def load_policy(name_or_path: str | Path | None = None) -> Policy:
    """The policy of a shipped name (`open` is the default) or of a TOML file; ConfigError names everything wrong."""
    chosen = "open" if name_or_path is None else str(name_or_path)
    if chosen in SHIPPED:
        with resources.as_file(resources.files("synthcohort") / "policies" / f"{chosen}.toml") as path:
            return _read(path)
    if not chosen.endswith(".toml") and not Path(chosen).is_file():
        raise ConfigError(Problem("policy", f"no policy {chosen!r}", f"{', '.join(SHIPPED)}, or a TOML file"))
    return _read(Path(chosen))


def _read(path: Path) -> Policy:
    content: Mapping[str, Any] = load_toml(path)
    return build(Policy, content, "policy")
