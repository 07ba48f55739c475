import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthcohort.metrics.nearest import nearest


def brute(queries, corpus, k, same=False):
    squared = ((queries[:, None].astype(float) - corpus[None]) ** 2).sum(axis=2)
    if same:
        squared[np.arange(len(squared)), np.arange(len(squared))] = np.inf
    order = np.argsort(squared, axis=1, kind="stable")[:, :k]
    return np.sqrt(np.take_along_axis(squared, order, axis=1)), order


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    num=st.integers(7, 300),
    dims=st.integers(1, 40),
    k=st.integers(1, 6),
    rows=st.integers(1, 70),
    columns=st.integers(1, 300),
    same=st.booleans(),
    spread=st.sampled_from([1e-6, 1.0, 1e5]),
    shift=st.sampled_from([0.0, 3e4]),
)
def test_equal_to_brute_force_whatever_the_blocks(seed, num, dims, k, rows, columns, same, spread, shift):
    generator = np.random.default_rng(seed)
    corpus = (generator.standard_normal((num, dims)) * spread + shift).astype(np.float32)
    corpus[num // 2] = corpus[0]  # equal points: ties
    queries = corpus if same else (generator.standard_normal((20, dims)) * spread + shift).astype(np.float32)
    distances, positions = nearest(queries, corpus, k, same=same, rows=rows, columns=columns)
    expected, at = brute(queries, corpus, k, same)
    assert distances == pytest.approx(expected, rel=1e-12, abs=1e-300)
    assert (positions == at).all()


def test_clusters_of_very_different_size_lose_no_neighbour():
    """Near points far from the center: the float32 screen alone could not tell them apart."""
    generator = np.random.default_rng(0)
    corpus = np.concatenate([generator.standard_normal((300, 8)) * 1e-5 + 50, generator.standard_normal((300, 8))])
    distances, positions = nearest(corpus, corpus, 3, same=True, rows=64, columns=500)
    expected, at = brute(corpus, corpus, 3, same=True)
    assert distances == pytest.approx(expected, rel=1e-12)
    assert (positions == at).all()


def test_what_can_not_be_searched_is_refused():
    points = np.eye(4)
    with pytest.raises(ValueError, match="4 neighbours among 3 points"):
        nearest(points, points, 4, same=True)
    with pytest.raises(ValueError, match=r"needed: \[Q, D\], \[N, D\]"):
        nearest(points, np.eye(5), 1)
