"""Text burned into pixels: rendered annotations are found, markers told apart, and blanking leaves nothing to read."""

from collections.abc import Callable
from dataclasses import fields

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from synthcohort.core.errors import InputError
from synthcohort.core.seeds import rng
from synthcohort.ingest import pixel_text_model
from synthcohort.ingest.pixel_text import TextBox, TextPolicy, available, find_text, screen
from synthcohort.phantoms.anatomy import patient_knee
from synthcohort.phantoms.knee import knee

NAME = "MUSTERFRAU^ERIKA 1961"  # invented


def radiograph(shape: int | tuple[int, int], number: int = 0) -> np.ndarray:
    """A procedural radiograph without text, uint16 with 12 bits."""
    return knee(patient_knee(number, number % 5), shape, rng("pixel text test", number))[0]


def write(pixels: np.ndarray, text: str, at: tuple[int, int], size: int, value: int | tuple[int, ...]) -> np.ndarray:
    """The image with `text` in `value` at (top, left), in Pillow's own font."""
    canvas = Image.new("L", (pixels.shape[1], pixels.shape[0]))
    ImageDraw.Draw(canvas).text((at[1], at[0]), text, fill=255, font=ImageFont.load_default(size))
    letters = np.asarray(canvas, np.float64) / 255
    if pixels.ndim == 3:
        letters = letters[..., None]
    return np.rint(pixels * (1 - letters) + np.asarray(value) * letters).astype(pixels.dtype)


def rectangle(shape: tuple[int, int], text: str, at: tuple[int, int], size: int) -> tuple[slice, slice]:
    """Where `write` put the text."""
    ink = write(np.zeros(shape, np.uint8), text, at, size, 255) > 100
    rows, columns = np.flatnonzero(ink.any(1)), np.flatnonzero(ink.any(0))
    return np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def covered(boxes: list[TextBox], kind: str, where: tuple[slice, slice], shape: tuple[int, int]) -> float:
    mask = np.zeros(shape, bool)
    for box in boxes:
        if box.kind == kind:
            mask[box.top : box.bottom, box.left : box.right] = True
    return float(mask[where].mean())


def eight_bits(pixels: np.ndarray) -> np.ndarray:
    return (pixels >> 4).astype(np.uint8)


def in_hounsfield(pixels: np.ndarray) -> np.ndarray:
    return (pixels.astype(np.int32) - 1024).astype(np.int16)


