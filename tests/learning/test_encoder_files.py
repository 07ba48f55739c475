import warnings

import numpy as np
import pytest
import torch
from torch import nn

from synthcohort.core.errors import ConfigError
from synthcohort.learning.encoder_files import EncoderFile, encoder_named, file_encoder
from synthcohort.learning.features import features
from synthcohort.learning.fit import FitConfig

TINY = FitConfig(steps=3, batch=8, size=16, widths=(8, 16), dropout=0.0)


class Means(nn.Module):
    """Channel means times a factor: features that a test can compute itself."""

    def __init__(self, factor: float):
        super().__init__()
        self.register_buffer("factor", torch.tensor(factor))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean(dim=(2, 3), keepdim=True) * self.factor


class Pixelwise(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


def save(module, path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(module).save(str(path))
    return path


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (9, 20, 20)).astype(np.uint8)


def test_a_torchscript_file_gets_standardized_input_and_its_digest_is_in_the_key(images, tmp_path):
    path = save(Means(2.0), tmp_path / "net.pt")
    file = EncoderFile(path, size=20, mean=(0.5, 0.25, 0.0), std=(0.5, 0.5, 2.0), batch=4)
    found = features(images, file_encoder("mine", file), tmp_path / "cache")
    unit = images.reshape(9, -1).mean(axis=1)[:, None] / 255
    assert found == pytest.approx(
        2 * (unit - np.array([0.5, 0.25, 0.0])) / np.array([0.5, 0.5, 2.0]), rel=1e-4, abs=1e-5
    )
    save(Means(3.0), path)  # the same name, other weights: never the kept features
    assert features(images, file_encoder("mine", file), tmp_path / "cache") == pytest.approx(1.5 * found, rel=1e-5)
    some = features(images[[7, 2]], file_encoder("mine", file), tmp_path / "cache")
    assert np.array_equal(some, features(images, file_encoder("mine", file), tmp_path / "cache")[[7, 2]])


def field(number: int, value: int | str | bytes) -> bytes:
    """One field of a protobuf message, for numbers and lengths below 128."""
    if isinstance(value, int):
        return bytes([number << 3, value])
    content = value.encode() if isinstance(value, str) else value
    assert len(content) < 128
    return bytes([number << 3 | 2, len(content)]) + content


def pooling_network(side: int) -> bytes:
    """An ONNX model of one node, GlobalAveragePool: [b, 1, side, side] to [b, 1, 1, 1]."""

    def value(name: str, sides: int) -> bytes:
        dims = b"".join(field(1, d) for d in (field(2, "b"), field(1, 1), field(1, sides), field(1, sides)))
        return field(1, name) + field(2, field(1, field(1, 1) + field(2, dims)))

    node = field(1, "x") + field(2, "y") + field(4, "GlobalAveragePool")
    graph = field(1, node) + field(2, "g") + field(11, value("x", side)) + field(12, value("y", 1))
    return field(1, 8) + bytes([7 << 3 | 2, 0x80 | len(graph) & 0x7F, len(graph) >> 7]) + graph + field(8, field(2, 13))


def test_an_onnx_file_is_run(images, tmp_path):
    (tmp_path / "net.onnx").write_bytes(pooling_network(20))
    file = EncoderFile(tmp_path / "net.onnx", size=20, channels=1, mean=(0.0,), std=(1.0,))
    found = features(images, file_encoder("mine", file), tmp_path / "cache")
    assert found[:, 0] == pytest.approx(images.reshape(9, -1).mean(axis=1) / 255, rel=1e-5)


def test_absent_broken_and_unfit_files_are_said(images, tmp_path):
    with pytest.raises(ConfigError, match=r"encoder mine: no file .*x\.pt"):
        file_encoder("mine", EncoderFile(tmp_path / "x.pt"))
    for name in ("broken.pt", "broken.safetensors"):
        (tmp_path / name).write_bytes(b"no network")
        with pytest.raises(ConfigError, match="can't be read as"):
            file_encoder("mine", EncoderFile(tmp_path / name))
    save(Pixelwise(), tmp_path / "pixels.pt")
    with pytest.raises(ConfigError, match=r"gives \(16, 3, 20, 20\) for 16 images"):
        features(images, file_encoder("mine", EncoderFile(tmp_path / "pixels.pt", size=20)), tmp_path / "cache")
    with pytest.raises(ConfigError, match=r"net\.pth; allowed: a file ending in \.safetensors, \.onnx, \.pt"):
        EncoderFile(tmp_path / "net.pth")
    with pytest.raises(ConfigError, match="3 and 1 numbers"):
        EncoderFile(tmp_path / "net.pt", std=(1.0,))


def test_encoders_by_name(images, tmp_path):
    path = save(Means(1.0), tmp_path / "net.pt")
    files = {"mine": EncoderFile(path)}
    assert encoder_named("mine", images, tmp_path, 0, TINY, files).name == "mine"
    first = encoder_named("self_supervised", images, tmp_path, 0, TINY, files)
    again = encoder_named("self_supervised", images, tmp_path, 0, TINY, files)
    assert first.version == again.version
    assert len(list(tmp_path.glob("self-supervised-*"))) == 1
    assert encoder_named("self_supervised", images, tmp_path, 1, TINY, files).version != first.version
    with pytest.raises(ConfigError, match=r"'inception'; allowed: packaged, self_supervised, mine"):
        encoder_named("inception", images, tmp_path, 0, TINY, files)
