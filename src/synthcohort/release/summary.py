"""One page for an ethics board: what this is, what was decided, what was found, what is open."""

from synthcohort.pages.document import Document, Item, Section
from synthcohort.release.facts import Facts
from synthcohort.release.figures import family_item
from synthcohort.release.questions import answered
from synthcohort.release.readers import reader_items
from synthcohort.release.rules import get

CHECKS = (
    ("copies", "Is an image a copy of a patient’s?"),
    ("membership", "Can one tell who was in the training data?"),
    ("label_truth", "Do images show what they say?"),
    ("subgroups", "Are all groups represented?"),
)
WHERE_FAILED = (
    ("image_damage", "Are the images free of technical damage?"),
    ("coverage", "Is the variety of the real patients there?"),
    ("harm", "Does training with the images leave all classes as they were?"),
)


def summary(facts: Facts) -> Document:
    """The whole on one page."""
    decision = facts.decision
    aside = "; ".join(rule.title for rule in decision.rules if rule.override is not None)
    failed = [item for item in WHERE_FAILED if get(facts.scores, "families", item[0], "verdict") == "fail"]
    shown = (*CHECKS, *failed)
    open_ones = sum(text is None for text in answered(decision).values())
    kept = f"{sum(rule.passed for rule in decision.rules)} of {len(decision.rules)} rules are kept"
    real = facts.scores.get("real") or {}
    learned = (real.get("images") or {}).get("train")
    what = (
        f"{len(facts.synthetic):,} images computed by a generator"
        + (f" that learned from {learned:,} images of patients" if learned else "")
        + ". No image is a recording of a person."
    )
    return Document(
        "summary", "Summary for an ethics board", what,
        (
            Section("Decision", (
                Item("What was decided?", f"Release under the policy “{facts.policy.name}”: {facts.policy.purpose}",
                     "evidence", "decision.json"),
                Item("On which rules?", kept + (f". Set aside by a written reason: {aside}." if aside else "."),
                     "evidence", "decision.json"),
                facts.ask("intended_use"), facts.ask("not_intended_for"),
            )),
            Section("What was found", tuple(_check(facts, name, text) for name, text in shown)),
            Section("What experts saw", tuple(reader_items(facts.scores)[:4])),
            Section("Approval and trust", (
                facts.ask("ethics_approval"), facts.ask("consent"), facts.ask("contact"),
                Item("Open questions in all documents", f"{open_ones} wait for a person.", "evidence",
                     "documents/answers.toml"),
            )),
        ),
    )  # fmt: skip


def _check(facts: Facts, name: str, question: str) -> Item:
    """A check's verdict; of one that was set aside what was found stands on top of the page already."""
    if f"family:{name}" not in facts.decision.overrides:
        return family_item(facts.scores, name, question)
    failed = get(facts.scores, "families", name, "verdict") == "fail"
    text = f"{'Failed' if failed else 'Not shown'}, and set aside: the reason and what was found stand on top."
    return Item(question, text, "evidence", f"scores.json, check “{name}”")