def in_color(pixels: np.ndarray) -> np.ndarray:
    return np.stack([eight_bits(pixels), eight_bits(pixels) // 2, eight_bits(pixels) // 3], axis=2)


def test_the_extra_is_installed() -> None:
    # Without it the tests below could not run; they must not pass by being left out.
    assert available() is None


@pytest.mark.parametrize(
    ("pixels", "value", "at", "size"),
    [
        pytest.param(eight_bits(radiograph(240)), 255, (4, 4), 12, id="light on 8 bits"),
        pytest.param(255 - eight_bits(radiograph(240, 1)), 0, (220, 70), 11, id="dark on 8 bits"),
        pytest.param(eight_bits(radiograph(240, 2)) // 2, 170, (60, 50), 14, id="gray on 8 bits"),
        pytest.param(radiograph(300, 3), 4095, (270, 80), 12, id="light on 12 bits"),
        pytest.param(radiograph(300, 4) // 2, 65535, (6, 90), 12, id="highest value of uint16"),
        pytest.param(in_hounsfield(radiograph(300, 5)), 32767, (140, 60), 14, id="highest value of int16"),
        pytest.param(in_color(radiograph(240, 6)), (255, 255, 0), (5, 40), 13, id="yellow on color"),
        pytest.param(radiograph((900, 1300), 7), 4095, (870, 900), 20, id="large image"),
        pytest.param(eight_bits(radiograph(2000, 8)[:48, 600:1500]), 255, (14, 30), 18, id="strip"),
    ],
)
def test_text_is_found(pixels: np.ndarray, value: int | tuple[int, ...], at: tuple[int, int], size: int) -> None:
    shape = pixels.shape[:2]
    boxes = find_text(write(pixels, NAME, at, size, value))
    assert covered(boxes, "text", rectangle(shape, NAME, at, size), shape) > 0.8
    assert all(0 <= box.top < box.bottom <= shape[0] and 0 <= box.left < box.right <= shape[1] for box in boxes)


def test_text_turned_by_a_quarter_is_found() -> None:
    turned = np.rot90(write(eight_bits(radiograph(240)), NAME, (4, 4), 14, 255))
    where = rectangle((240, 240), NAME, (4, 4), 14)
    mask = np.zeros((240, 240), bool)
    for box in find_text(turned):
        if box.kind == "text":
            mask[box.top : box.bottom, box.left : box.right] = True
    assert np.rot90(mask, -1)[where].mean() > 0.8


@pytest.mark.parametrize("script", ["ПАЦИЕНТ ОБРАЗЕЦ", "ΑΣΘΕΝΗΣ ΔΟΚΙΜΗ"])
def test_text_in_another_alphabet_is_found(script: str) -> None:
    pixels = write(eight_bits(radiograph(300)), script, (10, 10), 18, 255)
    assert covered(find_text(pixels), "text", rectangle((300, 300), script, (10, 10), 18), (300, 300)) > 0.8


@pytest.mark.parametrize(
    ("text", "kind"),
    [("R", "marker"), ("LT", "marker"), ("SUPINE", "marker"), ("R PORTABLE", "text"), ("R 1961", "text")],
)
def test_markers_are_told_from_text(text: str, kind: str) -> None:
    pixels = write(eight_bits(radiograph(240)), text, (8, 8), 22, 255)
    boxes = find_text(pixels)
    assert covered(boxes, kind, rectangle((240, 240), text, (8, 8), 22), (240, 240)) > 0.5
    assert {box.kind for box in boxes} == {kind}


@pytest.mark.parametrize("shape", [128, 300, (150, 500)])
def test_images_without_text_have_none(shape: int | tuple[int, int]) -> None:
    pixels = radiograph(shape, 1)
    assert find_text(pixels) == []
    assert find_text(eight_bits(4095 - radiograph(shape, 2))) == []


@pytest.mark.parametrize("shape", [(1, 1), (3, 7), (9, 9), (2, 300)])
def test_tiny_and_flat_images_have_none(shape: tuple[int, int]) -> None:
    assert find_text(np.zeros(shape, np.uint16)) == []
    assert find_text(rng("tiny", 0).integers(0, 255, shape).astype(np.uint8)) == []


def test_the_same_image_gives_the_same_boxes_and_no_characters() -> None:
    pixels = write(eight_bits(radiograph(240)), NAME, (4, 4), 14, 255)
    first, second = find_text(pixels), find_text(pixels)
    assert first == second
    assert first
    assert {field.name for field in fields(TextBox)} == {"top", "left", "bottom", "right", "confidence", "kind"}
    assert "MUSTER" not in repr(first)


def test_a_window_shows_what_the_range_hides() -> None:
    # Two rods of metal stretch the range and the percentiles; in the window of soft tissue the faint text stands out.
    pixels = np.full((256, 256), 40, np.int16)
    pixels[:, :20], pixels[:, -20:] = 30000, -30000
    pixels = write(pixels, "NAME 123456", (100, 60), 14, 240)
    where = rectangle((256, 256), "NAME 123456", (100, 60), 14)
    assert covered(find_text(pixels, window=(140.0, 400.0)), "text", where, (256, 256)) > 0.8
    assert covered(find_text(pixels), "text", where, (256, 256)) == 0.0


@pytest.mark.parametrize("depth", [eight_bits, in_hounsfield, in_color])
def test_blanking_leaves_nothing_to_read(depth: Callable[[np.ndarray], np.ndarray]) -> None:
    clean = depth(radiograph(240))
    value = (255, 255, 255) if clean.ndim == 3 else int(clean.max())
    pixels = write(clean, NAME, (4, 4), 13, value)
    given = pixels.copy()
    screened = screen(pixels, TextPolicy(text="blank"))
    assert screened.outcome == "blanked"
    assert screened.pixels is not None
    assert screened.pixels.dtype == pixels.dtype
    assert screened.pixels.shape == pixels.shape
    assert find_text(screened.pixels) == []
    np.testing.assert_array_equal(pixels, given)
    np.testing.assert_array_equal(screened.pixels[80:], clean[80:])  # far from the text nothing changed


def test_the_policy_decides() -> None:
    clean = eight_bits(radiograph(240))
    with_name = write(clean, NAME, (4, 4), 13, 255)
    with_marker = write(clean, "R", (200, 8), 26, 255)
    with_both = write(with_marker, NAME, (4, 4), 13, 255)

    assert screen(clean, TextPolicy()).outcome == "clean"
    assert screen(clean, TextPolicy()).pixels is clean
    refused = screen(with_name, TextPolicy())
    assert (refused.outcome, refused.pixels) == ("quarantined", None)
    assert refused.boxes

    kept = screen(with_marker, TextPolicy())
    assert kept.outcome == "clean"
    assert kept.pixels is with_marker
    assert [box.kind for box in kept.boxes] == ["marker"]
    assert screen(with_marker, TextPolicy(markers="text")).outcome == "quarantined"
    for policy in (TextPolicy(markers="blank"), TextPolicy("blank", "text")):
        hidden = screen(with_marker, policy)
        assert hidden.outcome == "blanked"
        assert hidden.pixels is not None
        assert find_text(hidden.pixels) == []

    both = screen(with_both, TextPolicy("blank", "keep"))
    assert both.pixels is not None
    assert {box.kind for box in find_text(both.pixels)} == {"marker"}
    assert screen(with_both, TextPolicy("quarantine", "blank")).outcome == "quarantined"


@pytest.mark.parametrize("package", ["onnxruntime", "rapidocr"])
def test_without_the_extra_it_says_what_to_install(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real = pixel_text_model.find_spec
    monkeypatch.setattr(pixel_text_model, "find_spec", lambda name: None if name == package else real(name))
    words = available()
    assert words is not None
    assert package in words
    assert "synthcohort[ocr]" in words
    with pytest.raises(InputError, match=r"burned-in text: cannot be looked for; .*synthcohort\[ocr\]"):
        find_text(np.zeros((8, 8), np.uint8))


def test_other_models_than_those_measured_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(pixel_text_model.DIGESTS, pixel_text_model.RECOGNIZER, "0" * 64)
    assert "PP-OCRv6_rec_small.onnx" in (available() or "")


@pytest.mark.parametrize("pixels", [np.zeros((8, 8), np.float32), np.zeros((8, 8, 4), np.uint8), np.zeros(8, np.uint8)])
def test_other_arrays_are_an_error(pixels: np.ndarray) -> None:
    with pytest.raises(ValueError, match="pixels of shape"):
        find_text(pixels)
