"""PNG and JPEG: gray stays gray, color stays color, 16 bits stay 16 bits, or the file is refused."""

import io
import warnings
from pathlib import Path

import numpy as np
import PIL.Image
from PIL import ImageOps

from synthcohort.formats.image import MAX_PIXELS, Image, Unreadable

PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
JPEG_MAGIC = b"\xff\xd8\xff"
_EXIF_ORIENTATION = 0x0112


def read(source: Path | bytes) -> Image:
    """Decodes a PNG or JPEG file. Raises Unreadable with the reason."""
    data = source.read_bytes() if isinstance(source, Path) else source
    if not data:
        raise Unreadable("the file is empty")
    if not data.startswith((PNG_MAGIC, JPEG_MAGIC)):
        raise Unreadable("not a PNG or JPEG file, whatever its name says")
    if data.startswith(PNG_MAGIC) and len(data) > 25 and data[24] == 16 and data[25] != 0:
        raise Unreadable("16-bit color or transparency in PNG is not supported yet (8 bits would be lost)")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with PIL.Image.open(io.BytesIO(data), formats=("PNG", "JPEG")) as opened:
                if opened.width * opened.height > MAX_PIXELS:
                    raise Unreadable(f"{opened.width} x {opened.height} pixels; at most {MAX_PIXELS} are read")
                if getattr(opened, "n_frames", 1) > 1:
                    raise Unreadable("several frames in one file are not supported yet")
                opened.load()
                return _image(opened)
    except Unreadable:
        raise
    except Exception as error:  # a damaged file may fail anywhere in the decoder, with any exception
        raise Unreadable("damaged or cut off: it cannot be decoded") from error


def _image(opened: PIL.Image.Image) -> Image:
    notes = []
    if opened.getexif().get(_EXIF_ORIENTATION, 1) in range(2, 9):
        opened = ImageOps.exif_transpose(opened)
        notes.append("turned upright as its EXIF orientation says")
    if opened.mode == "P" and "transparency" not in opened.info:
        opened = opened.convert("RGB")
        notes.append("palette expanded to RGB")
    elif opened.mode == "P":
        opened = opened.convert("RGBA")
    if opened.mode == "1":
        opened = opened.convert("L")
        notes.append("one bit expanded to eight")
    if opened.mode in ("LA", "RGBA"):
        if opened.getchannel("A").getextrema() != (255, 255):
            raise Unreadable("has transparent pixels, so that its colors depend on a background")
        opened = opened.convert(opened.mode[:-1])
        notes.append("an opaque alpha channel was dropped")
    if "transparency" in opened.info:
        raise Unreadable("has a transparent color, so that its colors depend on a background")
    if opened.mode in ("L", "RGB"):
        return Image(np.array(opened, dtype=np.uint8), 8, notes=tuple(notes))
    if opened.mode.startswith("I"):
        wide = np.array(opened)
        if wide.min() < 0 or wide.max() > 65535:
            raise Unreadable("values do not fit in 16 bits")
        return Image(wide.astype(np.uint16), 16, notes=tuple(notes))
    raise Unreadable(f"color mode {opened.mode} is not supported; gray, RGB and palette are")
