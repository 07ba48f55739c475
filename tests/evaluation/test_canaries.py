from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats

from synthcohort.core.cohort import Cohort
from synthcohort.core.config import to_mapping
from synthcohort.core.errors import ConfigError
from synthcohort.core.run import RunFolder
from synthcohort.core.seeds import rng
from synthcohort.evaluation.canaries import audit_canaries, canaries, exposure, has_canaries, smallest_share
from synthcohort.imaging.canaries import CanaryConfig, canary, canary_hosts
from synthcohort.imaging.intensity import ValueRange


def test_rank_one_of_sixty_four_is_six_bits_and_the_last_none():
    candidates = np.tile(np.arange(63.0), (2, 1))
    found = exposure(np.array([100.0, -1.0]), candidates)
    assert np.allclose(found.bits, [6, 0])
    assert exposure(np.array([5.0] * 9), np.full((9, 3), 5.0)).bits == pytest.approx(2 - np.log2(2.5))


def test_marks_that_nobody_learned_have_uniform_p_values_and_chance_exposure():
    p_values, means = [], []
    for number in range(400):
        draw = rng("unlearned", number)
        found = exposure(draw.normal(size=20), draw.normal(size=(20, 63)))
        p_values.append(found.p_value)
        means.append(found.bits.mean())
    assert stats.kstest(p_values, "uniform").pvalue > 0.01
    assert np.mean(means) == pytest.approx(found.chance, abs=0.05)
    assert found.chance == pytest.approx(1 / np.log(2), abs=0.12)


def test_the_share_said_to_be_seen_is_seen():
    share = smallest_share(40, 63)
    seen = 0
    for number in range(100):
        draw = rng("learned", number)
        planted = draw.normal(size=40)
        planted[: round(share * 40)] = 99
        seen += exposure(planted, draw.normal(size=(40, 63))).p_value < 0.01
    assert seen >= 88
    assert smallest_share(1, 63) is None


def test_synthetic_images_that_show_the_marks_expose_them(toys, tmp_path):
    real = toys.cohort(tmp_path / "real", num=80)
    config = CanaryConfig(count=12, strength=0.2)
    train = real.select(split="train")
    hosts = canary_hosts(train.image_ids, config)
    values = ValueRange(0, 255)
    shown = [canary(train.image(int(i)), train.image_ids[i], values, config) for i in hosts]

    def offered(name, images):
        return toys.cohort(
            tmp_path / name, "synthetic", num=len(images), draw=lambda *_: images.pop(0), size=32, screened=True
        )  # fmt: skip

    leaked = audit_canaries(real, config, tmp_path, 0, synthetic=offered("leaked", list(shown)), candidates=15)
    figures = leaked["figures"]["canaries"]
    assert figures["p_value"] < 1e-6
    assert figures["fully_exposed"] == 12
    hidden = [train.image(int(i)) for i in hosts]
    kept = audit_canaries(real, config, tmp_path, 0, synthetic=offered("hidden", hidden), candidates=15)
    assert kept["figures"]["canaries"]["p_value"] > 0.001
    assert kept["scores"][0]["value"] < 2.5
    assert not any(identifier in str(leaked) for identifier in train.image_ids)


def test_too_few_canaries_or_nothing_to_look_at_is_said(toys, tmp_path):
    real = toys.cohort(tmp_path / "real", num=40)
    assert isinstance(real, Cohort)
    with pytest.raises(ConfigError, match="8 or more"):
        audit_canaries(real, CanaryConfig(count=3), tmp_path, 0, synthetic=real)
    with pytest.raises(ConfigError, match="run folder or synthetic"):
        audit_canaries(real, CanaryConfig(count=9), tmp_path, 0)


@pytest.fixture
def planted(toys, tmp_path):
    """A GAN's run that says what it planted, its real cohort, and synthetic images that show the marks."""
    real = toys.cohort(tmp_path / "real", num=80)
    config = CanaryConfig(count=12, strength=0.2)
    train = real.select(split="train")
    hosts = canary_hosts(train.image_ids, config)
    images = [canary(train.image(int(i)), train.image_ids[i], ValueRange(0, 255), config) for i in hosts]
    toys.cohort(tmp_path / "made", "synthetic", num=12, draw=lambda *_: images.pop(0), screened=True)
    run = RunFolder.open(tmp_path / "run", "gan", {"cohorts": [real.digest]})
    run.update(done=True, canaries={"images": 12, "settings": to_mapping(config), "started_from": None})
    given = SimpleNamespace(real_path=tmp_path / "real", synthetic_path=tmp_path / "made")
    return run, lambda: canaries(given, None, None, None, tmp_path / "cache", 0, run.path)


def test_the_part_audits_what_the_run_says_it_planted(planted):
    run, audited = planted
    assert has_canaries(run.path)
    found = audited()
    assert found["figures"]["canaries"]["fully_exposed"] == 12
    assert found["scores"][0]["high"] == 6
    assert 4 < found["scores"][0]["low"] < 6, "twelve canaries are not all there could be"


def test_a_run_that_can_not_be_audited_says_why_and_names_no_folder(planted, toys, tmp_path):
    run, audited = planted
    facts = run.info["canaries"]
    run.update(canaries={"images": 0, "settings": None, "started_from": facts})
    found = audited()
    assert found["scores"][0]["value"] is None
    assert "started from" in found["scores"][0]["computed_on"]
    run.update(canaries=facts, config={"cohorts": ["sha256:another"]})
    found = audited()
    assert "trained on other cohorts" in found["scores"][0]["computed_on"]
    run.update(kind="diffusion", config={"cohorts": [Cohort.open(tmp_path / "real").digest]})
    found = audited()  # it has no model
    assert found["scores"][0]["computed_on"].startswith("not measured: ")
    assert tmp_path.as_posix() not in str(found)
    assert not has_canaries(None)
    assert not has_canaries(tmp_path / "nowhere")
