"""Synthetic images as PNG files at their own depth, marked for machines as made by a trained model.

The mark is an XMP packet with the IPTC digital source type `trainedAlgorithmicMedia`, the machine-readable statement
that image tools look for. A PNG holds no signed numbers: int16 images are stored with 32,768 added (`png_offset`).
"""

import io
from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np
from PIL import Image, PngImagePlugin

SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
SIGNED_OFFSET = 32768

_XMP = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description rdf:about="" xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" '
    'Iptc4xmpExt:DigitalSourceType="{source}" Iptc4xmpExt:DigImageGUID="{guid}"/></rdf:RDF></x:xmpmeta>'
)


def offset_of(pixels: np.ndarray) -> int:
    """What was added to each value: image value = PNG value − offset."""
    return SIGNED_OFFSET if pixels.dtype == np.int16 else 0


def encode(pixels: np.ndarray, image_id: str) -> bytes:
    """[rows, columns] uint8, uint16, int16 or [rows, columns, 3] uint8 -> PNG; the same image gives the same bytes."""
    if pixels.dtype == np.int16:
        pixels = (pixels.astype(np.int32) + SIGNED_OFFSET).astype(np.uint16)
    if pixels.dtype not in (np.uint8, np.uint16) or (pixels.ndim == 3 and pixels.dtype != np.uint8):
        raise ValueError(f"image {image_id}: a PNG cannot hold {pixels.dtype} of shape {pixels.shape}")
    info = PngImagePlugin.PngInfo()
    info.add_itxt("XML:com.adobe.xmp", _XMP.format(source=SOURCE_TYPE, guid=escape(image_id, {'"': "&quot;"})))
    info.add_itxt("Description", "Synthetic image, computed by a generator. Shows no patient. Not for diagnosis.")
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, "PNG", pnginfo=info, compress_level=6)
    return buffer.getvalue()


def decode(path: Path, offset: int = 0) -> np.ndarray:
    """The way back: the pixels in their own type; `offset` is what `offset_of` said of them."""
    with Image.open(path) as picture:
        values = np.asarray(picture)
    if values.dtype not in (np.uint8, np.uint16):
        values = values.astype(np.uint16)  # Pillow's type for 16 bit depends on its version
    return (values.astype(np.int32) - offset).astype(np.int16) if offset else values


def marking_problems(path: Path) -> list[str]:
    """What a synthetic PNG lacks of its marking; empty when all is there."""
    try:
        with Image.open(path) as picture:
            picture.load()
            found = str(picture.info.get("XML:com.adobe.xmp", ""))
    except Exception as error:  # a damaged file may fail anywhere in the reader
        return [f"cannot be read as PNG ({type(error).__name__})"]
    return [] if f'DigitalSourceType="{SOURCE_TYPE}"' in found else ["is not marked as made by a trained model (XMP)"]
