import pytest
import torch

from synthcohort.models.classifier import ClassifierConfig, ResidualClassifier


@pytest.mark.parametrize(("channels", "size"), [(1, 64), (3, 32), (1, 16)])
def test_shapes(channels, size):
    network = ResidualClassifier(
        ClassifierConfig(channels=channels, num_classes=5, size=size, widths=(8, 16, 24))
    ).eval()
    x = torch.randn(3, channels, size, size)
    assert network.features(x).shape == (3, 24)
    assert network(x).shape == (3, 5)


def test_an_image_does_not_depend_on_its_neighbours_in_evaluation():
    network = ResidualClassifier(ClassifierConfig(num_classes=2, size=32, widths=(8, 16))).eval()
    x = torch.randn(4, 1, 32, 32)
    alone = torch.cat([network(x[i : i + 1]) for i in range(4)])
    assert torch.allclose(network(x), alone, atol=1e-5)
