from synthcohort.core.seeds import rng, seed_from


def test_seeds_are_fixed_for_good() -> None:
    assert seed_from("image", 3) == 2651129243465823020
    assert 0 <= seed_from("a") < 2**63


def test_parts_matter_in_kind_and_place() -> None:
    seeds = {seed_from("a", 1), seed_from("a", "1"), seed_from(1, "a"), seed_from("a", 1, 0), seed_from("a1")}
    assert len(seeds) == 5


def test_generators_of_one_name_agree() -> None:
    assert rng("x", 1).integers(1 << 40) == rng("x", 1).integers(1 << 40)
    assert rng("x", 1).integers(1 << 40) != rng("x", 2).integers(1 << 40)
