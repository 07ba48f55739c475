"""`synthcohort study create`: cohorts and a design to a study's folder, ready to serve.

The sample depends on the design and its seed alone; tokens and the names of payloads are made with a secret of the
study, so that nobody who knows seed and cohorts can tell which payload is which.
"""

import os
import secrets
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from synthcohort.core.cohort import Cohort
from synthcohort.core.config import to_mapping
from synthcohort.core.errors import InputError, Problem
from synthcohort.core.files import atomic_path, check_writable, digest_json, write_artifact, write_atomic
from synthcohort.study.access import invitation, keyed
from synthcohort.study.design import Design, Phase, default_phases
from synthcohort.study.payloads import Recipe, degraded, payload, recipe
from synthcohort.study.power import SampleSize, cases_needed
from synthcohort.study.questions import questions
from synthcohort.study.sampling import PhasePicks, Pick, Pools, order_for, sample
from synthcohort.study.store import Store

FORMAT, VERSION = "study-design", 1
DATABASE = "study.db"


def create(
    synthetic: Path, out: Path, design: Design | None = None, real: Path | None = None, database: str | None = None
) -> dict[str, Any]:
    """Makes the folder `out` (and the tables at the PostgreSQL URL `database`); returns what the command prints."""
    if Path(out).exists():
        raise InputError(Problem(f"output {out}", "already exists", remedy="choose another --out, or remove it"))
    check_writable(out)
    made, real_view = _cohorts(synthetic, real, design)
    if design is None:
        design = Design(phases=default_phases(_first_label(made)))
    design, sizes = _with_power(design)
    pools = Pools(real_view, made, design)
    picks = _all_picks(design, pools)
    views = {"synthetic": made} | ({"real": real_view} if real_view is not None else {})
    used = {pick.cohort for phase in picks for pick in (*phase.training, *phase.cases)}
    how = recipe(design.images, [views[name] for name in sorted(used)])
    secret = secrets.token_hex(32)
    with atomic_path(Path(out)) as folder:
        (folder / "images").mkdir(parents=True)
        os.chmod(folder, 0o700)
        numbers = _write_payloads(folder / "images", secret, design, picks, views, how)
        store = Store(database or folder / DATABASE)
        try:
            _fill(store, secret, design, picks, views, how, numbers)
        finally:
            store.close()
        _describe(folder, secret, design, picks, views, how, sizes, bool(database))
    return {
        "study": Path(out).as_posix(),
        "readers": len(design.readers),
        "phases": [
            {"kind": phase.kind, "cases": len(found.cases), "training": len(found.training)}
            for phase, found in zip(design.phases, picks, strict=True)
        ],
        "invitations": (Path(out) / "invitations.txt").as_posix(),
        "next": f"synthcohort study serve {Path(out).as_posix()}",
    }


def _cohorts(synthetic: Path, real: Path | None, design: Design | None) -> tuple[Cohort, Cohort | None]:
    made = Cohort.open(synthetic)
    problems = []
    if made.origin != "synthetic":
        problems.append(Problem(f"--synthetic {synthetic}", f"is a {made.origin} cohort", "a synthetic one"))
    teaching = design is not None and design.teaching
    if teaching and made.info.get("screened") is not True:
        found = "was not screened for copies of training images"
        problems.append(Problem(f"--synthetic {synthetic}", found, remedy="teaching is open to many: screen it first"))
    if teaching and real is not None:
        problems.append(Problem("--real", "is given for a teaching design", "synthetic images only"))
    wants_real = design is None or any(phase.real or phase.degraded for phase in design.phases)
    if real is None and wants_real and not teaching:
        problems.append(Problem("--real", "is missing", "a real cohort", "the design asks for real images"))
    if problems:
        raise InputError(*problems)
    if real is None:
        return made, None
    whole = Cohort.open(real)
    if whole.origin != "real":
        raise InputError(Problem(f"--real {real}", f"is a {whole.origin} cohort", "a real one"))
    split = design.real_split if design is not None else "test"
    return made, whole.select(split=split)


def _first_label(cohort: Cohort) -> str:
    graded = [label.name for label in cohort.labels.values() if label.values]
    if not graded:
        raise InputError(
            Problem(f"cohort {cohort.path}", "has no label to grade", remedy="give a design with --design")
        )
    ordinal = [name for name in graded if cohort.labels[name].kind == "ordinal"]
    return (ordinal or graded)[0]


def _with_power(design: Design) -> tuple[Design, list[SampleSize | None]]:
    """The design with the cases that its power calculation asks for; rating and pairs keep theirs."""
    sizes: list[SampleSize | None] = []
    phases: list[Phase] = []
    for phase in design.phases:
        found = None
        if design.power is not None and phase.kind in ("grade", "origin") and phase.real and phase.synthetic:
            found = cases_needed(phase.kind, len(design.readers), design.power)
            phase = replace(phase, real=found.cases, synthetic=found.cases)
        sizes.append(found)
        phases.append(phase)
    return replace(design, phases=tuple(phases)), sizes


