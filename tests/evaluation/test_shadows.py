"""Attacks with shadow models: they find what was learned whatever its difficulty, and nothing where nothing was."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy import stats

from synthcohort.cli.main import main
from synthcohort.core.cohort import Cohort, LabelColumn
from synthcohort.core.cohort_writer import CohortWriter
from synthcohort.core.errors import ConfigError, InputError
from synthcohort.core.files import write_artifact
from synthcohort.core.policy import load_policy
from synthcohort.core.run import RunFolder
from synthcohort.core.seeds import rng
from synthcohort.evaluation import spaces
from synthcohort.evaluation.config import EvaluateConfig
from synthcohort.evaluation.inputs import open_inputs
from synthcohort.evaluation.membership import Roles, membership, white_box_attacks
from synthcohort.evaluation.part_config import MembershipConfig, WhiteBoxConfig
from synthcohort.evaluation.shadows import attack, check_halves, open_shadows, seen_by, shadow_scores
from synthcohort.evaluation.white_box import Loss, loss_scores
from synthcohort.metrics.attacks import attack_area, chance_test
from synthcohort.models.denoiser import NetworkConfig
from synthcohort.training import train
from synthcohort.training.config import TrainConfig

NETWORK = NetworkConfig(
    channels=(8, 16), encoder_blocks=(1, 1), decoder_blocks=(1, 1), attention_levels=(), embedding_width=16
)
CALIBRATED, RATIO = "denoising loss, calibrated by", "denoising loss, likelihood ratio by"


def drawn_losses(number: int, shadows: int, gain: float, sizes=(100, 200, 100)):
    """Log losses [N, 1 + K, S] of strangers, members and others: of very unequal difficulty, lower where seen.

    The audited model gains `gain` of what the shadows do: at 0 it learned nothing of anybody.
    """
    draw = rng("shadow losses", number, shadows)
    total, strangers = sum(sizes), sizes[0]
    seen = np.zeros((total, 1 + shadows), bool)
    seen[strangers : strangers + sizes[1], 0] = True
    for k in range(1, shadows, 2):
        seen[strangers:, k] = draw.permutation(total - strangers) < (total - strangers) // 2
        seen[strangers:, k + 1] = ~seen[strangers:, k]
    learned = np.exp(draw.normal(0, 0.6, (total, 1, 1))) * np.linspace(0.06, 0.02, 4)
    learned = learned * np.array([gain, *np.ones(shadows)])[:, None] * seen[..., None]
    level, own = draw.normal(0, 0.2, (1, 1 + shadows, 4)), draw.normal(0, 0.03, (total, 1 + shadows, 4))
    return draw.normal(0, 1, (total, 1, 1)) + draw.normal(0, 0.1, (total, 1, 4)) + level + own - learned, seen


def scored(number: int, shadows: int, gain: float) -> dict[str, np.ndarray]:
    losses, seen = drawn_losses(number, shadows, gain)
    own = np.repeat(losses[:, 0, :, None], 2, axis=2)  # no linear denoiser here: its place is taken by the loss itself
    plain = loss_scores(own[:100], own[100:])["denoising loss"]
    return {"denoising loss": plain} | shadow_scores(losses[:100], losses[100:], seen[100:, 1:])


def areas(scores: Mapping[str, np.ndarray], members: int = 200) -> dict[str, float]:
    found = {}
    for name, values in scores.items():
        sides = values[:members], values[members:]
        groups = [np.arange(len(side)) for side in sides]
        area = attack_area(members=sides[0], others=sides[1], member_groups=groups[0], other_groups=groups[1])
        assert area is not None
        found[name] = area.value
    return found


@pytest.mark.parametrize("shadows", [2, 4])
def test_what_was_learned_is_seen_although_images_differ_much_in_difficulty(shadows):
    found = areas(scored(0, shadows, 1.0))
    assert set(found) == {"denoising loss", f"{CALIBRATED} {shadows} shadow models", f"{RATIO} {shadows} shadow models"}
    assert found["denoising loss"] < 0.6
    assert found[f"{CALIBRATED} {shadows} shadow models"] > 0.75
    assert found[f"{RATIO} {shadows} shadow models"] > 0.75


def test_shadows_that_learned_by_heart_accuse_nobody_whom_the_model_did_not_learn():
    """The test of chance is exact: p-values of each attack are uniform, though shadows saw members and others."""
    p_values = []
    for number in range(120):
        scores = np.stack(list(scored(number, 2, 0.0).values()), axis=1)
        is_member = np.arange(len(scores)) < 200
        test = chance_test(scores, is_member, np.arange(len(scores)), None, 199, rng("relabel", number))
        p_values.append([test.family, *test.each])
    for column in np.array(p_values).T:
        assert stats.kstest(column, "uniform").pvalue > 1e-3
        assert (column <= 0.05).mean() < 0.13  # of 120; more with probability 1e-3 at 0.05


def test_the_ratio_is_that_of_two_normals():
    """With equal gains nothing is drawn together: the score is the difference of two log densities."""
    losses, seen = drawn_losses(3, 2, 1.0)
    losses, inside = losses[..., :2], seen[100:, 1:]
    found = shadow_scores(losses[:100], losses[100:], inside)[f"{RATIO} 2 shadow models"]
    level = losses[:100].mean(axis=0)
    reference, queries = losses[:100] - level, losses[100:] - level
    pairs = np.where(inside[:, :1, None], queries[:, [1, 2]], queries[:, [2, 1]])  # [Q, in and out, S]
    gain = pairs[:, 1] - pairs[:, 0]
    noise = 2 * reference[:, 1:].var(axis=1, ddof=1).mean(axis=0)
    share = 1 - noise / np.maximum(gain.var(axis=0), noise)
    gain = gain.mean(axis=0) + share * (gain - gain.mean(axis=0))
    line = [np.polyfit(reference[:, 1:, s].mean(axis=1), reference[:, 0, s], 1) for s in range(2)]
    expected = np.stack([np.polyval(line[s], pairs[:, :, s].mean(axis=1) + gain[:, s] / 2) for s in range(2)], axis=1)
    residual = np.stack([reference[:, 0, s] - np.polyval(line[s], reference[:, 1:, s].mean(1)) for s in range(2)], 1)
    covariance = np.cov(residual, rowvar=False)
    covariance[[0, 1], [1, 0]] *= 0.9
    normal = stats.multivariate_normal(np.zeros(2), covariance)
    slow = normal.logpdf(queries[:, 0] - expected + gain) - normal.logpdf(queries[:, 0] - expected)
    assert found == pytest.approx(slow, rel=1e-5, abs=1e-5)


ROLES = ("train", "train", "control", "validation")


def hard_image(number: int, size: int = 16) -> np.ndarray:
    """Smooth waves under noise of a strength of its own, between 1 and 40 gray values: that alone makes the loss."""
    draw = rng("hard", number)
    y, x = np.mgrid[:size, :size] / size
    waves = sum(np.cos(2 * np.pi * (a * x + b * y) + c) for a, b, c in draw.uniform(-1.5, 1.5, (3, 3)))
    noise = draw.normal(0, np.exp(draw.uniform(0, 3.7)), (size, size))
    return np.clip(np.rint(128 + 20 * waves + noise), 0, 255).astype(np.uint8)


def hard_cohort(path: Path, count: int = 200, first: int = 0, origin: str = "real", roles=ROLES) -> Cohort:
    writer = CohortWriter(path, "hard", origin, [LabelColumn("grade", "ordinal", (0, 1))], {}, "f")
    for n in range(count):
        own = {"image_id": f"i{first + n:04d}", "grade": n // 4 % 2, "bits_stored": 8}
        if origin == "real":
            own |= {"patient_id": f"p{n:04d}", "split": roles[n % len(roles)]}
        writer.add(hard_image(first + n), own)
    return writer.finish()


SETTINGS = {"images": 1600, "network": {"channels": [8, 16]}, "log_images": 100}


def folder(path: Path, cohort: Cohort, number: int | None = None, **other: Any) -> Path:
    """A finished run's folder as far as opening shadows reads it; a shadow saw every second patient."""
    settings = {**SETTINGS, **other.get("train", {})}
    if number is not None:
        settings["shadow"] = number
    config = {"train": settings, "seed": number or 0, "cohorts": other.get("cohorts", [cohort.digest])}
    run = RunFolder.open(path, other.get("kind", "diffusion"), config)
    run.update(done=other.get("done", True), steps=other.get("steps", 100), average=0.05)
    if number is not None:
        pool = [i for role in ("train", "control") for i in cohort.select(split=role).image_ids]
        own = pool[number % 2 :: 2]
        run.update(shadow={"number": number, "images": len(own)})
        seen = [{"cohort": cohort.digest, "image_ids": other.get("seen", own)}]
        write_artifact(path / "shadow.json", "shadow", 1, {"number": number, "seen": seen})
    return path


