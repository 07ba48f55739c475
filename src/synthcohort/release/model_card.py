"""The model card (Mitchell et al., arXiv 1810.03993) of the generator, which itself stays with the owner."""

from synthcohort.pages.document import Document, Item, Section
from synthcohort.pages.report import FIXED_LIMITS, flatten
from synthcohort.release.facts import Facts, known
from synthcohort.release.figures import family_item, figure_items, select
from synthcohort.release.readers import GROUP, reader_items


def model_card(facts: Facts) -> Document:
    """What drew the images, what it learned from, and how well it does."""
    model, code, configuration = facts.link("model"), facts.link("code"), facts.link("configuration")
    training = model.get("training") or {}
    details = [
        known("Which model?", model.get("digest"), "provenance.json"),
        known("Of which kind?", configuration.get("method"), "provenance.json"),
        known("Images seen in training", _number(training.get("images_seen")), "provenance.json"),
        known("Training steps", _number(training.get("steps")), "provenance.json"),
        known("Training images", _number(training.get("training_images")), "provenance.json"),
        known("Seed of training", facts.link("seeds").get("training"), "provenance.json"),
        known("Written by", f"synthcohort {(code.get('bundle') or {}).get('version')}", "provenance.json"),
    ]
    settings = [f"{name.replace('_', ' ')}: {text}" for name, text in flatten(configuration.get("config") or {})]
    return Document(
        "model_card", "Model card",
        "The generator that drew the images. It is not part of this bundle and stays with the owner.",
        (
            Section("The model", tuple(details)),
            Section("How images are drawn", (known("Settings", "\n".join(settings), "provenance.json"),)),
            Section("Intended use", (facts.ask("intended_use"), facts.ask("not_intended_for"))),
            Section("Training data", (
                Item("Real cohorts, by digest", ", ".join(facts.link("source").get("learned_from") or []) or
                     "Not recorded.", "evidence", "provenance.json"),
                facts.ask("source_description"), facts.ask("inclusion"), facts.ask("social_determinants"),
            )),
            Section("How well does it do?", tuple(_results(facts)), "Each figure with its interval, and what real "
                    "images reach. All of them stand in report.html."),
            Section("What experts saw", tuple(reader_items(facts.scores))),
            Section("Groups of patients", (
                family_item(facts.scores, "subgroups", "Are all groups served equally?"), facts.ask("known_bias"),
            )),
            Section("Privacy", (
                family_item(facts.scores, "copies", "Does it copy training images?"),
                family_item(facts.scores, "membership", "Does it give away who was in the training data?"),
                facts.ask("weights_personal"),
            )),
            Section("Limits", tuple(Item(f"Limit {number}", text, "fixed")
                                    for number, text in enumerate(FIXED_LIMITS, 1))),
        ),
        "Model Cards for Model Reporting (arXiv 1810.03993)",
    )  # fmt: skip


def _results(facts: Facts) -> list[Item]:
    whole = select(facts.scores, lambda item: item.get("subset") is None and item.get("group") != GROUP)
    order = {"utility": 0, "alignment": 1, "fidelity": 2, "privacy": 3}
    ranked = sorted(whole, key=lambda item: order.get(str(item.get("group")), 4))
    return figure_items(ranked, 16) or [Item("Results", "Nobody measured anything.", "none")]


def _number(found: object) -> str:
    return f"{found:,}" if isinstance(found, int) else ""
