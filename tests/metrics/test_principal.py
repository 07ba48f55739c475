import numpy as np

from synthcohort.metrics.principal import Principal


def test_the_widest_direction_comes_first_and_the_center_is_taken_off():
    generator = np.random.default_rng(0)
    features = generator.normal(size=(400, 6)) * [1, 9, 1, 3, 1, 1] + 5
    directions = Principal.fit(features.astype(np.float32), 2)
    projected = directions(features)
    assert projected.shape == (400, 2)
    assert np.abs(projected.mean(0)).max() < 1e-5
    assert projected.std(0)[0] > 8 > 4 > projected.std(0)[1] > 2
    assert abs(np.corrcoef(projected[:, 0], features[:, 1])[0, 1]) > 0.99


def test_few_images_have_fewer_directions():
    features = np.random.default_rng(1).normal(size=(5, 10))
    directions = Principal.fit(features, 128)
    assert directions(features).shape == (5, 4)
    distances = [np.linalg.norm(x[:, None] - x, axis=2) for x in (features, directions(features))]
    assert np.allclose(*distances)  # nothing is lost
