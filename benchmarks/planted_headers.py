"""Plants names, ids, addresses, phone numbers, dates and UIDs all over DICOM headers and looks for them in the output.

The headers are written byte by byte, so that they can hold what no library would write: text in numbers, wrong VRs,
several character sets, private and unknown tags, nested sequences, curve and overlay groups, a preamble, data after the
pixels. Every planted string is looked for in every byte of the output, in all the forms of `needles.py`. `refused.csv`
is not searched: it names files, is the owner's and says so.

    python benchmarks/planted_headers.py --headers 2000             deidentify and to_json, all options in combination
    python benchmarks/planted_headers.py --headers 2000 --ingest    the files through `synthcohort ingest`
"""

import argparse
import io
import itertools
import json
import os
import re
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from needles import Needles, forms, search_folder, without
from pydicom.datadict import DicomDictionary, tag_for_keyword

from synthcohort.ingest.deidentify import Pseudonyms, read_key
from synthcohort.ingest.header_clean import quiet
from synthcohort.ingest.header_profile import HeaderOptions, deidentify, to_json
from synthcohort.ingest.header_tables import codes, profile, rules

KEY = bytes(range(32))
OPTIONS = [HeaderOptions(*flags) for flags in itertools.product((False, True), repeat=4)]
# Planted dates lie in three windows of 20 days, decades apart. Dates move by 30 to 3650 days, so none can land in one.
WINDOWS = {"birth": "193101", "hidden": "197506", "study": "200403"}
LONG_VRS = ("OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV")
SYNTAXES = {
    "1.2.840.10008.1.2.1": ("<", True), "1.2.840.10008.1.2": ("<", False), "1.2.840.10008.1.2.2": (">", True),
    "1.2.840.10008.1.2.1.99": ("<", True),
}  # fmt: skip
CHARSETS = {
    "": "latin-1", "ISO_IR 100": "latin-1", "ISO_IR 192": "utf-8", "ISO 2022 IR 6\\ISO 2022 IR 87": "iso2022_jp",
    "ISO_IR 13": "shift_jis", "GB18030": "gb18030",
}  # fmt: skip
PIXELS = 0x7FE00010
SEQUENCES = sorted(tag for tag, entry in DicomDictionary.items() if entry[0] == "SQ" and tag >> 16 > 2)
STANDARD = sorted(tag for tag, entry in DicomDictionary.items() if entry[0] != "SQ" and 2 < tag >> 16 < 0x7FE0)
LISTED = sorted(tag for tag, rule in rules().items() if rule.kind not in ("code", "items"))
CODED = sorted(tag for tag, rule in rules().items() if rule.kind == "code")
NAMED = sorted(tag for tag in profile().rows if tag in DicomDictionary and tag >> 16 > 2)
# Without these there is no image: they are planted over only inside sequences.
PICTURE = [
    "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "SamplesPerPixel",
    "PhotometricInterpretation", "NumberOfFrames", "PlanarConfiguration", "RescaleSlope", "RescaleIntercept",
]  # fmt: skip
KNOWN_CODES = sorted(codes())

Element = tuple[str, Any]  # VR, and bytes or a list of data sets
Tags = dict[int, Element]


@dataclass(frozen=True)
class Person:
    """Somebody invented: the strings that must not come out, and the UIDs that come out changed."""

    texts: dict[str, str]
    uids: list[str] = field(default_factory=list)
    made: list[bytes] = field(default_factory=list)  # forms that text takes on in numbers

    def needles(self) -> Iterator[bytes]:
        for text in itertools.chain(self.texts.values(), self.uids):
            yield from forms(text)
        yield from self.made


# --- writing headers -------------------------------------------------------------------------------------------------


def encode(tags: Tags, order: str, explicit: bool, rng: np.random.Generator) -> bytes:
    return b"".join(_element(tag, *tags[tag], order, explicit, rng) for tag in sorted(tags))