@pytest.fixture(scope="module")
def real(tmp_path_factory) -> Cohort:
    return hard_cohort(tmp_path_factory.mktemp("shadows") / "real", 48)


def test_shadows_are_opened_by_number_with_what_they_saw(real, tmp_path):
    run = folder(tmp_path / "run", real)
    paths = [folder(tmp_path / f"s{n}", real, n, train={"log_images": n + 7}) for n in (3, 0, 2, 1)]
    shadows = open_shadows(run, paths)
    assert [shadow.number for shadow in shadows] == [0, 1, 2, 3]
    check_halves(shadows, real)
    pool = [i for role in ("train", "control") for i in real.select(split=role).image_ids]
    inside = seen_by(shadows, real)
    assert inside.shape == (48, 4)
    assert [i for i, own in zip(real.image_ids, inside[:, 0], strict=True) if own] == sorted(pool[::2])
    assert open_shadows(run, []) == ()
    check_halves((), real)


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"train": {"images": 3200}}, r"train\.images is 3200; allowed: 1600, as in the audited run"),
        ({"train": {"network": {"channels": [4]}}}, r"train\.network\.channels is \[4\]; allowed: \[8, 16\]"),
        ({"cohorts": ["sha256:other"]}, "was trained on other cohorts than the audited run"),
        ({"steps": 150}, "took 150 steps; allowed: about 100"),
        ({"done": False}, "is unfinished"),
        ({"kind": "gan"}, "is no shadow model"),
    ],
)
def test_another_training_is_no_shadow(real, tmp_path, other, words):
    run, first = folder(tmp_path / "run", real), folder(tmp_path / "s0", real, 0)
    with pytest.raises(InputError, match=words) as raised:
        open_shadows(run, [first, folder(tmp_path / "s1", real, 1, **other)])
    assert len(raised.value.problems) == 1


