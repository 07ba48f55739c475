"""FDA's seven criteria for synthetic medical data, each with figures, and the twelve keys of comprehension.

Source: the scorecard of doi:10.1038/s44172-025-00450-1 (toolbox DIDSR/ScoreCard), where compliance is not quantified;
here it is: rules kept, images marked, questions answered.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from synthcohort.core.cohort import Cohort
from synthcohort.pages.document import Document, Item, Section
from synthcohort.pages.numbers import number
from synthcohort.pages.report import flatten
from synthcohort.release.decision import Decision
from synthcohort.release.figures import family_item, figure_items, name_words, select
from synthcohort.release.provenance import link
from synthcohort.release.questions import answered
from synthcohort.release.readers import reader_items, reader_scores
from synthcohort.release.rules import get

FORMAT, VERSION = "scorecard", 2
CRITERIA = (
    ("congruence", "How alike are the distributions of synthetic and real images?"),
    ("coverage", "How much of the variety of the real images is reached?"),
    ("constraint", "Do the images keep within the limits of real ones?"),
    ("completeness", "Is every piece of information there that a use needs?"),
    ("compliance", "Are the rules for data formats, privacy and use kept?"),
    ("comprehension", "Is it documented how the data was made and what for?"),
    ("consistency", "Are the results stable across groups?"),
)
FAMILY_OF = {"coverage": "coverage", "constraint": "image_damage", "consistency": "subgroups"}
OVERALL = {
    "pass": "Every check passed.",
    "fail": "At least one check failed; report.html names it.",
    "inconclusive": "No check failed, and at least one was not concluded; report.html names it.",
}
_KEYS = (
    "name", "title", "encoder", "subset", "value", "low", "high", "confidence", "floor", "better", "n_real",
    "n_synthetic", "group", "good",
)  # fmt: skip


def scorecard(
    scores: Mapping[str, Any],
    synthetic: Cohort,
    decision: Decision,
    provenance: Mapping[str, Any],
    exported: Mapping[str, int],
) -> dict[str, Any]:
    """The seven criteria: each with its figures, or with the reason why it was not evaluated.

    `exported` counts images: `images`, and `marked` of them that carry the marking in every file.
    """
    criteria = []
    for name, question in CRITERIA:
        if name == "completeness":
            card = _completeness(synthetic)
        elif name == "compliance":
            card = _compliance(decision, exported)
        elif name == "comprehension":
            card = _comprehension(scores, decision, provenance)
        else:
            card = _measured(name, scores)
        criteria.append({"name": name, "question": question, **card})
    return {
        "source": "FDA scorecard for synthetic medical data, doi:10.1038/s44172-025-00450-1",
        "criteria": criteria,
    }


def _measured(name: str, scores: Mapping[str, Any]) -> dict[str, Any]:
    family = FAMILY_OF.get(name)
    if family is None:
        found = select(scores, lambda item: item.get("group") == "fidelity" and item.get("family") != "coverage")
        return _with_scores([*reader_scores(scores), *found], "no fidelity score was computed")
    found = select(scores, lambda item: item.get("family") == family)
    figures = get(scores, "families", family, "figures")
    card = _with_scores(found, str(get(scores, "families", family, "reason") or "not measured"))
    if card["status"] != "evaluated" and isinstance(figures, Mapping) and figures:
        card = {"status": "evaluated", "figures": dict(figures)}
    if name == "consistency":
        spread = spreads(scores)
        if spread:
            card = {**card, "status": "evaluated", "spread": spread}
            card.pop("reason", None)
    return {**card, "verdict": get(scores, "families", family, "verdict") or "inconclusive"}


def _with_scores(found: Sequence[Mapping[str, Any]], reason: str) -> dict[str, Any]:
    if not found:
        return {"status": "not evaluated", "reason": reason}
    return {"status": "evaluated", "scores": [{key: score.get(key) for key in _KEYS} for score in found]}


def spreads(scores: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """How far a figure differs between the groups it was computed for: lowest, highest and their names."""
    grouped: dict[str, list[Mapping[str, Any]]] = {}
    for item in select(scores, _of_a_group):
        grouped.setdefault(f"{item.get('name')} {item.get('encoder') or ''}".strip(), []).append(item)
    result = {}
    for name, items in grouped.items():
        if len(items) > 1:
            low, high = min(items, key=lambda item: item["value"]), max(items, key=lambda item: item["value"])
            result[name] = {
                "title": name_words({**low, "subset": None}), "groups": len(items),
                "lowest": low["value"], "lowest_group": low["subset"],
                "highest": high["value"], "highest_group": high["subset"],
            }  # fmt: skip
    return result


def _of_a_group(item: Mapping[str, Any]) -> bool:
    """A figure of one class or group such as `sex=F`; a gap between groups is a spread already."""
    return "=" in str(item.get("subset") or "") and not str(item.get("name")).startswith("group_gap")


def _completeness(synthetic: Cohort) -> dict[str, Any]:
    total = len(synthetic)
    columns = [*synthetic.labels, "modality", "body_part", "laterality", "view", "sex", "age", "caption",
               "pixel_spacing_mm", "seed"]  # fmt: skip
    filled = {name: 1 - synthetic.records.column(name).null_count / total if total else 0.0 for name in columns}
    return {"status": "evaluated", "figures": {"images": total, "share_of_images_with": filled}}


def _compliance(decision: Decision, exported: Mapping[str, int]) -> dict[str, Any]:
    answers = answered(decision)
    return {
        "status": "evaluated",
        "figures": {
            "rules_kept": sum(rule.passed for rule in decision.rules),
            "rules_set_aside": len(decision.overrides),
            "rules": len(decision.rules),
            "images_marked_synthetic": exported["marked"],
            "images": exported["images"],
            "questions_answered": sum(text is not None for text in answers.values()),
            "questions": len(answers),
        },
    }


def _comprehension(scores: Mapping[str, Any], decision: Decision, provenance: Mapping[str, Any]) -> dict[str, Any]:
    keys = comprehension(scores, decision, provenance)
    given = sum(value is not None for value in keys.values())
    read = get(scores, "figures", "reader_study")
    study = {"reader_study": read} if isinstance(read, Mapping) else {}
    return {"status": "evaluated", "figures": {"answered": given, "of": len(keys), "keys": keys, **study}}


def comprehension(scores: Mapping[str, Any], decision: Decision, provenance: Mapping[str, Any]) -> dict[str, Any]:
    """The twelve comprehension keys; None is an open question, never a guess."""
    configuration, seeds, model = (link(provenance, name) for name in ("configuration", "seeds", "model"))
    code, source, answers = link(provenance, "code"), link(provenance, "source"), answered(decision)
    bundle = code.get("bundle") or {}
    screened = get(scores, "synthetic", "screened") is True
    privacy = [
        *(["screen against the training images before writing"] if screened else []),
        *(["copies judged against control patients"] if get(scores, "families", "copies", "figures") else []),
    ]
    return {
        "generation_method": configuration.get("method"),
        "model_version": model.get("digest"),
        "hyperparameters": configuration.get("config"),
        "random_seed": get(seeds, "request", "seed"),
        "real_data_source": answers["source_description"] or source.get("compared_with"),
        "preprocessing_steps": get(model, "training", "preprocessing"),
        "initial_evaluation": scores.get("verdict"),
        "intended_use": answers["intended_use"],
        "not_intended_for": answers["not_intended_for"],
        "privacy_method": "; ".join(privacy) or None,
        "code_repository": bundle.get("commit") or bundle.get("source_digest"),
        "environment": bundle.get("libraries"),
    }


def document(card: Mapping[str, Any], scores: Mapping[str, Any]) -> Document:
    """The scorecard as a page."""
    sections = [
        Section(f"{item['name'].capitalize()}", tuple(_items(item, scores)), item["question"])
        for item in card["criteria"]
    ]
    return Document(
        "scorecard", "Scorecard: seven criteria",
        "The seven criteria of the FDA’s scorecard for synthetic medical data, each with the figures of this run.",
        tuple(sections), "doi:10.1038/s44172-025-00450-1",
    )  # fmt: skip


def _items(criterion: Mapping[str, Any], scores: Mapping[str, Any]) -> list[Item]:
    name, items = criterion["name"], []
    if name in FAMILY_OF:
        items.append(family_item(scores, FAMILY_OF[name], "Verdict of the check"))
    items += figure_items(criterion.get("scores") or [])
    for found in (criterion.get("spread") or {}).values():
        items.append(Item(f"Spread: {found['title']}", _spread_words(found), "evidence", "scores.json"))
    figures = criterion.get("figures") or {}
    if name == "completeness":
        for column, share in figures["share_of_images_with"].items():
            items.append(Item(f"Images with {column.replace('_', ' ')}", f"{share:.1%}", "evidence", "metadata.csv"))
    if name == "compliance":
        items += _compliance_items(figures)
    if name == "comprehension":
        items += [_key_item(key, value) for key, value in figures["keys"].items()]
        items += reader_items(scores)[:1]
    if not items:
        items.append(Item("Result", f"Not evaluated: {criterion.get('reason')}.", "none"))
    return items


def _spread_words(found: Mapping[str, Any]) -> str:
    groups = f"{found['groups']} groups and classes"
    if found["lowest"] == found["highest"]:
        return f"{number(found['lowest'])} in all {groups}"
    low, high = (str(found[end]).replace("=", " = ").replace("_", " ") for end in ("lowest_group", "highest_group"))
    return f"from {number(found['lowest'])} ({low}) to {number(found['highest'])} ({high}) over {groups}"


def _key_item(key: str, value: Any) -> Item:
    """One of the twelve keys; two of them only the owner can answer."""
    question = key.replace("_", " ").capitalize()
    of_a_person = key in ("intended_use", "not_intended_for", "real_data_source")
    if of_a_person and value is not None and not str(value).startswith("sha256:"):
        return Item(question, str(value), "stated")
    if key == "initial_evaluation" and value in OVERALL:
        return Item(question, OVERALL[value], "evidence", "scores.json")
    if value is not None:
        return Item(
            question, _plain(value), "evidence", "scores.json" if key == "privacy_method" else "provenance.json"
        )
    if key in ("intended_use", "not_intended_for"):
        return Item(question, "Not answered yet.", "open")
    return Item(question, "Not recorded.", "none")


def _compliance_items(figures: Mapping[str, Any]) -> list[Item]:
    rules = f"{figures['rules_kept']} of {figures['rules']}, {figures['rules_set_aside']} set aside by a written reason"
    marked = f"{figures['images_marked_synthetic']:,} of {figures['images']:,}"
    asked = f"{figures['questions_answered']} of {figures['questions']}"
    return [
        Item("Rules of the policy that are kept", rules, "evidence", "decision.json"),
        Item("Images marked as synthetic in every file", marked, "evidence", "checked again by verify"),
        Item("Questions that a person has answered", asked, "evidence", "documents/answers.toml"),
    ]


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return "\n".join(f"{name.replace('_', ' ')}: {text}" for name, text in flatten(value))
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_plain, value))
    return str(value)
