from dataclasses import dataclass, field
from typing import Literal

import pytest

from synthcohort.core.config import apply_overrides, build, load_toml, to_mapping
from synthcohort.core.errors import ConfigError


@dataclass(frozen=True)
class Inner:
    rate: float = 0.5
    names: tuple[str, ...] = ()
    size: int | tuple[int, int] = 0


@dataclass(frozen=True)
class Outer:
    kind: Literal["a", "b"]
    inner: Inner = field(default_factory=Inner)
    note: str | None = None
    flag: bool = False
    table: dict[str, str] = field(default_factory=dict)


def test_round_trip() -> None:
    made = build(Outer, {"kind": "a", "inner": {"rate": 2, "names": ["x", "y"], "size": [3, 4]}, "table": {"k": "v"}})
    assert made == Outer("a", Inner(2.0, ("x", "y"), (3, 4)), table={"k": "v"})
    assert isinstance(made.inner.rate, float)
    assert build(Outer, to_mapping(made)) == made


def test_every_problem_is_said_at_once_with_the_nearest_name() -> None:
    with pytest.raises(ConfigError) as caught:
        build(Outer, {"kind": "c", "inner": {"rat": 1, "rate": "fast"}, "flag": 1}, "train")
    text = str(caught.value)
    assert "train.kind: 'c'; allowed: a, b" in text
    assert "train.inner.rat: is unknown" in text
    assert "did you mean rate?" in text
    assert "train.inner.rate: 'fast'; allowed: a number" in text
    assert "train.flag: 1; allowed: true or false" in text


def test_missing_setting_is_named() -> None:
    with pytest.raises(ConfigError, match=r"setting kind: is missing"):
        build(Outer, {})


def test_a_whole_number_is_not_a_flag_nor_a_flag_a_number() -> None:
    with pytest.raises(ConfigError):
        build(Inner, {"rate": True})


@pytest.mark.parametrize("bad", ["train", "=3", ".x=1"])
def test_malformed_override(bad: str) -> None:
    with pytest.raises(ConfigError, match=r"section\.key=value"):
        apply_overrides({}, [bad])


def test_overrides_read_toml_and_fall_back_to_text() -> None:
    made = apply_overrides({"a": {"x": 1}}, ["a.x=2", "a.y=[1, 2]", "b.c=plain words", "a.z=true"])
    assert made == {"a": {"x": 2, "y": [1, 2], "z": True}, "b": {"c": "plain words"}}


def test_override_does_not_change_its_input() -> None:
    original = {"a": {"x": 1}}
    apply_overrides(original, ["a.x=2"])
    assert original == {"a": {"x": 1}}


def test_toml_errors_are_ours(tmp_path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        load_toml(tmp_path / "absent.toml")
    (tmp_path / "bad.toml").write_text("a = = 1")
    with pytest.raises(ConfigError, match="not valid TOML"):
        load_toml(tmp_path / "bad.toml")
