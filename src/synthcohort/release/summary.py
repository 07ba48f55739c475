"""One page for an ethics board: what this is, what was decided, what was found, what is open."""

from synthcohort.pages.document import Document, Item, Section
from synthcohort.release.facts import Facts
from synthcohort.release.figures import family_item
from synthcohort.release.questions import answered
from synthcohort.release.readers import reader_items

CHECKS = (
    ("copies", "Is an image a copy of a patient’s?"),
    ("membership", "Can one tell who was in the training data?"),
    ("label_truth", "Do images show what they say?"),
    ("subgroups", "Are all groups represented?"),
)


def summary(facts: Facts) -> Document:
    """The whole on one page."""
    decision = facts.decision
    aside = "; ".join(f"{name}: {reason}" for name, reason in decision.overrides.items())
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
                Item("On which rules?", kept + (f". Set aside by a written reason: {aside}" if aside else "."),
                     "evidence", "decision.json"),
                facts.ask("intended_use"), facts.ask("not_intended_for"),
            )),
            Section("What was found", tuple(family_item(facts.scores, name, text) for name, text in CHECKS)),
            Section("What experts saw", tuple(reader_items(facts.scores)[:4])),
            Section("Approval and trust", (
                facts.ask("ethics_approval"), facts.ask("consent"), facts.ask("contact"),
                Item("Open questions in all documents", f"{open_ones} wait for a person.", "evidence",
                     "documents/answers.toml"),
            )),
        ),
    )  # fmt: skip