def test_lists_that_are_not_whole_pairs_are_refused(real, tmp_path):
    run = folder(tmp_path / "run", real)
    s0, s1, s2 = (folder(tmp_path / f"s{n}", real, n) for n in range(3))
    with pytest.raises(InputError, match="shadow 2: is given without shadow 3"):
        open_shadows(run, [s0, s1, s2])
    with pytest.raises(InputError, match="shadow 0: is given 2 times") as raised:
        open_shadows(run, [s0, s0])
    assert "shadow 0: is given without shadow 1" in str(raised.value)
    with pytest.raises(InputError, match="is no shadow model"):
        open_shadows(run, [s0, run])
    with pytest.raises(InputError, match="is not a run folder"):
        open_shadows(run, [s0, tmp_path / "absent"])
    with pytest.raises(InputError, match="is a shadow itself"):
        open_shadows(s2, [s0, s1])
    with pytest.raises(ConfigError, match="without the audited run"):
        open_shadows(None, [s0, s1])


def test_shadows_that_saw_other_images_are_refused(real, tmp_path):
    run = folder(tmp_path / "run", real)
    pair = [folder(tmp_path / "s0", real, 0), folder(tmp_path / "s1", real, 1, seen=real.image_ids[:3])]
    with pytest.raises(InputError, match="shadows 0 and 1: the two do not share the real cohort's"):
        check_halves(open_shadows(run, pair), real)
    other = hard_cohort(tmp_path / "other", 24, 900)
    pair[1] = folder(tmp_path / "t1", real, 1)
    with pytest.raises(InputError, match="shadows of this cohort"):
        check_halves(open_shadows(run, pair), other)