def _all_picks(design: Design, pools: Pools) -> list[PhasePicks]:
    picks: list[PhasePicks] = []
    for number, phase in enumerate(design.phases):
        kept = picks[-1].cases if phase.same_images else None
        picks.append(sample(phase, pools, design.seed, number, kept))
    return picks


def _write_payloads(
    folder: Path, secret: str, design: Design, picks: list[PhasePicks], views: Mapping[str, Cohort], how: Recipe
) -> dict[Pick, int]:
    """Writes each image once, under a name that says nothing; returns the number of each pick."""
    unique = list(dict.fromkeys(pick for phase in picks for pick in (*phase.training, *phase.cases)))
    numbers = {pick: number for number, pick in enumerate(unique)}
    for pick, number in numbers.items():
        view = views[pick.cohort]
        image = view.image(pick.row)
        if pick.origin == "degraded":
            image = degraded(image, design.seed, view.image_ids[pick.row])
        (folder / payload_name(secret, number)).write_bytes(payload(image, how))
    return numbers


def payload_name(secret: str, number: int) -> str:
    return keyed(secret, "payload", number)


def _fill(
    store: Store, secret: str, design: Design, picks: list[PhasePicks], views: Mapping[str, Cohort], how: Recipe,
    numbers: Mapping[Pick, int],
) -> None:  # fmt: skip
    store.create(
        {
            "secret": secret, "title": design.title, "consent": design.consent, "contact": design.contact,
            "recipe": how.as_json(), "teaching": design.teaching, "design": to_mapping(design),
            "cohorts": {name: view.digest for name, view in views.items()},
        }
    )  # fmt: skip
    with store.writing() as write:
        people = [("owner", "owner"), *((name, "observer") for name in design.observers)]
        people += [("course", "course")] if design.teaching else [(name, "reader") for name in design.readers]
        write.add_all("people", [{"person": name, "role": role, "generation": 0} for name, role in people])
        captions = {name: view.column("caption") for name, view in views.items()}
        ids = {name: view.image_ids for name, view in views.items()}
        write.add_all(
            "images",
            [
                {
                    "image": number, "payload": payload_name(secret, number), "origin": pick.origin,
                    "label": pick.label, "cohort": pick.cohort, "image_id": ids[pick.cohort][pick.row],
                    "caption": captions[pick.cohort][pick.row] or "",
                }
                for pick, number in numbers.items()
            ],
        )  # fmt: skip
        for number, (phase, found) in enumerate(zip(design.phases, picks, strict=True)):
            label = next(iter(views.values())).labels.get(phase.label)
            asked = [question.as_json() for question in questions(phase, label)]
            kind = {"kind": phase.kind, "label": phase.label, "ordered": label is not None and label.kind == "ordinal"}
            about = {"intro": phase.intro, "washout_days": phase.washout_days, "questions": asked}
            write.add("phases", phase=number, body=_json({**kind, **about}))
            if design.teaching:
                continue
            for person in design.readers:
                write.add_all("items", _items(secret, design, phase, found, number, person, numbers))


def _items(
    secret: str, design: Design, phase: Phase, found: PhasePicks, number: int, person: str, numbers: Mapping[Pick, int]
) -> list[dict[str, Any]]:
    shown = [*found.training, *found.cases]
    return [
        {
            "item": keyed(secret, "item", person, number, position), "person": person, "phase": number,
            "position": position, "training": int(entry.training), "again": int(entry.repeat),
            "image": numbers[shown[entry.first]],
            "other": None if entry.second is None else numbers[shown[entry.second]],
        }
        for position, entry in enumerate(order_for(phase, found, design.seed, number, person))
    ]  # fmt: skip


def _describe(
    folder: Path, secret: str, design: Design, picks: list[PhasePicks], views: Mapping[str, Cohort], how: Recipe,
    sizes: list[SampleSize | None], elsewhere: bool,
) -> None:  # fmt: skip
    ids = {name: view.image_ids for name, view in views.items()}
    chosen = [[(ids[pick.cohort][pick.row], pick.origin) for pick in phase.cases] for phase in picks]
    content = {
        "design": to_mapping(design), "cohorts": {name: view.digest for name, view in views.items()},
        "payload": how.as_json(), "sample": digest_json(chosen),
        "power": [None if size is None else vars(size) for size in sizes],
        "database": "postgresql" if elsewhere else "sqlite",
    }  # fmt: skip
    write_artifact(folder / "design.json", FORMAT, VERSION, content)
    people = ["owner", *design.observers, *(["course"] if design.teaching else design.readers)]
    lines = [f"{name}\t/join/{invitation(secret, name, 0)}" for name in people]
    write_atomic(folder / "invitations.txt", "\n".join(lines) + "\n")
    os.chmod(folder / "invitations.txt", 0o600)


def _json(value: Any) -> str:
    import json

    return json.dumps(value, ensure_ascii=False)
