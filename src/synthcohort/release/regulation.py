"""The regulation page: what each audit says about what the law asks, and what only counsel can say."""

from typing import Any

from synthcohort.pages.document import Document, Item, Section
from synthcohort.release.facts import Facts, known
from synthcohort.release.figures import family_item, figure_items, select
from synthcohort.release.rules import get

# Which figures speak to which question, by parts of their names.
LINKAGE = ("member", "reident", "link", "canar", "attack")
INFERENCE = ("attribute", "inference", "infer")


def regulation(facts: Facts) -> Document:
    """Statements with their evidence, and questions."""
    return Document(
        "regulation", "Regulation",
        "What was measured that bears on the law, and what a lawyer has to decide. Nothing here is legal advice.",
        (
            Section("GDPR: singling out", (
                family_item(facts.scores, "copies", "Can a person be singled out by an image that copies theirs?"),
                *figure_items(_privacy(facts, ("copy", "copies", "nearest"))),
                Item("What was not tried", "An attacker who holds other pictures or records of the same patients, "
                     "unless a figure above says so.", "fixed"),
            ), "Opinion 05/2014 of the Article 29 Working Party names three risks that anonymous data must exclude."),
            Section("GDPR: linkability", (
                family_item(facts.scores, "membership", "Can an image be linked to a patient in the training data?"),
                *figure_items(_privacy(facts, LINKAGE)),
            )),
            Section("GDPR: inference", tuple(_inference(facts))),
            Section("GDPR: conclusion", (facts.ask("gdpr_anonymous"), facts.ask("gdpr_basis"))),
            Section("HIPAA: de-identification", (
                known("Safe Harbor, 45 CFR 164.514(b)(2): are the 18 identifiers in the bundle?",
                      "The bundle holds no column of names, dates, places, record numbers, devices or contacts of "
                      "patients. Ages are those that the generator was asked to show."
                      + (" Ages above 89 are among them: counsel has to look." if _old(facts) else ""),
                      "metadata.csv; docs/formats.md lists every column"),
                known("Full-face photographs and comparable images", _kinds(facts), "metadata.csv, column modality"),
                known("Expert Determination, 45 CFR 164.514(b)(1): which evidence has an expert?",
                      _audits(facts), "scores.json"),
                facts.ask("hipaa_path"),
            ), "HIPAA knows two paths; which one is taken, if any is needed, is for counsel."),
            Section("The generator’s weights", (
                Item("Are they in the bundle?", "No. Run folders, weights and features of training images stay with "
                     "the owner.", "evidence", "manifest.json"),
                Item("Does this evidence cover them?", "No. It is about these images. Weights can hold more of their "
                     "training data than images drawn from them show.", "fixed"),
                facts.ask("weights_personal"),
            )),
            Section("EU AI Act, Article 50(2): marking", (
                Item("Are the images marked as artificially generated, in a machine-readable way?", _marking(facts),
                     "evidence", "synthcohort verify"),
                facts.ask("ai_act_role"),
            )),
            Section("Use and liability", (
                facts.ask("intended_use"), facts.ask("not_intended_for"), facts.ask("device_use"),
                facts.ask("liability"), facts.ask("withdrawal"),
            )),
        ),
    )  # fmt: skip


def _privacy(facts: Facts, words: tuple[str, ...]) -> list[Any]:
    def wanted(item: Any) -> bool:
        name = str(item.get("name")).lower()
        return item.get("group") == "privacy" and any(word in name for word in words)

    return select(facts.scores, wanted)


def _inference(facts: Facts) -> list[Item]:
    found = figure_items(_privacy(facts, INFERENCE))
    return found or [
        Item(
            "Can something about a patient be inferred from the images?", "Nobody measured this.", "none", "scores.json"
        )
    ]


def _audits(facts: Facts) -> str:
    """Which privacy checks reached a verdict, and which did not."""
    said = {name: get(facts.scores, "families", name, "verdict") for name in ("copies", "membership")}
    done = [f"{name} ({verdict})" for name, verdict in said.items() if verdict in ("pass", "fail")]
    open_ones = [name for name, verdict in said.items() if verdict not in ("pass", "fail")]
    text = "The figures stand above and in report.html. Checks that reached a verdict: "
    text += f"{', '.join(done) or 'none'}."
    return text + (f" Without one: {', '.join(open_ones)}." if open_ones else "")


def _old(facts: Facts) -> bool:
    return any(age is not None and age > 89 for age in facts.synthetic.column("age"))


def _kinds(facts: Facts) -> str:
    return (
        f"Images by modality: {facts.counted('modality') or 'not stated'}. None is a photograph of a person; "
        "whether a kind of image could show a face is for the owner to say."
    )


def _marking(facts: Facts) -> str:
    said = {
        "dicom": "DICOM: Synthetic Data (0008,001C) = YES and Contributing Equipment “Synthesizing Equipment”",
        "png": "PNG: XMP digital source type trainedAlgorithmicMedia",
        "classes": "PNG in class folders: the same",
        "nifti": "NIfTI: a comment extension SYNTHETIC=YES",
        "parquet": "Parquet: synthetic = YES in the schema, and each PNG as above",
    }
    return "Yes, each file. " + "; ".join(said[name] for name in facts.config.formats) + "."
