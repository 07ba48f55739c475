"""Images with rendered annotations for `benchmarks/pixel_text.py`: what is written, in which font, over what.

Words: a *role* is `tune` (may be looked at while the detector is built) or `test` (scored). The two share no text
pattern, no word, no font family and no background image: a file belongs to `tune` when the first hex digit of its
SHA-256 is even. All names are invented.
"""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import Literal

import numpy as np
import pydicom
from PIL import Image, ImageDraw, ImageFont

from synthcohort.core.seeds import rng as named_rng
from synthcohort.phantoms.anatomy import patient_knee
from synthcohort.phantoms.knee import knee

Role = Literal["tune", "test"]
PHOTOGRAPHS = (
    "knee-xray",
    "chest-xray",
    "chest-ct",
    "brain-mri",
    "breast-ultrasound",
    "fundus-photo",
    "dermoscopy",
    "lung-histology",
    "colon-histology",
    "blood-smear",
)
# Debian's packages; the test families are related to none of the tuning families.
FONTS: dict[Role, dict[str, str]] = {
    "tune": {
        "DejaVu Sans": "truetype/dejavu/DejaVuSans.ttf",
        "DejaVu Sans Mono": "truetype/dejavu/DejaVuSansMono-Bold.ttf",
        "Liberation Sans": "truetype/liberation/LiberationSans-Regular.ttf",
        "Liberation Mono": "truetype/liberation/LiberationMono-Regular.ttf",
        "Roboto": "truetype/roboto/unhinted/RobotoTTF/Roboto-Regular.ttf",
        "Lato": "truetype/lato/Lato-Regular.ttf",
        "Inconsolata": "truetype/inconsolata/Inconsolata.otf",
        "Hack": "truetype/hack/Hack-Regular.ttf",
    },
    "test": {
        "FreeSans": "truetype/freefont/FreeSans.ttf",
        "FreeSans Bold": "truetype/freefont/FreeSansBold.ttf",
        "FreeMono": "truetype/freefont/FreeMonoBold.ttf",
        "FreeSerif": "truetype/freefont/FreeSerif.ttf",
        "Noto Mono": "truetype/noto/NotoMono-Regular.ttf",
        "Noto Sans": "truetype/noto/NotoSans-Regular.ttf",
        "Open Sans": "truetype/open-sans/OpenSans-Semibold.ttf",
        "Courier Prime": "opentype/courier-prime/Courier Prime Bold.otf",
        "Cantarell": "opentype/cantarell/Cantarell-Regular.otf",
        "OCR-A": "truetype/ocr-a/OCRA.ttf",
        "Terminus (bitmap)": "opentype/terminus/terminus-normal.otb",
        "Helvetica 75 dpi (bitmap)": "X11/75dpi/helvR{size}-ISO8859-1.pcf.gz",
        "Pillow (bitmap)": "",
    },
}
BITMAP_SIZES = {
    "Terminus (bitmap)": (12, 14, 16, 18, 20, 22, 24, 28, 32),
    "Helvetica 75 dpi (bitmap)": (10, 12, 14, 18, 24),
}

WORDS: dict[Role, dict[str, tuple[str, ...]]] = {
    "tune": {
        "name": ("SAMPLEMAN", "Inventson", "MADEUP", "Fictora", "NOBODY", "Placeholt"),
        "given": ("ALFRED", "Beate", "CARLA", "Dorian", "EDDA"),
        "place": ("ST. EXAMPLE HOSPITAL", "Univ. Clinic Nowhere", "CITY RADIOLOGY", "Imaging Center West"),
    },
    "test": {
        "name": (
            "TESTPERSON",
            "Imaginari",
            "DUMMYFELD",
            "Unreal-Smythe",
            "PRETENDA",
            "Nullberg",
            "ERFUNDEN",
            "Phantomski",
        ),
        "given": ("GRETA", "Hugo", "IRMGARD", "Jonas", "KIRA", "Leonid"),
        "place": (
            "GENERAL INFIRMARY",
            "Klinikum Musterstadt",
            "NORTH BAY MEDICAL",
            "Hopital Fictif",
            "MRI Unit 3 Ward B",
        ),
    },
}


def _text_tune(draw: np.random.Generator) -> str:
    word = {key: str(draw.choice(values)) for key, values in WORDS["tune"].items()}
    n = [int(draw.integers(10, 99)) for _ in range(6)]
    return str(
        draw.choice(
            [
                f"{word['name']}^{word['given']}",
                f"{word['given']} {word['name']}",
                f"{n[0] % 28 + 1:02}/{n[1] % 12 + 1:02}/19{n[2]}",
                f"PID {n[0]}{n[1]}{n[2]}",
                word["place"],
                f"kV {n[0]} mAs {n[1]}",
                f"{n[0] % 24:02}:{n[1] % 60:02}",
                f"Age {n[0]} F",
                f"Se {n[0] % 9 + 1} / Im {n[1]}",
            ]
        )
    )