def _element(tag: int, vr: str, value: Any, order: str, explicit: bool, rng: np.random.Generator) -> bytes:
    head = struct.pack(order + "HH", tag >> 16, tag & 0xFFFF)
    undefined = isinstance(value, list) and rng.random() < 0.5
    if isinstance(value, list):
        value = b"".join(_item(encode(item, order, explicit, rng), order, undefined) for item in value)
        value += struct.pack(order + "HHI", 0xFFFE, 0xE0DD, 0) if undefined else b""
    value += (b" " if vr not in ("UI", "OB", "UN") else b"\0") * (len(value) % 2)
    length = 0xFFFFFFFF if undefined else len(value)
    if not explicit:
        return head + struct.pack(order + "I", length) + value
    if vr in LONG_VRS:
        return head + vr.encode() + b"\0\0" + struct.pack(order + "I", length) + value
    return head + vr.encode() + struct.pack(order + "H", len(value[:65534])) + value[:65534]


def _item(data: bytes, order: str, undefined: bool) -> bytes:
    if undefined:
        end = struct.pack(order + "HHI", 0xFFFE, 0xE00D, 0)
        return struct.pack(order + "HHI", 0xFFFE, 0xE000, 0xFFFFFFFF) + data + end
    return struct.pack(order + "HHI", 0xFFFE, 0xE000, len(data)) + data