def test_the_command_says_what_is_wrong_before_it_begins(real, tmp_path, capsys):
    run, shadow = folder(tmp_path / "run", real), folder(tmp_path / "s0", real, 0)
    asked = ["evaluate", "--real", str(real.path), "--synthetic", str(tmp_path), "--out", str(tmp_path / "out")]
    assert main([*asked, "--run", str(run), "--shadow", str(shadow)]) == 2
    assert "error: shadow 0: is given without shadow 1; allowed: both of a pair" in capsys.readouterr().err
    assert main([*asked, "--set", f'evaluate.membership.shadows=["{shadow}"]']) == 2
    assert "shadow models: given without the audited run; give --run too" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def untrained(path: Path, cohort: Cohort, number: int | None = None) -> Path:
    """A finished run with random weights."""
    import torch

    from synthcohort.models.checkpoint import ImageSpec, ModelSpec, save_model
    from synthcohort.models.condition import Vocabulary

    folder(path, cohort, number)
    image = ImageSpec(rows=16, columns=16, channels=1, dtype="uint8", low=0, high=255)
    spec = ModelSpec(NETWORK, (image,), Vocabulary.of([cohort.labels["grade"]], {}), 0.5, "float32")
    facts = {"cohorts": [cohort.digest], "training_images": 50}
    with torch.random.fork_rng():
        torch.manual_seed(99 if number is None else number)
        weights = {name: value + 0.1 * torch.randn_like(value) for name, value in spec.build().state_dict().items()}
    save_model(path / "model", spec, weights, facts if number is None else {**facts, "shadow": {"number": number}})
    return path


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> SimpleNamespace:
    root = tmp_path_factory.mktemp("untrained")
    real = hard_cohort(root / "real", 100, roles=(*ROLES, "test"))
    paths = [untrained(root / f"s{n}", real, n) for n in (0, 1)]
    return SimpleNamespace(root=root, real=real, run=untrained(root / "run", real), shadows=paths)


def roles_of(real: Cohort) -> Roles:
    return Roles(*(real.select(split=role) for role in ("train", "control", "validation")), real, "")


def test_the_attacks_stand_beside_the_others_and_say_what_they_compared_with(runs, tmp_path):
    inputs = SimpleNamespace(real=runs.real, classes=lambda view: np.zeros(len(view), int))
    settings = MembershipConfig(white_box=WhiteBoxConfig(sigmas=(0.4, 0.8)))
    shadows = open_shadows(runs.run, runs.shadows)
    roles = roles_of(runs.real)
    given = (runs.run, tmp_path, settings, 0)
    plain, note = white_box_attacks(inputs, roles, *given)
    assert note.startswith("no shadow models were given")
    found, note = white_box_attacks(inputs, roles, *given, shadows)
    assert found.names == (*plain.names, f"{CALIBRATED} 2 shadow models", f"{RATIO} 2 shadow models")
    assert np.array_equal(found.members[:, :-2], plain.members)
    assert found.others.shape == (20, len(plain.names) + 2)
    assert np.isfinite(found.members).all()
    assert note.endswith("2 shadow models learned from 30 images each, the model attacked from 50")
    swapped, _ = white_box_attacks(inputs, roles, *given, shadows[::-1])
    assert np.allclose(swapped.others[:, -1], found.others[:, -1])  # the order says nothing
    halves = [roles.others.select(indices=np.arange(*ends)) for ends in ((0, 10), (10, 20))]
    control = Roles(roles.members, *halves, runs.real, "")
    halved, note = white_box_attacks(inputs, control, *given, shadows)
    assert halved.names == plain.names
    assert "too few validation patients" in note
    with pytest.raises(InputError, match="is a shadow of another one"):
        white_box_attacks(inputs, roles, runs.shadows[0], tmp_path, settings, 0)