def _text_test(draw: np.random.Generator) -> str:
    word = {key: str(draw.choice(values)) for key, values in WORDS["test"].items()}
    n = [int(draw.integers(10, 99)) for _ in range(6)]
    month = str(draw.choice(["JAN", "Feb", "MAR", "Apr", "JUN", "Oct", "DEC"]))
    return str(
        draw.choice(
            [
                f"{word['name']}, {word['given']}",
                f"Mr. {word['given'][0]}. {word['name']}",
                word["name"],
                f"19{n[0]}-{n[1] % 12 + 1:02}-{n[2] % 28 + 1:02}",
                f"{n[0] % 28 + 1}-{month}-20{n[1]}",
                f"DOB {n[0] % 28 + 1:02}.{n[1] % 12 + 1:02}.{n[2]}",
                f"MRN: {n[0]}{n[1]}-{n[2]}{n[3]}",
                f"A{n[0]}{n[1]}{n[2]}{n[3]}",
                word["place"],
                f"KV {n[0] + 40} mA {n[1] * 4}",
                f"{n[0] % 24:02}:{n[1] % 60:02}:{n[2] % 60:02}",
                f"{n[0]:03}Y M",
                f"W{n[0] * 10} L{n[1]}",
                f"TR {n[0] * 30} TE {n[1]}",
                f"Acc# {n[0]}{n[1]}{n[2]}",
            ]
        )
    )


TEXTS: dict[Role, Callable[[np.random.Generator], str]] = {"tune": _text_tune, "test": _text_test}
MARKERS = ("R", "L", "RT", "LT", "ERECT", "SUPINE", "PA", "AP")


@dataclass(frozen=True)
class Annotation:
    """What was drawn: box in pixels (top, left, bottom, right), and the strata it counts in."""

    box: tuple[int, int, int, int]
    background: str
    font: str
    cap_height: int  # pixels, of an H
    style: str
    turned: bool = False
    text: str = ""


def files_of(shared: Path, folder: str, role: Role) -> list[Path]:
    """The folder's images of this role, in the order of their digests."""
    found = []
    for path in (shared / folder).rglob("*"):
        if path.suffix.lower() in (".jpg", ".jpeg", ".png", ".dcm") or (path.is_file() and "dicom" in folder):
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            if (int(digest[0], 16) % 2 == 0) == (role == "tune"):
                found.append((digest, path))
    return [path for _, path in sorted(found)]


def read(path: Path) -> np.ndarray:
    """The pixels as stored; CT in its stored int16."""
    if path.suffix.lower() in (".jpg", ".jpeg", ".png"):
        with Image.open(path) as image:
            return np.asarray(image.convert("L" if image.mode == "L" else "RGB"))
    return pydicom.dcmread(path).pixel_array


@lru_cache(maxsize=64)
def phantom(size: int | tuple[int, int], number: int) -> np.ndarray:
    """A procedural radiograph, uint16 with 12 bits."""
    draw = named_rng("pixel text phantom", str(size), number)
    return knee(patient_knee(number, int(draw.integers(0, 5)), "R" if number % 2 else "L"), size, draw)[0]


def font_of(
    folder: Path, role: Role, name: str, cap_height: int
) -> tuple[ImageFont.FreeTypeFont | ImageFont.ImageFont, int]:
    """The font at the size nearest to this cap height, and the cap height that it has."""
    path = FONTS[role][name]
    if not path:
        font: ImageFont.FreeTypeFont | ImageFont.ImageFont = ImageFont.load_default_imagefont()
        return font, _cap_height(font)
    if name in BITMAP_SIZES:
        options = []
        for size in BITMAP_SIZES[name]:
            bitmap = ImageFont.truetype(str(folder / path.format(size=f"{size:02}")), size)
            options.append((abs(_cap_height(bitmap) - cap_height), size, bitmap))
        best = min(options, key=lambda option: option[:2])[2]
        return best, _cap_height(best)
    size = max(6, round(cap_height / 0.7))
    for _ in range(12):
        font = ImageFont.truetype(str(folder / path), size)
        high = _cap_height(font)
        if high == cap_height:
            break
        size += 1 if high < cap_height else -1
    return font, _cap_height(font)


