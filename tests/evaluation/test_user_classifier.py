import numpy as np
import pytest
import torch

from synthcohort.core.errors import ConfigError, InputError
from synthcohort.evaluation.user_classifier import open_classifier, predicted


class Brightness(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mean = x.mean(dim=(1, 2, 3))
        return torch.stack([1 - mean, mean], 1)


IMAGES = np.stack([np.full((8, 8), value, np.float32) for value in (0.1, 0.9, 0.4)])


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
def test_functions_and_torchscript_say_the_same(tmp_path):
    torch.jit.trace(Brightness(), torch.zeros(1, 1, 8, 8)).save(str(tmp_path / "net.pt"))

    def function(images):
        mean = images.mean(axis=(1, 2, 3))
        return np.stack([1 - mean, mean], axis=1)

    for source in (tmp_path / "net.pt", function):
        assert predicted(open_classifier(source, 2), IMAGES).tolist() == [0, 1, 0]
    color = np.repeat(IMAGES[..., None], 3, axis=3)
    assert predicted(open_classifier(function, 2), color).tolist() == [0, 1, 0]
    assert len(predicted(open_classifier(function, 2), IMAGES[:0])) == 0


def test_answers_of_another_shape_are_refused():
    judge = open_classifier(lambda images: np.zeros((len(images), 3)), 2)
    with pytest.raises(InputError, match=r"answers of shape \(3, 3\)"):
        predicted(judge, IMAGES)


def test_files_that_are_no_classifier_are_named(tmp_path):
    (tmp_path / "net.pkl").write_bytes(b"x")
    (tmp_path / "net.pt").write_bytes(b"x")
    with pytest.raises(ConfigError, match="no file"):
        open_classifier(tmp_path / "absent.pt", 2)
    with pytest.raises(ConfigError, match="TorchScript"):
        open_classifier(tmp_path / "net.pkl", 2)
    with pytest.raises(InputError, match="no TorchScript"):
        open_classifier(tmp_path / "net.pt", 2)
