"""Croissant 1.1 with the RAI vocabulary: the data set described for machines that look for data.

Source: http://mlcommons.org/croissant/1.1 and http://mlcommons.org/croissant/RAI/1.0.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from synthcohort.release.facts import Facts
from synthcohort.release.questions import answered

NAME = "croissant.json"
OPEN = "OPEN QUESTION: nobody has stated this yet."
# Source: the context of the specification, Appendix 1.
CONTEXT: dict[str, Any] = {
    "@language": "en", "@vocab": "https://schema.org/", "citeAs": "cr:citeAs", "column": "cr:column",
    "conformsTo": "dct:conformsTo", "containedIn": "cr:containedIn", "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"}, "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/", "examples": {"@id": "cr:examples", "@type": "@json"},
    "equivalentProperty": "cr:equivalentProperty", "samplingRate": "cr:samplingRate",
    "arrayShape": "cr:arrayShape", "isArray": "cr:isArray",
    "extract": "cr:extract", "field": "cr:field", "fileObject": "cr:fileObject", "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet", "format": "cr:format", "includes": "cr:includes", "excludes": "cr:excludes",
    "isLiveDataset": "cr:isLiveDataset", "jsonPath": "cr:jsonPath", "key": "cr:key", "md5": "cr:md5",
    "parentField": "cr:parentField", "path": "cr:path", "rai": "http://mlcommons.org/croissant/RAI/",
    "recordSet": "cr:recordSet", "references": "cr:references", "regex": "cr:regex", "repeated": "cr:repeated",
    "replace": "cr:replace", "sc": "https://schema.org/", "separator": "cr:separator", "source": "cr:source",
    "subField": "cr:subField", "transform": "cr:transform",
}  # fmt: skip
TYPES = {
    "rows": "sc:Integer", "columns": "sc:Integer", "channels": "sc:Integer", "bits_stored": "sc:Integer",
    "seed": "sc:Integer", "png_offset": "sc:Integer", "frame": "sc:Integer", "age": "sc:Float",
    "window_center": "sc:Float", "window_width": "sc:Float",
}  # fmt: skip
LABEL_TYPES = {"nominal": "sc:Text", "ordinal": "sc:Integer", "continuous": "sc:Float"}
ENCODINGS = {
    "dicom": ("application/dicom", "images/dicom/*/*.dcm"), "png": ("image/png", "images/png/*/*.png"),
    "classes": ("image/png", "images/classes/*/*/*.png"), "nifti": ("application/gzip", "images/nifti/**/*.nii.gz"),
    "parquet": ("application/x-parquet", "images/parquet/*/*.parquet"),
}  # fmt: skip


def croissant(facts: Facts, header: Sequence[str], metadata_sha256: str, version: str) -> dict[str, Any]:
    """The JSON-LD of the bundle. `header` are the columns of metadata.csv, `metadata_sha256` its digest."""
    answers = answered(facts.decision)
    distribution: list[dict[str, Any]] = [
        {"@type": "cr:FileObject", "@id": "metadata.csv", "name": "metadata.csv", "contentUrl": "metadata.csv",
         "encodingFormat": "text/csv", "sha256": metadata_sha256,
         "description": "One row an image: files, labels, seed, digest."},
    ]  # fmt: skip
    for name in facts.config.formats:
        encoding, includes = ENCODINGS[name]
        distribution.append(
            {"@type": "cr:FileSet", "@id": f"{name}-files", "name": f"{name}-files", "encodingFormat": encoding,
             "includes": includes}
        )  # fmt: skip
    labels = {name: LABEL_TYPES[label.kind] for name, label in facts.synthetic.labels.items()}
    fields = [
        {"@type": "cr:Field", "@id": f"images/{name}", "name": name,
         "dataType": labels.get(name) or TYPES.get(name, "sc:Text"),
         "source": {"fileObject": {"@id": "metadata.csv"}, "extract": {"column": name}}}
        for name in header
    ]  # fmt: skip
    return {
        "@context": CONTEXT, "@type": "sc:Dataset",
        "conformsTo": ["http://mlcommons.org/croissant/1.1", "http://mlcommons.org/croissant/RAI/1.0"],
        "name": facts.synthetic.name, "version": version,
        "description": f"{len(facts.synthetic):,} synthetic medical images, computed by a generator. None shows a "
                       "person. Not for diagnosis.",
        "license": answers["license"] or OPEN, "isLiveDataset": False,
        "keywords": ["synthetic", "medical imaging", *list(facts.counts("modality"))[:10]],
        "distribution": distribution,
        "recordSet": [{"@type": "cr:RecordSet", "@id": "images", "name": "images",
                       "key": {"@id": "images/image_id"}, "field": fields}],
        **_rai(facts, answers),
    }  # fmt: skip


def _rai(facts: Facts, answers: Mapping[str, str | None]) -> dict[str, Any]:
    """The responsible-AI properties; what only a person can say is said to be open."""
    method = facts.link("configuration").get("method")
    reasons = {rule.name: rule.reason for rule in facts.decision.rules}
    privacy = [reasons[name] for name in ("family:copies", "family:membership") if name in reasons]
    return {
        "rai:hasSyntheticData": True,
        "rai:dataCollection": f"Computed, not collected: {method or 'the method was not recorded'}.",
        "rai:dataCollectionType": ["Synthetic"],
        "rai:dataCollectionRawData": answers["source_description"] or OPEN,
        "rai:dataPreprocessingProtocol": ["Near copies of training images were replaced before writing."],
        "rai:dataAnnotationProtocol": "A label is what the generator was asked to show; it is no reading. "
                                      f"Labels of the source: {answers['label_source'] or OPEN}",
        "rai:dataUseCases": [answers["intended_use"] or OPEN],
        "rai:dataLimitations": [answers["not_intended_for"] or OPEN, "Not for diagnosis.",
                                *(r.reason for r in facts.decision.rules if "ould not be concluded" in r.reason)],
        "rai:dataBiases": [answers["known_bias"] or OPEN, reasons.get("family:subgroups", "Nobody measured groups.")],
        "rai:dataSocialImpact": answers["harms"] or OPEN,
        "rai:personalSensitiveInformation": ["No image was made from a real one.", *privacy],
        "rai:dataReleaseMaintenancePlan": answers["maintenance"] or OPEN,
    }  # fmt: skip
