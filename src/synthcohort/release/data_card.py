"""The data card: Datasheets for Datasets (Gebru et al., arXiv 1803.09010), filled in from the run."""

from synthcohort.core.files import read_json
from synthcohort.pages.document import Document, Item, Section
from synthcohort.pages.report import flatten
from synthcohort.release.facts import Facts, known
from synthcohort.release.figures import family_item
from synthcohort.release.readers import reader_items
from synthcohort.release.rules import get


def data_card(facts: Facts) -> Document:
    """What is in the bundle, where it comes from, and what it may be used for."""
    return Document(
        "data_card", "Data card",
        "What the images are, how they came to be, and what they may and may not be used for.",
        (
            Section("Motivation", (facts.ask("motivation"), facts.ask("funding"))),
            Section("Composition", tuple(_composition(facts))),
            Section("Where the real images come from", (
                facts.ask("source_description"), facts.ask("inclusion"), facts.ask("attributes_source"),
                facts.ask("ethics_approval"), facts.ask("consent"),
            ), "The synthetic images were learned from real ones, which are not in this bundle."),
            Section("How the images were made", tuple(_making(facts))),
            Section("Labels", tuple(_labels(facts))),
            Section("What experts saw", tuple(reader_items(facts.scores))),
            Section("Uses", (
                facts.ask("intended_use"), facts.ask("not_intended_for"),
                Item("What must nobody use them for, whatever else is said?",
                     "Diagnosis or treatment of a person. The attempt to find out who the real patients are.",
                     "fixed"),
                facts.ask("known_bias"), facts.ask("harms"),
            )),
            Section("Distribution", (
                Item("Under which terms?", facts.decision.statement["license"], "stated"),
                known("By which decision?", f"Policy “{facts.policy.name}”: {facts.policy.purpose}", "decision.json"),
                known("In which formats?", ", ".join(facts.config.formats), "manifest.json"),
                Item("How does a receiver know that nothing was changed?",
                     "synthcohort verify checks every byte, the marking of every image and the decision, with the "
                     "owner’s public key also who signed it.", "evidence", "manifest.json"),
            )),
            Section("Maintenance", (facts.ask("contact"), facts.ask("maintenance"), facts.ask("erratum"),
                                    facts.ask("withdrawal"))),
        ),
        "Datasheets for Datasets (arXiv 1803.09010)",
    )  # fmt: skip


def _composition(facts: Facts) -> list[Item]:
    cohort = facts.synthetic
    sizes = sorted({(row["rows"], row["columns"]) for row in _distinct(facts)})
    shown = ", ".join(f"{rows} × {columns}" for rows, columns in sizes[:6]) + (" and more" if len(sizes) > 6 else "")
    volumes = len(cohort.volumes)
    items = [
        known(
            "What does one item represent?", "One image computed by a generator. It shows no person.", "metadata.csv"
        ),
        known("How many are there?", f"{len(cohort):,} images" + (f", of them {volumes:,} volumes" if volumes else "")),
        known("Which kinds of image?", facts.counted("modality"), "metadata.csv, column modality")
        if facts.counted("modality")
        else Item("Which kinds of image?", "Not stated: the generator was told of none.", "none"),
        known("Which parts of the body?", facts.counted("body_part"), "metadata.csv, column body_part"),
        known("Rows × columns", shown, "metadata.csv"),
    ]
    for name in cohort.labels:
        items.append(known(f"Label “{name}”", facts.counted(name), f"metadata.csv, column {name}"))
    items += [known("Sex shown as", facts.counted("sex"), "metadata.csv, column sex")]
    items += [
        Item("Does it contain real images, patients’ names or pseudonyms?",
             "No. No image was made from a real one, and no column of patients, sites or scanners is in the bundle.",
             "evidence", "decision.json, rule not_derived_from_real"),
        Item("Is any information missing?", "What the generator was not told is absent, not invented: dates, scanners, "
             "physicians, acquisition values.", "evidence", "metadata.csv"),
        family_item(facts.scores, "copies", "Can an image be the image of a real patient?"),
        family_item(facts.scores, "coverage", "Is the variety of the real patients there?"),
        family_item(facts.scores, "subgroups", "Are groups of patients treated alike?"),
    ]  # fmt: skip
    return items


def _distinct(facts: Facts) -> list[dict[str, int]]:
    table = facts.synthetic.records.select(["rows", "columns"])
    return list(table.group_by(["rows", "columns"]).aggregate([]).to_pylist())


def _making(facts: Facts) -> list[Item]:
    configuration, model, seeds = facts.link("configuration"), facts.link("model"), facts.link("seeds")
    training = model.get("training") or {}
    real = facts.scores.get("real") or {}
    patients = (real.get("patients") or {}).get("train")
    learned = training.get("training_images") or (real.get("images") or {}).get("train")
    source = f"{learned:,} real images" + (f" of {patients:,} patients" if patients else "") if learned else ""
    return [
        known("By which method?", configuration.get("method"), "provenance.json"),
        known("What did the generator learn from?", source, "provenance.json"),
        known("Which model exactly?", model.get("digest"), "provenance.json"),
        known("Which request was drawn?", _request(seeds.get("request") or {}), "provenance.json"),
        known("Was anything thrown away?", _screened(facts), "screened.json of the owner's cohort"),
        Item("Can an image be made again?", "Yes, by the owner of the generator: synthcohort trace BUNDLE IMAGE --run "
             "RUN draws it from its seed and compares every pixel.", "evidence", "metadata.csv, column seed"),
    ]  # fmt: skip


def _request(request: dict[str, object]) -> str:
    """Without what was not asked for."""
    told = [(name, text) for name, text in flatten(request) if text not in ("none", "not recorded")]
    return "; ".join(f"{name.replace('_', ' ')} {text}" for name, text in told)


def _screened(facts: Facts) -> str:
    """What the copy screen did, with its count where the cohort has one."""
    if not facts.synthetic.info.get("screened"):
        return ""
    path = facts.synthetic.path / "screened.json"
    found = read_json(path) if path.is_file() else {}
    drawn, near = get(found, "drawn"), get(found, "images")
    count = f" of {drawn:,} drawn" if isinstance(drawn, int) else ""
    said = f" {len(near):,}{count} were too near to one." if isinstance(near, list) else ""
    return (
        "Each image was compared with the training images, and near copies were drawn anew or left out before "
        f"anything was written.{said}"
    )


def _labels(facts: Facts) -> list[Item]:
    return [
        Item("What is a label here?", "What the generator was asked to show. It is not a reading of the image.",
             "evidence", "provenance.json"),
        family_item(facts.scores, "label_truth", "Do the images show what was asked for?"),
        facts.ask("label_source"),
    ]  # fmt: skip