def person(number: int, rng: np.random.Generator) -> Person:
    """Strings of at least 8 characters that stand nowhere else; digits at least 9, dates in their windows."""

    def name(letters: int = 10) -> str:
        pairs = zip(rng.choice(list("bdfgjkqvwxz"), letters // 2), rng.choice(list("aeiou"), letters // 2), strict=True)
        return "".join(a + b for a, b in pairs).capitalize()

    def digits(count: int) -> str:
        return str(rng.integers(1, 10)) + "".join(map(str, rng.integers(0, 10, count - 1)))

    def date(window: str) -> str:
        return f"{WINDOWS[window]}{rng.integers(1, 21):02d}"

    family, given, town = name(), name(), name(8)
    texts = {
        "family": family, "given": given, "full": f"{family}^{given}", "doctor": name(), "operator": name(),
        "hospital": f"{name()} Hospital", "address": f"{rng.integers(1, 200)} {name()} Lane", "town": town,
        "email": f"{given}.{family}@{town}.example".lower(), "phone": f"+49 30 {digits(9)}", "phone digits": digits(11),
        "id": f"MRN{digits(9)}", "id digits": digits(12), "id of 9": digits(9), "accession": f"ACC-{digits(10)}",
        "serial": f"SN{name(8)}{digits(4)}", "accents": f"{name(6)}ßäö{name(4).lower()}é",
        "kanji": "".join(rng.choice(list("山田川太郎花子中村木林森水火土金空海星風雨雪"), 6)),
        "kana": "".join(rng.choice(list("アイウエオカキクケコサシスセソタチツテトナニヌネノハヒフヘホ"), 6)),
        "birth": date("birth"), "hidden": date("hidden"), "study": date("study"),
        "time": f"{rng.integers(10, 24)}{rng.integers(10, 60)}{rng.integers(10, 60)}.{digits(6)}",
    }  # fmt: skip
    root = "1.2.826.0.1.3680043.8.498"
    uids = [f"{root}.{texts['id digits']}.{number}.{i}" for i in range(4)]
    uids += [f"2.25.{digits(30)}", f"1.2.840.10008.{digits(12)}"]
    return Person(texts, uids)


def junk(vr: str, who: Person, codec: str, rng: np.random.Generator) -> bytes:
    """A value for a VR that names somebody, well formed or not."""
    t = who.texts

    def pick(*names: str) -> str:
        return t[str(rng.choice(names))]

    text = pick(*t)
    if vr in ("US", "SS", "UL", "SL", "FL", "FD", "AT", "SV", "UV"):
        return _in_numbers(vr, who, rng)
    if vr in ("OB", "OD", "OF", "OL", "OV", "OW", "UN"):
        empty = vr == "UN" and rng.random() < 0.2
        return b"" if empty else text.encode(str(rng.choice(["utf-8", "utf-16-le", "utf-16-be"]))) * 4
    if vr == "DA":
        text = pick("birth", "hidden", "study", "family")
    elif vr == "DT":
        text = pick("birth", "study") + t["time"] if rng.random() < 0.7 else pick("family", "phone")
    elif vr == "TM":
        text = pick("time", "family", "id of 9")
    elif vr == "AS":
        text = f"063Y {t['family']}" if rng.random() < 0.7 else t["study"]
    elif vr == "DS":
        text = str(
            rng.choice([f"1.25 {t['family']}", t["id digits"], f"{t['id of 9']}.25", t["birth"], f"1\\{t['given']}"])
        )
    elif vr == "IS":
        text = str(rng.choice([t["id of 9"], t["birth"], f"12 {t['family']}", t["phone digits"]]))
    elif vr in ("AE", "CS"):
        text = pick("family", "given", "id", "doctor", "town", "kana", "birth")
        text = text.upper() if rng.random() < 0.5 else text.lower()
    elif vr == "UI":
        text = str(rng.choice(who.uids)) if rng.random() < 0.8 else pick("family", "id")
    elif vr == "UR":
        text = f"https://pacs.{t['town']}.example/wado?patientID={t['id']}"
    elif vr == "PN":
        text = f"{t['full']}^^Dr={t['kanji']}^{t['kanji']}={t['kana']}"
    elif vr in ("LT", "ST", "UT") and rng.random() < 0.6:
        text = f"CT CHEST {t['study']} for {t['given']} {t['family']}, {t['address']}, {t['phone']}"
    elif vr in ("LO", "SH", "UC") and rng.random() < 0.4:
        text = f"KNEE {text} SIEMENS LEFT"
    if vr == "UI" and re.fullmatch(r"[0-9.]+", text) is None:
        who.uids.append(text)  # hashed as any other, so its pseudonym is known
    return _bytes(text, codec)


def _in_numbers(vr: str, who: Person, rng: np.random.Generator) -> bytes:
    """A name written as the bytes, or as the character codes, of numbers."""
    name = who.texts["family"].encode()
    if vr == "FD":
        (number,) = struct.unpack("<d", name[:8])
        who.made.extend([name[:8].lower(), repr(number).encode().lower()])
        return name[:8]
    if vr in ("US", "SS") and rng.random() < 0.5:
        who.made.append(",".join(map(str, name)).encode())
        return struct.pack(f"<{len(name)}H", *name)
    return (name * 4)[:32] if rng.random() < 0.5 else name[:4]


def _bytes(text: str, codec: str) -> bytes:
    try:
        return text.encode(codec)
    except UnicodeEncodeError:
        return text.encode()


def plausible(who: Person, number: int, rng: np.random.Generator) -> Tags:
    """A header as a scanner writes it, of an image of 16 x 16."""
    t = who.texts
    words: dict[str, str] = {
        "SOPClassUID": "1.2.840.10008.5.1.4.1.1.2", "SOPInstanceUID": who.uids[0], "StudyInstanceUID": who.uids[1],
        "SeriesInstanceUID": who.uids[2], "FrameOfReferenceUID": who.uids[3], "StudyDate": t["study"],
        "SeriesDate": t["study"], "StudyTime": t["time"], "AccessionNumber": t["accession"][:16], "Modality": "CT",
        "Manufacturer": f"SIEMENS {t['hospital']}", "InstitutionName": t["hospital"],
        "ReferringPhysicianName": t["doctor"],
        "StudyDescription": f"CT KNEE LEFT {t['family']} {t['study']}", "SeriesDescription": "T2 TSE SAG",
        "OperatorsName": t["operator"], "PatientName": t["full"], "PatientID": t["id"], "PatientBirthDate": t["birth"],
        "PatientSex": "F", "PatientAge": "073Y", "PatientSize": "1.71", "PatientWeight": "71", "EthnicGroup": "ASIAN",
        "PatientAddress": t["address"], "PatientTelephoneNumbers": t["phone"], "BodyPartExamined": "KNEE",
        "SliceThickness": "1.25", "KVP": "120", "DeviceSerialNumber": t["serial"], "ProtocolName": t["email"],
        "PatientPosition": "HFS", "SeriesNumber": "3", "InstanceNumber": str(number % 9999),
        "ImagePositionPatient": "-12.5\\3.25\\7", "ImageOrientationPatient": "1\\0\\0\\0\\1\\0", "Laterality": "L",
        "ImageComments": t["full"], "PixelSpacing": "0.5\\0.5", "ImageType": "ORIGINAL\\PRIMARY\\AXIAL",
        "PhotometricInterpretation": "MONOCHROME2", "WindowCenter": "40", "WindowWidth": "400",
    }  # fmt: skip
    tags: Tags = {_tag(name): (DicomDictionary[_tag(name)][0], text.encode()) for name, text in words.items()}
    numbers = {"SamplesPerPixel": 1, "Rows": 16, "Columns": 16, "BitsAllocated": 8, "BitsStored": 8, "HighBit": 7}
    for name, value in {**numbers, "PixelRepresentation": 0}.items():
        tags[_tag(name)] = ("US", struct.pack("<H", value))
    return tags


def _tag(keyword: str) -> int:
    tag = tag_for_keyword(keyword)
    assert tag is not None
    return int(tag)


def vandalize(tags: Tags, who: Person, codec: str, depth: int, rng: np.random.Generator) -> None:
    """Plants somebody in a data set: in listed, named, any standard, unknown and private tags, and in sequences."""
    few = 2 if depth else 25
    for pool in (LISTED, NAMED, STANDARD):
        for tag in rng.choice(pool, few, replace=False):
            vr = DicomDictionary[int(tag)][0].split(" or ")[0]
            if vr == "SQ" or (not depth and DicomDictionary[int(tag)][4] in PICTURE):
                continue
            wrong = str(rng.choice(["LO", "UN", "LT", "UT"])) if rng.random() < 0.1 else vr
            tags[int(tag)] = (wrong, junk(wrong, who, codec, rng))
    for _ in range(few):
        group = int(rng.integers(4, 0x3FF0)) * 2 + 1
        block = int(rng.integers(0x10, 0x100))
        creator = str(rng.choice([who.texts["family"], "SIEMENS CSA HEADER", who.texts["hospital"]]))
        tags[group << 16 | block] = ("LO", creator.encode())
        vr = str(rng.choice(["LO", "UN", "PN", "OB", "DA", "UI", "CS", "FD", "US", "UT"]))
        tags[group << 16 | block << 8 | int(rng.integers(0, 256))] = (vr, junk(vr, who, codec, rng))
        unknown = (int(rng.integers(4, 0x3FF0)) * 2) << 16 | int(rng.integers(1, 0x10000))
        if unknown not in DicomDictionary and unknown >> 16 not in (0x7FE0, 0xFFFE):
            tags[unknown] = ("LO", junk("LO", who, codec, rng))
    if depth < 5:
        _nest(tags, who, codec, depth, rng)


def _nest(tags: Tags, who: Person, codec: str, depth: int, rng: np.random.Generator) -> None:
    """Sequences: several at the top, of which about half go on to a depth of five, one in each other."""
    listed = [_tag("SharedFunctionalGroupsSequence"), _tag("ReferencedImageSequence"), _tag("SourceImageSequence")]
    nested = [int(tag) for tag in (rng.choice(SEQUENCES), rng.choice(listed), 0x00091010)]
    for tag in nested if depth == 0 else [int(rng.choice(nested))]:
        if rng.random() < 0.9:
            items: list[Tags] = [{} for _ in range(1 + (rng.random() < 0.2))]
            for item in items:
                vandalize(item, who, codec, depth + 1, rng)
            tags[tag] = ("SQ", items)
    for tag in rng.choice(CODED, 2):
        scheme, value = KNOWN_CODES[int(rng.integers(len(KNOWN_CODES)))]
        if rng.random() < 0.3:
            value = who.texts["family"]
        meaning = f"{who.texts['given']} {who.texts['family']}"
        item: Tags = {
            0x00080100: ("SH", value.encode()), 0x00080102: ("SH", scheme.encode()),
            0x00080104: ("LO", _bytes(meaning, codec)),
            0x00080103: ("SH", who.texts["id"].encode()), 0x0008010B: ("CS", who.texts["family"].encode()),
        }  # fmt: skip
        tags[int(tag)] = ("SQ", [item])


@dataclass(frozen=True)
class Planted:
    """A file and who is in it."""

    name: str
    data: bytes
    who: Person


def plant(number: int, seed: int = 0) -> Planted:
    """The file of a number, always the same: one in ten without pixels."""
    rng = np.random.default_rng([seed, number])
    who = person(number, rng)
    charset, codec = list(CHARSETS.items())[number % len(CHARSETS)]
    syntax = list(SYNTAXES)[number % 7] if number % 7 < len(SYNTAXES) else "1.2.840.10008.1.2.1"
    order, explicit = SYNTAXES[syntax]
    tags = plausible(who, number, rng)
    vandalize(tags, who, codec, 0, rng)
    if charset:
        tags[0x00080005] = ("CS", charset.encode())
    for tag in (_tag("StudyDate"), _tag("PatientID"), _tag("Modality")):
        if rng.random() < 0.8:  # else whatever was planted over them
            tags[tag] = plausible(who, number, rng)[tag]
    name = who.texts["family"].encode()
    tags |= {
        0x50000005: ("US", b"\x01\0"), 0x50002500: ("LO", name), 0x50003000: ("OW", name * 4),
        0x60000010: ("US", b"\x10\0"),
        0x60000022: ("LO", name), 0x60001500: ("LO", name), 0x60003000: ("OW", name * 4), 0x60004000: ("LT", name),
        0x40000010: ("LT", name), 0xFFFCFFFC: ("OB", name * 10),
    }  # fmt: skip
    pixels = rng.integers(0, 256, 256, np.uint8).tobytes()
    tags.pop(PIXELS, None)
    if number % 10 != 9:
        tags[PIXELS] = ("OB" if explicit else "OW", pixels)
    if order == ">":
        tags = {tag: (vr, _swapped(vr, value)) for tag, (vr, value) in tags.items()}
    body = encode(tags, order, explicit, rng)
    if syntax.endswith(".99"):
        squeeze = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        body = squeeze.compress(body) + squeeze.flush()
    else:
        body += b"" if number % 3 else bytes(8) + b"\0" * (number % 2 * 8)
    return Planted(
        f"{who.texts['family']}_{who.texts['id']}_{number}.dcm",
        _preamble(who, rng) + _meta(who, syntax, rng) + body,
        who,
    )


def _swapped(vr: str, value: Any) -> Any:
    return value[::-1] if vr == "US" and len(value) == 2 else value


def _preamble(who: Person, rng: np.random.Generator) -> bytes:
    text = f"{who.texts['full']} {who.texts['phone']} {who.texts['kanji']}".encode()
    return (text * 4)[:128].ljust(128, b"\0") + b"DICM"


def _meta(who: Person, syntax: str, rng: np.random.Generator) -> bytes:
    meta: Tags = {
        0x00020001: ("OB", b"\0\1"), 0x00020002: ("UI", b"1.2.840.10008.5.1.4.1.1.2"),
        0x00020003: ("UI", who.uids[0].encode()), 0x00020010: ("UI", syntax.encode()),
        0x00020012: ("UI", who.uids[4].encode()),
        0x00020013: ("SH", who.texts["family"].encode()), 0x00020016: ("AE", who.texts["town"].encode()),
        0x00020017: ("AE", who.texts["family"].encode()), 0x00020026: ("UR", who.texts["email"].encode()),
        0x00020100: ("UI", who.uids[5].encode()), 0x00020102: ("OB", who.texts["full"].encode()),
    }  # fmt: skip
    body = encode(meta, "<", True, rng)
    return _element(0x00020000, "UL", struct.pack("<I", len(body)), "<", True, rng) + body


# --- looking for what was planted ------------------------------------------------------------------------------------


def needles_of(planted: Iterable[Planted]) -> Needles:
    return Needles(itertools.chain.from_iterable(item.who.needles() for item in planted))


def own_uids(planted: Iterable[Planted], pseudonyms: Pseudonyms) -> set[bytes]:
    """The UIDs that may come out: their many digits hold any short number by chance, so they are not searched."""
    return {pseudonyms.uid(uid).encode() for item in planted for uid in item.who.uids}


def header_of(data: bytes) -> pydicom.Dataset:
    """What ingest gets to see: the data set without its pixels."""
    with quiet():
        header = pydicom.dcmread(io.BytesIO(data))
    if "PixelData" in header:
        del header.PixelData
    return header


def run_headers(planted: list[Planted], options: Iterable[HeaderOptions] = OPTIONS) -> dict[str, Any]:
    """Cleans every header under all the options and searches JSON, file meta, report and the rewritten file."""
    pseudonyms, needles = Pseudonyms(KEY), needles_of(planted)
    known = own_uids(planted, pseudonyms)
    hits: list[str] = []
    size = kept = outputs = unreadable = 0
    planted_in = dict.fromkeys(planted[0].who.texts, 0)
    for item in planted:
        in_source = needles.found(item.data)
        for name, text in item.who.texts.items():
            planted_in[name] += not in_source.isdisjoint(forms(text))
        try:
            header = header_of(item.data)
        except Exception:
            unreadable += 1
            continue
        for option in options:
            clean, report = deidentify(header, pseudonyms, option)
            file = io.BytesIO()
            clean.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
            pydicom.dcmwrite(file, clean, enforce_file_format=False)
            output = b"\n".join([to_json(clean).encode(), str(clean).encode(), repr(report).encode(), file.getvalue()])
            found = needles.found(without(output, known))
            hits += [f"{item.name}: {needle!r} under {option}" for needle in sorted(found)]
            size, kept, outputs = size + len(output), kept + len(clean), outputs + 1
    return {
        "headers": len(planted), "unreadable": unreadable, "sources_that_hold": planted_in, "outputs": outputs,
        "needles": len(needles), "bytes_searched": size, "elements_kept": round(kept / max(outputs, 1), 1),
        "hits": len(hits), "examples": hits[:20],
    }  # fmt: skip


def run_ingest(planted: list[Planted], work: Path, settings: Iterable[str] = ()) -> dict[str, Any]:
    """The files through the command line; all that it wrote, stdout and stderr are searched."""
    source, made = work / "source", work / "made"
    out = made / "cohort"
    source.mkdir(parents=True)
    made.mkdir()
    for item in planted:
        (source / item.name).write_bytes(item.data)
    asked = ["ingest.headers=clean", "ingest.dates=shift", "ingest.pixel_text=unchecked", *settings]
    command = [sys.executable, "-m", "synthcohort.cli.main", "ingest", str(source), "--out", str(out)]
    command += [part for setting in asked for part in ("--set", setting)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, env=environment, check=False)
    if done.returncode:
        raise RuntimeError(f"exit {done.returncode}: {done.stderr.decode()[-2000:]}")
    needles = needles_of(planted)
    known = own_uids(planted, Pseudonyms(read_key(out.with_name(out.name + ".key"))))
    hits, size = search_folder(made, needles, known, skip=["cohort/refused.csv"])
    for name, data in (("stdout", done.stdout), ("stderr", done.stderr)):
        found = needles.found(without(data, known))
        if found:
            hits[name] = sorted(map(repr, found))
        size += len(data)
    result = json.loads(done.stdout)
    counts = {name: result[name] for name in ("found", "taken", "refused")}
    return {
        **counts,
        "refused_because": result.get("refused_because"),
        "needles": len(needles),
        "bytes_searched": size,
        "hits": hits,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--headers", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--ingest", action="store_true", help="run `synthcohort ingest` on the files")
    args = parser.parse_args()
    began = time.monotonic()
    planted = [plant(number, args.seed) for number in range(args.headers)]
    if args.ingest:
        with tempfile.TemporaryDirectory() as folder:
            result = run_ingest(planted, Path(folder))
    else:
        result = run_headers(planted)
    print(json.dumps({**result, "seconds": round(time.monotonic() - began, 1)}, indent=2))
    sys.exit(1 if result["hits"] else 0)


if __name__ == "__main__":
    main()