def _cap_height(font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> int:
    canvas = Image.new("L", (200, 200))
    ImageDraw.Draw(canvas).text((20, 20), "H", fill=255, font=font)
    box = canvas.point(lambda value: 255 * (value > 100)).getbbox()
    return box[3] - box[1] if box else 0


def _masks(
    text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, smooth: bool, stroke: int
) -> tuple[np.ndarray, np.ndarray]:
    """How much of each pixel letters cover, and letters with their outline: [rows, columns] in [0, 1], cropped."""
    canvas = Image.new("L", (1600, 160))
    pen = ImageDraw.Draw(canvas)
    pen.fontmode = "L" if smooth else "1"
    pen.text((24, 24), text, fill=255, font=font)
    wide = canvas
    if stroke:
        wide = Image.new("L", canvas.size)
        for dy in range(-stroke, stroke + 1):
            for dx in range(-stroke, stroke + 1):
                moved = Image.new("L", canvas.size)
                moved.paste(canvas, (dx, dy))
                wide = Image.fromarray(np.maximum(np.asarray(wide), np.asarray(moved)))
    top_left = np.asarray(wide)
    rows, columns = np.flatnonzero(top_left.max(1) > 60), np.flatnonzero(top_left.max(0) > 60)
    window = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return np.asarray(canvas)[window] / 255.0, top_left[window] / 255.0


STYLES = ("light", "gray", "dark", "outlined", "boxed light", "boxed dark", "extreme")


def annotate(
    pixels: np.ndarray,
    background: str,
    role: Role,
    fonts: Path,
    draw: np.random.Generator,
    markers: bool = False,
    turned: bool = False,
) -> tuple[np.ndarray, Annotation] | None:
    """The image with one annotation at a random place; None when it does not fit or would not be legible there.

    Legible: letters differ from the median beneath them by at least a fifth of the image's range (1st to 99th
    percentile) and by 1.5 standard deviations of what is beneath, or carry an outline or a box.
    """
    rows, columns = pixels.shape[:2]
    most = {128: 16, 512: 32}.get(next((limit for limit in (128, 512) if min(rows, columns) <= limit + 80), 0), 56)
    high = int(np.exp(draw.uniform(np.log(7), np.log(most + 1))))
    name = str(draw.choice(list(FONTS[role])))
    font, cap_height = font_of(fonts, role, name, high)
    text = str(draw.choice(MARKERS)) if markers else TEXTS[role](draw)
    style = str(draw.choice(STYLES[:6] if pixels.dtype == np.uint8 else STYLES))
    letters, wide = _masks(text, font, bool(draw.random() < 0.7), 1 if style == "outlined" else 0)
    pad = 2 if "boxed" in style else 0
    letters, wide = np.pad(letters, pad), np.pad(np.pad(wide, 0), pad)
    if turned:
        letters, wide = np.rot90(letters), np.rot90(wide)
    tall, long = letters.shape
    if tall + 4 > rows or long + 4 > columns or cap_height < 6:
        return None
    top, left = int(draw.integers(2, rows - tall - 1)), int(draw.integers(2, columns - long - 1))
    if draw.random() < 0.6:  # as devices do: in a corner or along an edge
        top = int(draw.choice([2, rows - tall - 2]))
        left = int(draw.choice([2, columns - long - 2, left]))
    where = np.s_[top : top + tall, left : left + long]
    low, span = float(np.percentile(pixels, 1)), float(np.ptp(np.percentile(pixels, (1, 99)))) or 1.0
    under = pixels[where].astype(float)
    ends = (float(pixels.min()), float(pixels.max()))
    level = {
        "light": ends[1],
        "gray": low + float(draw.uniform(0.5, 0.9)) * span,
        "dark": ends[0],
        "outlined": ends[1] if draw.random() < 0.5 else ends[0],
        "boxed light": ends[1],
        "boxed dark": ends[0],
        "extreme": float(np.iinfo(pixels.dtype).max),
    }[style]
    contrast = abs(level - float(np.median(under)))
    if "boxed" not in style and style != "outlined" and contrast < max(0.2 * span, 1.5 * float(under.std())):
        return None
    color = np.array([level] * (pixels.shape[2] if pixels.ndim == 3 else 1))
    if pixels.ndim == 3 and style == "light" and draw.random() < 0.3:
        color = np.array([255.0, 255.0, 0.0])  # yellow, as ultrasound and dermoscopy devices write
    opposite = ends[0] + ends[1] - level
    if pixels.ndim == 2:
        under, letters_, wide_ = under[..., None], letters[..., None], wide[..., None]
    else:
        letters_, wide_ = letters[..., None], wide[..., None]
    if style == "outlined":
        under = under * (1 - wide_) + opposite * wide_
    if "boxed" in style:
        under = np.full_like(under, opposite)
    drawn = under * (1 - letters_) + color * letters_
    image = pixels.copy()
    image[where] = np.rint(drawn if pixels.ndim == 3 else drawn[..., 0]).astype(pixels.dtype)
    if image.dtype == np.uint8 and draw.random() < 0.5:
        buffer = BytesIO()
        Image.fromarray(image).save(buffer, "JPEG", quality=int(draw.integers(75, 96)))
        image = np.asarray(Image.open(buffer))
    box = (top, left, top + tall, left + long)
    return image, Annotation(box, background, name, cap_height, style, turned, text)


def backgrounds(
    shared: Path, role: Role, counts: dict[str, int], draw: np.random.Generator
) -> Iterator[tuple[str, np.ndarray]]:
    """Backgrounds without end, in turn: the folders' images, CT of 512 pixels, and phantoms up to 2000 pixels."""
    listed = {name: files_of(shared, name, role) for name in counts if not name.startswith("phantom")}
    while True:
        for name, count in counts.items():
            for _ in range(count):
                if name.startswith("phantom"):
                    size = int(name.split()[1])
                    shape = (size, int(size * draw.choice([0.7, 0.85, 1.0])))
                    yield name, phantom(shape, int(draw.integers(0, 8)) * 2 + (role == "test"))
                else:
                    yield name, read(listed[name][int(draw.integers(len(listed[name])))])
