"""Our metrics against the packages people use; the tests hold slow references instead, so that none is a dependency.

    pip install --no-deps --target ORACLES prdc==0.2 vendi-score==0.0.3 torchmetrics==1.9.0 \\
        lightning-utilities==0.15.3 frd-score==1.0.1
    python benchmarks/metric_oracles.py ORACLES

Prints the largest relative difference of each figure as one JSON object; exit code 1 when one is above 1e-6.
frd-score is taken without pyradiomics: its normalization and distance are run on the same features as ours.
torchmetrics runs without torchvision and torch-fidelity: its formulas are called on features.
"""

import contextlib
import io
import json
import sys
import types
import warnings

import numpy as np

from synthcohort.imaging.similarity import ms_ssim
from synthcohort.metrics.classification import auroc
from synthcohort.metrics.distribution import frechet_distance, kernel_distance
from synthcohort.metrics.diversity import vendi_score
from synthcohort.metrics.neighbors import neighborhoods
from synthcohort.metrics.radiomic import radiomics_distance


def relative(ours: float, theirs: float) -> float:
    return abs(ours - theirs) / max(abs(theirs), 1e-300)


def sides(count: int, other: int, dims: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(dims)
    mix = generator.standard_normal((dims, dims)) / np.sqrt(dims)
    real = generator.standard_normal((count, dims)) @ mix
    return real, generator.standard_normal((other, dims)) @ mix * 1.2 + 0.1


def neighbors() -> dict[str, float]:
    from prdc import compute_prdc

    found = {}
    for dims in (2, 16, 128):
        real, synthetic = sides(700, 600, dims)
        with contextlib.redirect_stdout(io.StringIO()):
            theirs = compute_prdc(real_features=real, fake_features=synthetic, nearest_k=5)
        table = neighborhoods(real=real, synthetic=synthetic, k=5)
        for name, value in theirs.items():
            found[f"prdc {name}, {dims} dimensions"] = relative(table.value(name), float(value))
    return found


def diversity() -> dict[str, float]:
    import scipy.sparse

    # vendi-score 0.0.3 names a module that scipy has taken away; only its type is looked at.
    scipy.sparse.csr = types.SimpleNamespace(csr_matrix=scipy.sparse.csr_matrix)
    from vendi_score import vendi

    real, _ = sides(300, 10, 40)
    return {
        "vendi-score score_dual": relative(vendi_score(real), float(vendi.score_dual(real))),
        "vendi-score score_X": relative(vendi_score(real[:30]), float(vendi.score_X(real[:30]))),
    }


def distances() -> dict[str, float]:
    import torch
    from torchmetrics.image import MultiScaleStructuralSimilarityIndexMeasure
    from torchmetrics.image.fid import _compute_fid
    from torchmetrics.image.kid import maximum_mean_discrepancy, poly_kernel

    real, synthetic = sides(500, 400, 32)
    a, b = torch.from_numpy(real), torch.from_numpy(synthetic)
    fid = float(_compute_fid(a.mean(0), torch.cov(a.T), b.mean(0), torch.cov(b.T)))
    equal = synthetic[:400], real[:400]  # their kernel distance takes sets of one size
    kernels = [poly_kernel(torch.from_numpy(x), torch.from_numpy(y)) for x, y in
               ((equal[1], equal[1]), (equal[0], equal[0]), (equal[1], equal[0]))]  # fmt: skip
    kid = float(maximum_mean_discrepancy(kernels[0], kernels[2], kernels[1]))
    generator = np.random.default_rng(0)
    x = generator.random((4, 192, 192))
    y = 0.8 * x + 0.2 * generator.random(x.shape)
    similarity = MultiScaleStructuralSimilarityIndexMeasure(data_range=1.0, reduction="none").double()
    theirs = similarity(torch.from_numpy(y)[:, None], torch.from_numpy(x)[:, None]).numpy()
    return {
        "torchmetrics FID": relative(frechet_distance(real=real, synthetic=synthetic), fid),
        "torchmetrics KID": relative(kernel_distance(real=equal[1], synthetic=equal[0]), kid),
        "torchmetrics MS-SSIM": max(
            relative(float(p), float(q)) for p, q in zip(ms_ssim(y, x, 1.0), theirs, strict=True)
        ),
    }


def radiomics() -> dict[str, float]:
    from frd_score import frd

    generator = np.random.default_rng(1)
    scale = 10.0 ** generator.uniform(-4, 4, 20)
    real, synthetic = (generator.gamma(2.0, size=(count, 20)) * scale for count in (300, 250))
    a, b = (frd.z_score_normalize(x, base_distribution=real, replace_nan=False) for x in (real, synthetic))
    squared = frd.calculate_frechet_distance(a.mean(0), np.cov(a, rowvar=False), b.mean(0), np.cov(b, rowvar=False))
    return {
        "frd-score v1, log d squared": relative(
            radiomics_distance(real=real, synthetic=synthetic, squared=True), float(np.log(squared))
        ),
        "frd-score v1, paper's log d": relative(
            radiomics_distance(real=real, synthetic=synthetic, squared=False), float(np.log(np.sqrt(squared)))
        ),
    }


def classifiers() -> dict[str, float]:
    from sklearn.metrics import roc_auc_score

    generator = np.random.default_rng(2)
    truth, scores = generator.integers(0, 3, 400), np.round(generator.dirichlet(np.ones(3), 400), 2)
    scores /= scores.sum(axis=1, keepdims=True)
    theirs = roc_auc_score(truth, scores, multi_class="ovr", average="macro")
    return {"scikit-learn AUROC": relative(auroc(truth=truth, scores=scores), float(theirs))}


def main() -> None:
    sys.path.append(sys.argv[1])
    warnings.simplefilter("ignore")
    found: dict[str, float] = {}
    for part in (neighbors, diversity, distances, radiomics, classifiers):
        found |= part()
    print(json.dumps(found, indent=2))
    sys.exit(max(found.values()) > 1e-6)


if __name__ == "__main__":
    main()
