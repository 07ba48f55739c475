"""All documents of a bundle, written from the run: pages for people, JSON for machines, a README to begin with."""

from collections.abc import Sequence
from textwrap import wrap

from synthcohort.core.files import artifact_text, json_text
from synthcohort.pages import pdf
from synthcohort.pages.document import render_document
from synthcohort.release import croissant, scorecard
from synthcohort.release.data_card import data_card
from synthcohort.release.decision import Decision
from synthcohort.release.facts import Facts
from synthcohort.release.manifest import Writer
from synthcohort.release.model_card import model_card
from synthcohort.release.questions import answered, template
from synthcohort.release.regulation import regulation
from synthcohort.release.standing import standing
from synthcohort.release.summary import summary

FOLDER = "documents"
WIDTH = 110  # of a line of README.txt


def write_documents(
    writer: Writer, facts: Facts, header: Sequence[str], metadata_sha256: str, exported: dict[str, int], version: str
) -> None:
    """Writes every document into the bundle; as PDF as well where release.pdf asks for it."""
    card = scorecard.scorecard(facts.scores, facts.synthetic, facts.decision, facts.provenance, exported)
    writer.add("scorecard.json", artifact_text(scorecard.FORMAT, scorecard.VERSION, card))
    writer.add(croissant.NAME, json_text(croissant.croissant(facts, header, metadata_sha256, version)))
    writer.add(f"{FOLDER}/answers.toml", template(answered(facts.decision)))
    pages = [summary(facts), data_card(facts), model_card(facts), scorecard.document(card, facts.scores),
             standing(facts), regulation(facts)]  # fmt: skip
    notes = override_words(facts.decision)
    for page in pages:
        others = [(f"{other.name}.html", other.title) for other in pages if other is not page]
        html = render_document(page, facts.synthetic.name, [*others, ("../report.html", "The evidence")], notes)
        writer.add(f"{FOLDER}/{page.name}.html", html)
        if facts.config.pdf:
            writer.add(f"{FOLDER}/{page.name}.pdf", pdf.to_pdf(html))


def override_words(decision: Decision) -> list[str]:
    """What was set aside, a sentence or two for each rule, for the top of every page; empty when nothing was."""
    rules = {rule.name: rule for rule in decision.rules}
    return [
        f"“{rules[name].title}” does not hold. The reason given: “{reason}” What was found: {rules[name].reason}"
        for name, reason in decision.overrides.items()
    ]


def _aside(decision: Decision) -> list[str]:
    """The same for a text file: the reason in one line, what was found below it."""
    rules = {rule.name: rule for rule in decision.rules}
    lines = []
    for name, reason in decision.overrides.items():
        lines += [f"- {rules[name].title}: does not hold.", f"  The reason given: {reason}"]
        lines += wrap(f"What was found: {rules[name].reason}", WIDTH, initial_indent="  ", subsequent_indent="  ")
    return lines


def readme(facts: Facts, signed: bool) -> str:
    """The first file a receiver opens, in plain words."""
    statement, decision = facts.decision.statement, facts.decision
    folders = {
        "dicom": "images/dicom/   the images as DICOM, marked Synthetic Data (0008,001C) = YES",
        "png": "images/png/     the images as PNG at their own depth, marked as made by a trained model",
        "nifti": "images/nifti/   the images and volumes as NIfTI, marked in a comment extension",
        "parquet": "images/parquet/ the images with labels as parquet, for training",
        "classes": "images/classes/ the images as PNG in a folder for each class, for training",
    }
    aside = _aside(decision)
    unanswered = sum(text is None for text in answered(decision).values())
    key = "--public-key OWNER.pub" if signed else ""
    seal = (
        "With the owner's public key, which you should get from the owner and not with the bundle, verify also shows "
        "who made it."
        if signed
        else "This finds changed, added and missing files. It does not prove who made the bundle: it is not signed."
    )
    lines = [
        f"SYNTHETIC MEDICAL IMAGES: {facts.synthetic.name}",
        "",
        f"{len(facts.synthetic):,} images computed by a generator. None is a recording of a person. Not for diagnosis.",
        *wrap(f"Released under the policy “{decision.policy['name']}”: {decision.policy['purpose']}", WIDTH),
        *(["", "RULES OF THE POLICY THAT WERE SET ASIDE BY A WRITTEN REASON", *aside] if aside else []),
        "",
        f"License:           {statement['license']}",
        f"Intended use:      {statement['intended_use'] or 'OPEN QUESTION: nobody has stated one'}",
        f"Not intended for:  {statement['not_intended_for'] or 'OPEN QUESTION: nobody has stated it'}",
        f"Contact:           {statement['contact'] or 'OPEN QUESTION: nobody has stated one'}",
        *([f"Open questions:    {unanswered} wait for a person; documents/ shows each"] if unanswered else []),
        "",
        *wrap(
            "Begin with report.html: what the images are, how good and how private they were found to be, and what "
            "nobody tested." + (" index.html lets you look through the images." if facts.config.site_images else ""),
            WIDTH,
        ),
        "",
        "report.html     the evidence, for people",
        *(
            ["index.html      browse, filter and look at the images; opens from disk"]
            if facts.config.site_images
            else []
        ),
        "documents/      summary for an ethics board, data card, model card, scorecard, STANDING Together, regulation",
        *(folders[name] for name in facts.config.formats),
        *(
            ["content_credentials.pem  root of the C2PA credentials in the PNG files; it holds the owner's public key"]
            if facts.config.c2pa and not facts.config.c2pa_chain
            else []
        ),
        "metadata.csv    one row an image: file names, labels, seed, digest",
        "load.py         reads the images in ten lines of Python",
        "decision.json   every rule of the decision with what was found",
        "scores.json     every figure of the evidence, for machines",
        "scorecard.json  the FDA's seven criteria",
        "croissant.json  the data set described for machines (Croissant 1.1)",
        "provenance.json the chain from the source's digest to each image",
        "policy.toml     the thresholds and rules by which it was judged",
        "manifest.json   every document and folder; checksums/ lists the images; manifest.sha256 the manifest's own",
        "",
        f"Check that nothing was changed:   synthcohort verify THIS_FOLDER {key}".rstrip(),
        "or without any program of ours:   sha256sum -c manifest.sha256 $(find checksums -name '*.sha256')",
        *wrap(seal, WIDTH),
        "",
        "The seed in metadata.csv draws the same image again from the same generator, which stays with the owner.",
        "In the PNG of an image with negative values, png_offset was added: image value = PNG value - png_offset.",
        "",
    ]
    return "\n".join(lines)
