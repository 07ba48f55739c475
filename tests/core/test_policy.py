import itertools
from importlib import resources

import pytest

from synthcohort.core.errors import ConfigError
from synthcohort.core.policy import FAMILIES, SHIPPED, load_policy


@pytest.fixture
def own(tmp_path):
    """Writes a policy of one's own: the default with one text replaced."""
    text = (resources.files("synthcohort") / "policies" / "open.toml").read_text(encoding="utf-8")

    def write(old: str, new: str):
        assert old in text
        path = tmp_path / "own.toml"
        path.write_text(text.replace(old, new), encoding="utf-8")
        return path

    return write


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_policies_load_and_name_every_family(name):
    policy = load_policy(name)
    assert policy.name == name
    assert sorted([*policy.release.must_pass, *policy.release.may_be_inconclusive]) == sorted(FAMILIES)
    assert set(policy.summary()["thresholds"]) == set(FAMILIES)


def test_open_is_the_default_and_asks_for_everything():
    assert load_policy(None) == load_policy("open")
    assert set(load_policy().release.must_pass) == set(FAMILIES)
    assert load_policy("internal").release.must_pass == ("copies",)


@pytest.mark.parametrize("name", SHIPPED)
def test_every_threshold_is_explained_on_the_line_above(name):
    lines = (resources.files("synthcohort") / "policies" / f"{name}.toml").read_text(encoding="utf-8").splitlines()
    section = ""
    for before, line in itertools.pairwise(lines):
        section = line if line.startswith("[") else section
        if section.startswith("[thresholds.") and "=" in line and not line.startswith("#"):
            assert before.startswith("# "), line
            assert before.endswith("."), line


def test_the_digest_follows_the_content_not_the_layout(own):
    policy = load_policy("open")
    assert load_policy(own("# The default policy", "# Another comment")).digest == policy.digest
    assert load_policy(own("min_class_fraction = 0.25", "min_class_fraction = 0.2")).digest != policy.digest


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("max_auc =", "max_auk =", "max_auk.*did you mean max_auc"),
        ("significance = 0.01\n", "", "significance"),
        ("max_auc = 0.6", "max_auc = 1.6", "max_auc: 1.6; allowed: 0 to 1"),
        ("min_control_images = 50", "min_control_images = 0", "min_control_images: 0; allowed: 1 or more"),
        ("min_control_images = 50", "min_control_images = 0.5", "min_control_images"),
        ("version = 1", "version = 2", "policy.version: 2; allowed: 1"),
        ('"harm"]', '"harms"]', "unknown family 'harms'"),
        ("may_be_inconclusive = []", 'may_be_inconclusive = ["harm"]', "'harm' is listed 2 times"),
        ("[release]", "[release", "not valid TOML"),
    ],
)
def test_mistakes_are_named(own, old, new, words):
    with pytest.raises(ConfigError, match=words):
        load_policy(own(old, new))


def test_all_mistakes_are_said_at_once(own):
    with pytest.raises(ConfigError) as caught:
        load_policy(own("version = 1", "version = 3\nfoo = 1"))
    assert "foo" in str(caught.value)


@pytest.mark.parametrize("name", ["opne", "nowhere/own.toml"])
def test_an_unknown_policy_is_named(name):
    with pytest.raises(ConfigError, match=name):
        load_policy(name)