def test_the_verdict_counts_them_and_the_evidence_names_them(runs, tmp_path, monkeypatch):
    monkeypatch.setattr(spaces, "SPACES", spaces.SPACES[1:])  # the natural-image encoder takes seconds
    made = hard_cohort(tmp_path / "made", 40, 3000, "synthetic")
    inputs = open_inputs(runs.real.path, made.path, None, tmp_path)
    settings = MembershipConfig(least_images=20, permutations=999, white_box=WhiteBoxConfig(sigmas=(0.4, 0.8)))

    def evaluated(**more: Any) -> dict[str, Any]:
        chosen = MembershipConfig(**{**vars(settings), **more})
        given = (inputs, SimpleNamespace(), EvaluateConfig(), load_policy("open"), tmp_path, 0)
        return membership(*given, settings=chosen, run=runs.run)

    found = evaluated(shadows=tuple(runs.shadows))
    judged = found["families"]["membership"]
    assert "2 shadow models learned from 30 images each, the model attacked from 50" in judged["reason"]
    names = {item["encoder"] for item in found["scores"]}
    assert {f"{CALIBRATED} 2 shadow models", f"{RATIO} 2 shadow models"} <= names
    assert f"white-box: {RATIO} 2 shadow models" in judged["figures"]["attacks"]
    entry = next(item for item in found["scores"] if item["encoder"] == f"{RATIO} 2 shadow models")
    assert "white-box attack" in entry["computed_on"]
    assert str(runs.root) not in str(found)
    without = evaluated()["families"]["membership"]
    assert "no shadow models were given" in without["reason"]
    assert len(judged["figures"]["attacks"]) == len(without["figures"]["attacks"]) + 2
    with pytest.raises(InputError, match="shadow 0: is given without shadow 1"):
        evaluated(shadows=(runs.shadows[0],))


@pytest.mark.slow
def test_trained_shadows_find_what_an_overtrained_model_learned_and_nothing_in_one_that_saw_neither(tmp_path):
    """100 members that the model saw 96 times each; the images' losses differ by a factor of hundreds."""
    real, other = hard_cohort(tmp_path / "real"), hard_cohort(tmp_path / "other", first=5000)
    network = NetworkConfig(
        channels=(16, 32), encoder_blocks=(1, 1), decoder_blocks=(1, 1), attention_levels=(), embedding_width=16
    )
    config = TrainConfig(
        images=9_600, size=16, network=network, batch=16, validation_images=0, watch_images=0, flip=False,
        precision="float32",
    )  # fmt: skip
    for name, cohort, shadow in (("run", real, None), ("s0", real, 0), ("s1", real, 1), ("stranger", other, None)):
        train([cohort.path], tmp_path / name, replace(config, shadow=shadow))
    shadows = open_shadows(tmp_path / "run", [tmp_path / "s0", tmp_path / "s1"])
    check_halves(shadows, real)
    assert [shadow.images for shadow in shadows] == [75, 75]
    inputs = SimpleNamespace(real=real, classes=lambda view: np.zeros(len(view), int))
    settings = WhiteBoxConfig(sigmas=(0.1, 0.2, 0.4, 0.8))
    roles, cache = roles_of(real), tmp_path / "cache"
    asked = (tmp_path / "run", cache, MembershipConfig(white_box=settings), 0)
    found, _ = white_box_attacks(inputs, roles, *asked, shadows)
    scores = dict(zip(found.names, np.concatenate([found.members, found.others]).T, strict=True))
    reached = areas(scores, len(found.members))
    print({name: round(value, 3) for name, value in reached.items()})
    assert reached[f"{CALIBRATED} 2 shadow models"] > reached["denoising loss"] + 0.15
    assert reached[f"{RATIO} 2 shadow models"] > reached["denoising loss"] + 0.25
    assert reached[f"{RATIO} 2 shadow models"] > reached["denoising loss for its difficulty"] + 0.05

    views = (roles.strangers, roles.members, roles.others)
    stranger = Loss.of_run(tmp_path / "stranger", other, settings, cache, 0)
    audited = [stranger.losses(view, roles.strangers) for view in views]
    inside, outside = attack(shadows, real, views, audited, settings, cache, 0)
    innocent = {name: np.concatenate([inside[name], outside[name]]) for name in inside}
    print({name: round(value, 3) for name, value in areas(innocent, 100).items()})
    chance = chance_test(
        np.stack(list(innocent.values()), axis=1), np.arange(150) < 100, np.arange(150), None, 1999, rng("null")
    )
    assert chance.family > 0.01
