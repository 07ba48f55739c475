"""Quotas: a TOML list of how many images of which conditions are wanted, crossed as the user likes.

[[quota]]
count = 200
where = { kl_grade = 4, sex = "F" }

[[quota]]
count = 50
prompt = "A radiograph of the knee, showing severe osteoarthritis."
balance = "sex"
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from synthcohort.core.config import build, load_toml
from synthcohort.core.errors import ConfigError, InputError, Problem
from synthcohort.core.seeds import seed_from
from synthcohort.generation.plan import plan_conditions
from synthcohort.models.condition import Vocabulary


@dataclass(frozen=True)
class Quota:
    """Some images that are wanted.

    count    how many
    where    columns and values that all of them have
    prompt   what they show, in words
    balance  a column whose values come equally often among them
    """

    count: int
    where: Mapping[str, Any] = field(default_factory=dict)
    prompt: str | None = None
    balance: str | None = None


@dataclass(frozen=True)
class Unmet:
    """A quota that gives fewer images than asked, and why."""

    quota: int
    asked: int
    planned: int
    reason: str


def read_quotas(path: Path) -> list[Quota]:
    """The quotas of a file. Raises ConfigError naming every fault of it."""
    content = load_toml(path)
    listed = content.get("quota")
    if set(content) != {"quota"} or not isinstance(listed, list) or not listed:
        found = ", ".join(sorted(content)) or "nothing"
        raise ConfigError(Problem(f"quotas {path}", f"found {found}", "a list of [[quota]] tables"))
    problems: list[Problem | str] = []
    quotas: list[Quota] = []
    for number, item in enumerate(listed, 1):
        where = item.pop("where", {}) if isinstance(item, dict) else {}
        try:
            quota = build(Quota, item, f"quota {number}")
        except ConfigError as error:
            problems.extend(error.problems)
            continue
        if not isinstance(where, dict):
            problems.append(Problem(f"quota {number}.where", repr(where), "a table, such as { kl_grade = 4 }"))
        elif quota.count < 1:
            problems.append(Problem(f"quota {number}.count", str(quota.count), "1 or more"))
        else:
            quotas.append(Quota(quota.count, where, quota.prompt, quota.balance))
    if problems:
        raise ConfigError(*problems)
    return quotas


def plan_quotas(
    vocabulary: Vocabulary, label_counts: Sequence[Mapping[str, Any]], quotas: Sequence[Quota], seed: int
) -> tuple[list[dict[str, Any]], list[int], list[Unmet]]:
    """The conditions of all quotas, one after the other; the quota of each; and what cannot be met.

    A combination that no training image has is not made up: it is reported. Raises InputError for unknown columns and
    values, and when nothing at all can be met.
    """
    problems: list[Problem | str] = []
    for number, quota in enumerate(quotas, 1):
        try:
            vocabulary.check({**quota.where, **({"prompt": quota.prompt} if quota.prompt else {})})
        except InputError as error:
            problems += [f"quota {number}: {problem}" for problem in error.problems]
    if problems:
        raise InputError(*problems)
    conditions: list[dict[str, Any]] = []
    owners: list[int] = []
    unmet: list[Unmet] = []
    for number, quota in enumerate(quotas, 1):
        try:
            own = plan_conditions(
                vocabulary, label_counts, quota.count, seed_from("quota", seed, number),
                quota.where, quota.balance, quota.prompt,
            )  # fmt: skip
        except InputError as error:
            unmet.append(Unmet(number, quota.count, 0, "; ".join(str(problem) for problem in error.problems)))
            continue
        conditions += own
        owners += [number] * len(own)
    if not conditions:
        raise InputError(*[Problem(f"quota {item.quota}", item.reason) for item in unmet])
    return conditions, owners, unmet
