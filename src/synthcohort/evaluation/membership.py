"""Membership: can an attacker tell who was in the training data?

Members are training patients, others are control patients. They were told apart at random, so without a leak nothing
can tell them apart: any attack that does has found one. Attacks see the synthetic images (`black_box`) and, where the
run folder is given, the model (`white_box`), also beside models that did not see an image (`shadows`). Validation
patients are the strangers whom the attacker knows. Patients whose own images stand among the synthetic ones as they are
(a null experiment) are no others.
`membership_verdict` makes one verdict of many attacks.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from synthcohort.core.cohort import Cohort
from synthcohort.core.errors import ArtifactError, InputError, Problem
from synthcohort.core.policy import Policy
from synthcohort.evaluation.entries import without_folders
from synthcohort.evaluation.inputs import Inputs, patients, sample_images, sample_patients
from synthcohort.evaluation.membership_verdict import Attacks, judge
from synthcohort.evaluation.part_config import MembershipConfig
from synthcohort.evaluation.shadows import Shadow, attack, check_halves, open_shadows
from synthcohort.evaluation.verdicts import family

if TYPE_CHECKING:
    from synthcohort.evaluation.config import EvaluateConfig
    from synthcohort.evaluation.encoding import Eyes

PLANTED = 7  # changed copies of each kind
LEAST_PATIENTS = 10  # on each side


@dataclass(frozen=True)
class Roles:
    """Who is who in the attacks."""

    members: Cohort
    others: Cohort
    strangers: Cohort  # the attacker's reference
    synthetic: Cohort
    note: str  # what a reader of the figures must know


def membership(
    inputs: Inputs,
    eyes: "Eyes",
    config: "EvaluateConfig",
    policy: Policy,
    cache: Path,
    seed: int,
    settings: MembershipConfig | None = None,
    run: Path | None = None,
) -> dict[str, Any]:
    """The part of the scorecard: figures of every attack and the family `membership`.

    `run`: the run folder of the generator, for the white-box attacks; it must have been trained on the real cohort.
    Raises InputError or ConfigError for shadow models that are not those of this run.
    """
    settings = settings or MembershipConfig()
    shadows = open_shadows(run, settings.shadows)
    check_halves(shadows, inputs.real)
    roles = assign(inputs, config.max_images, settings, seed)
    if isinstance(roles, str):
        return {"scores": [], "families": {"membership": family("inconclusive", roles, {})}, "figures": {}}
    sets = [black_box_attacks(inputs, roles, cache, seed)]
    notes = [roles.note] if roles.note else []
    if run is None:
        notes.append("the run folder was not given, so nobody attacked the model itself")
    else:
        try:
            attacks, note = white_box_attacks(inputs, roles, run, cache, settings, seed, shadows)
            sets.append(attacks)
            notes.append(note)
        except (ArtifactError, InputError) as error:
            notes.append(f"the model itself could not be attacked: {without_folders(error, run, inputs.real_path)}")
    scores, judged = judge(sets, policy.thresholds.membership, settings.permutations, seed, notes)
    return {"scores": scores, "families": {"membership": judged}, "figures": {}}


def assign(inputs: Inputs, max_images: int, settings: MembershipConfig, seed: int) -> Roles | str:
    """Who is who, or the reason why membership can't be judged."""
    if not inputs.split_known:
        return "nobody knows which real patients were in no training, so there are no others to compare members with"
    synthetic = sample_images(inputs.synthetic, max_images, seed, "synthetic")
    seen = set(synthetic.column("pixels_digest"))
    members = inputs.real.select(split="train")
    others, left = unseen(inputs.real.select(split="control"), seen)
    strangers, _ = unseen(inputs.real.select(split="validation"), seen)
    note = f"{left} control patients were left out whose own images stand among the synthetic ones" if left else ""
    least = settings.least_images
    if "validation" in inputs.trained_on or len(strangers) < least:
        groups = patients(others)
        half = sample_patients(groups, len(others) // 2, seed, "strangers")
        names = {groups[i] for i in half}
        known = np.array([name in names for name in groups], bool)
        strangers = others.select(indices=np.flatnonzero(known))
        others = others.select(indices=np.flatnonzero(~known))
        note = "; ".join(filter(None, [note, "half of the control patients are the attacker's strangers"]))
    chosen = sample_patients(patients(members), settings.max_members, seed, "members")
    members = members.select(indices=chosen)
    for words, view in (("training", members), ("control", others), ("other held-out", strangers)):
        if len(view) < least or len(set(patients(view))) < LEAST_PATIENTS:
            found = f"{len(view)} images of {len(set(patients(view)))} {words} patients"
            return f"too few to attack: {found}; needed: {least} of {LEAST_PATIENTS} or more"
    return Roles(members, others, strangers, synthetic, note)


def unseen(view: Cohort, seen: set[str]) -> tuple[Cohort, int]:
    """The view without patients one of whose images is, pixel by pixel, a synthetic one; and how many those are."""
    owners = patients(view)
    met = {owner for owner, digest in zip(owners, view.column("pixels_digest"), strict=True) if digest in seen}
    kept = np.array([owner not in met for owner in owners], bool)
    return (view.select(indices=np.flatnonzero(kept)), len(met)) if met else (view, 0)


def black_box_attacks(inputs: Inputs, roles: Roles, cache: Path, seed: int) -> Attacks:
    """Attacks in natural-image features and in fine detail, with the scores of members of whom a copy was planted.

    The self-trained encoder is not used: it was fitted on the members.
    """
    from synthcohort.evaluation.spaces import SPACES, planted_images, range_of

    values = range_of(inputs.real)
    copies, owners = planted_images(roles.members, PLANTED, values, seed)
    views = (roles.members, roles.others, roles.strangers, roles.synthetic, copies)
    seen = {space.name: tuple(space.see(view, values, cache) for view in views) for space in SPACES}
    names, scores, planted = black_box_scores(seen, owners)
    count = len(roles.members)
    return Attacks(
        "black-box", names, scores[:count], scores[count:], patients(roles.members), patients(roles.others),
        inputs.classes(roles.members), inputs.classes(roles.others), planted,
    )  # fmt: skip


def black_box_scores(
    seen: Mapping[str, tuple[np.ndarray, ...]], owners: np.ndarray
) -> tuple[tuple[str, ...], np.ndarray, np.ndarray]:
    """Names of attacks, scores [M + O, K] of members and others, and [P, K] of members with a planted copy.

    `seen`: in each space members, others, strangers, synthetic images and planted copies, each [N, V, D]; `owners` [P]
    are the members whom the copies are of.
    """
    from synthcohort.evaluation.black_box import attack_scores
    from synthcohort.evaluation.spaces import SPACES

    found: dict[str, np.ndarray] = {}
    planted: dict[str, np.ndarray] = {}
    for space in SPACES:
        members, others, strangers, made, copies = seen[space.name]
        known, queries = strangers[:, 0], np.concatenate([members, others])
        found |= attack_scores(space.name, made[:, 0], known, queries, space.linear)
        if not len(copies):
            continue
        more = np.concatenate([made[:, 0], copies[:, 0]])
        planted |= attack_scores(space.name, more, known, members[owners], space.linear)
    nobody = np.zeros(0)
    return tuple(found), np.stack(list(found.values()), 1), np.stack([planted.get(name, nobody) for name in found], 1)


def white_box_attacks(
    inputs: Inputs,
    roles: Roles,
    run: Path,
    cache: Path,
    settings: MembershipConfig,
    seed: int,
    shadows: Sequence[Shadow] = (),
) -> tuple[Attacks, str]:
    """Attacks by the denoising loss, and what to say of shadow models.

    Half as many members as there are strangers teach the learned attack, and are out. Shadow models are compared with
    where the strangers were seen by none of them. Raises InputError when the run is itself a shadow.
    """
    from synthcohort.evaluation.white_box import Loss, loss_scores

    loss = Loss.of_run(run, inputs.real, settings.white_box, cache, seed)
    facts = loss.generator.facts
    if facts.get("shadow"):
        raise InputError(Problem(f"run {run}", "is a shadow of another one: it learned from control patients"))
    owners = patients(roles.members)
    asked = sample_patients(owners, settings.white_box.images + len(roles.strangers) // 2, seed, "white box")
    teachers = sample_patients([owners[i] for i in asked], len(roles.strangers) // 2, seed, "teachers")
    taught = {owners[asked[i]] for i in teachers}  # whole patients
    rest = np.array([owners[i] not in taught for i in asked])
    members = roles.members.select(indices=asked)
    found = loss.losses(members, roles.strangers)
    strangers = loss.losses(roles.strangers, roles.strangers)
    others = loss.losses(roles.others, roles.strangers)
    inside = loss_scores(strangers, found[rest], found[~rest])
    outside = loss_scores(strangers, others, found[~rest])
    judged = members.select(indices=np.flatnonzero(rest))
    unseen_strangers = set(roles.strangers.column("split")) == {"validation"}
    if shadows and unseen_strangers:
        views = (roles.strangers, judged, roles.others)
        audited = (strangers, found[rest], others)
        more = attack(shadows, inputs.real, views, audited, settings.white_box, cache, seed)
        inside, outside = inside | more[0], outside | more[1]
    attacks = Attacks(
        "white-box", tuple(inside), np.stack(list(inside.values()), 1), np.stack(list(outside.values()), 1),
        patients(judged), patients(roles.others), inputs.classes(judged), inputs.classes(roles.others),
    )  # fmt: skip
    return attacks, _shadows_note(shadows, unseen_strangers, facts.get("training_images"))


def _shadows_note(shadows: Sequence[Shadow], used: bool, audited: int | None) -> str:
    """What a reader must know of shadow models: how many there were, and what they saw."""
    if not shadows:
        return "no shadow models were given, so the model was compared with none that did not see an image"
    if not used:
        return "there are too few validation patients, whom no shadow model saw, to compare with shadow models"
    seen = sorted({shadow.images for shadow in shadows})
    images = f"{seen[0]}" if len(seen) == 1 else f"{seen[0]} to {seen[-1]}"
    return f"{len(shadows)} shadow models learned from {images} images each, the model attacked from {audited}"
