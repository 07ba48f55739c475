"""The ten cohorts of the joint experiment, from folders of ten image types.

    python benchmarks/ten_types.py --source ../shared/data --out runs/ten

Each folder is ingested with what `ingest --dry-run` proposes for it: kind of image and body part. Near-duplicates are
grouped where a folder has no patient ids. One that is there already is left as it is.
"""

import argparse
from pathlib import Path

from synthcohort.core.config import build
from synthcohort.ingest import IngestConfig, ingest

TYPES: dict[str, dict[str, str]] = {
    "knee-xray": {"modality": "DX", "body_part": "KNEE"},
    "chest-xray": {"modality": "DX", "body_part": "CHEST"},
    "chest-ct": {"modality": "CT", "body_part": "CHEST"},
    "brain-mri": {"modality": "MR", "body_part": "BRAIN"},
    "breast-ultrasound": {"modality": "US", "body_part": "BREAST"},
    "fundus-photo": {"modality": "OP", "body_part": "RETINA"},
    "dermoscopy": {"modality": "DMS", "body_part": "SKIN"},
    "lung-histology": {"modality": "SM", "body_part": "LUNG"},
    "colon-histology": {"modality": "SM", "body_part": "COLON"},
    "blood-smear": {"modality": "SM", "body_part": "BLOOD"},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("runs/ten"))
    parser.add_argument("--types", nargs="*", default=list(TYPES), choices=TYPES)
    args = parser.parse_args()
    for name in args.types:
        out = args.out / name
        if (out / "cohort.json").exists():
            continue
        # public sets, looked at by eye: no text is looked for; names of patients are not in them
        settings = {**TYPES[name], "name": name, "key": "seed", "pixel_text": "unchecked"}
        result = ingest(args.source / name, out, build(IngestConfig, settings, "ingest"), 0)
        print(name, result["found"], result["taken"], {k: v["images"] for k, v in result["roles"].items()}, flush=True)


if __name__ == "__main__":
    main()
