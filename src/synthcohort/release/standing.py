"""STANDING Together: what a health data set has to say of itself so that bias can be seen (18 items, in our words).

Source: the STANDING Together recommendations, part 1, documentation of health datasets (Lancet Digit Health 2025).
The wording here is ours; the consensus text counts.
"""

from synthcohort.pages.document import Document, Item, Section
from synthcohort.release.facts import Facts, known
from synthcohort.release.figures import family_item


def standing(facts: Facts) -> Document:
    """The 18 items, answered from the run or open."""
    cohort = facts.synthetic
    summary = (
        f"{len(cohort):,} synthetic images ({facts.counted('modality') or 'kind not recorded'}), computed by a "
        "generator that learned from real ones. None shows a person."
    )
    version = f"{cohort.digest} under the policy “{facts.policy.name}”"
    return Document(
        "standing_together", "STANDING Together",
        "Eighteen items by which a reader can see whom the data stands for and whom it leaves out. The words are ours.",
        (
            Section("The data set", (
                known("1. A summary in plain words", summary, "metadata.csv"),
                facts.ask("motivation", "2. Why was it made, and for whom?"),
                facts.ask("contact", "3. Who made it and answers for it?"),
                facts.ask("funding", "4. Who paid, and what are their interests?"),
                known("5. Version, and what changed", version, "manifest.json"),
                facts.ask("license", "6. Who may have it, and on which terms?"),
            )),
            Section("Where it comes from", (
                facts.ask("source_description", "7. Where, when and how was the source collected?"),
                facts.ask("inclusion", "8. Who was included, who left out, and why?"),
                known("9. What was done to the data since?", facts.link("configuration").get("method"),
                      "provenance.json"),
            )),
            Section("Whom it shows", (
                known("10. Which groups are there, in which numbers?", _groups(facts), "metadata.csv"),
                facts.ask("attributes_source", "11. How were their attributes determined, and by whom?"),
                facts.ask("social_determinants", "12. What is known of their social circumstances?"),
                Item("13. What is missing, and for whom?", _missing(facts), "evidence", "metadata.csv"),
            )),
            Section("Labels and bias", (
                facts.ask("label_source", "14. Who set the labels, by which rule, with which agreement?"),
                facts.ask("known_bias", "15. Which biases are known?"),
                family_item(facts.scores, "subgroups", "16. Do results differ between groups?"),
            )),
            Section("Ethics", (
                facts.ask("ethics_approval", "17. Which approvals and agreements cover the use?"),
                facts.ask("patients_involved", "18. Were patients and the public involved?"),
            )),
        ),
        "the STANDING Together recommendations (part 1)",
    )  # fmt: skip


def _groups(facts: Facts) -> str:
    parts = [f"sex: {text}"] if (text := facts.counted("sex")) else []
    ages = [age for age in facts.synthetic.column("age") if age is not None]
    if ages:
        parts.append(f"age {min(ages):g} to {max(ages):g}, {len(ages):,} images with one")
    return "\n".join(parts) or "No attribute of persons is recorded: the generator was told none."


def _missing(facts: Facts) -> str:
    total, names = len(facts.synthetic), ("sex", "age", "laterality", "view")
    counts = {name: facts.synthetic.records.column(name).null_count for name in names}
    return (
        ", ".join(f"{name} on {count:,} of {total:,} images" for name, count in counts.items() if count) or "Nothing."
    )
