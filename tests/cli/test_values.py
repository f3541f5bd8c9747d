from __future__ import annotations

from typing import Any

import pytest

from imm_rl.agents.sb3_settings import A2CSettings, PPOSettings
from imm_rl.agents.settings import ReinforceSettings
from imm_rl.cli import values
from imm_rl.errors import InvalidInputError


@pytest.mark.parametrize(
    ("value", "number"),
    [("20000", 20_000), ("20_000", 20_000), ("2e4", 20_000), (7, 7), (2e4, 20_000)],
)
def test_count_takes_the_ways_people_write_numbers(value: Any, number: int) -> None:
    found = values.count("steps", value)

    assert found == number
    assert type(found) is int


@pytest.mark.parametrize(
    "value", ["0", "-3", "1.5", "abc", "", "nan", "inf", "1e400", True, None, [3]]
)
def test_count_refuses_what_is_no_number_of_things(value: Any) -> None:
    with pytest.raises(InvalidInputError, match="steps must be a whole number ≥ 1"):
        values.count("steps", value)


@pytest.mark.parametrize("value", ["2147483648", "1e20", 2**31, 1e300, "9" * 5000])
def test_count_and_whole_refuse_what_no_training_can_be_as_large_as(value: Any) -> None:
    for read in (values.count, values.whole):
        with pytest.raises(InvalidInputError, match="must be "):
            read("k", value)
    assert values.count("k", "2147483647") == values.whole("k", 2.0**31 - 1) == 2**31 - 1


def test_count_takes_longer_trainings_where_it_is_told() -> None:
    assert values.count("steps", "5e9", 10**12) == 5_000_000_000
    with pytest.raises(InvalidInputError, match="steps must be at most 1,000,000,000,000;"):
        values.count("steps", "1e13", 10**12)


def test_whole_numbers_keep_their_last_digit() -> None:
    last = 2**53 + 1  # which no float is
    assert values.count("steps", str(last), 2**60) == values.count("steps", last, 2**60) == last


def test_seeds_end_where_numpy_s_do() -> None:
    last = 2**32 - 1
    assert values.seed("--seed", str(last)) == last
    assert values.seeds("seeds", f"{last - 1}-{last}") == (last - 1, last)
    assert values.seeds_from("--seed", last - 1, 2) == range(last - 1, last + 1)
    told = "must be at most 4,294,967,295; received"
    for given in (str(2**32), str(2**64), "1e18"):
        with pytest.raises(InvalidInputError, match=f"--seed {told}"):
            values.seed("--seed", given)
    for given in (str(2**32), f"{last}-{last + 1}"):
        with pytest.raises(InvalidInputError, match=f"seeds {told}"):
            values.seeds("seeds", given)
    with pytest.raises(InvalidInputError, match="be at most 4,294,967,294, for 2 seeds in a row"):
        values.seeds_from("--seed", last, 2)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("3", (3,)),
        ("0-3", (0, 1, 2, 3)),
        ("3,4", (3, 4)),
        ("5-5, 0-1", (5, 0, 1)),
        (3, (3,)),
        ([0, 4], (0, 4)),
        (["0-1", 4], (0, 1, 4)),
    ],
)
def test_seeds_takes_numbers_ranges_and_lists(value: Any, expected: tuple[int, ...]) -> None:
    assert values.seeds("seeds", value) == expected


def test_seeds_takes_as_many_as_a_run_can_have_open_files() -> None:
    assert len(values.seeds("seeds", f"0-{values.MOST_SEEDS - 1}")) == values.MOST_SEEDS
    with pytest.raises(InvalidInputError, match="be at most 500"):
        values.seeds("seeds", f"0-{values.MOST_SEEDS - 1},1000")


@pytest.mark.parametrize(
    "value",
    ["", "a", "3-", "-3", "3-1", "1,,2", "1,1", "0-2,1", "1.5", "0-500", [], True, {}, [None]],
)
def test_seeds_refuses_what_is_no_list_of_different_seeds(value: Any) -> None:
    with pytest.raises(InvalidInputError, match="seeds must"):
        values.seeds("seeds", value)


@pytest.mark.parametrize(
    ("function", "value"), [("positive", "0"), ("positive", "x"), ("real", "x")]
)
@pytest.mark.parametrize("kind", ["text", "other"])
def test_numbers_are_checked(function: str, value: str, kind: str) -> None:
    given: Any = value if kind == "text" else [value]
    with pytest.raises(InvalidInputError, match="x must be a number"):
        getattr(values, function)("x", given)


def test_settings_reads_texts_by_the_type_of_the_field() -> None:
    found = values.settings(
        {
            "hidden_sizes": "8,16",
            "learning_rate": "1e-3",
            "n_steps": "2e2",
            "eval_steps": "none",
            "bootstrap": "False",
            "baseline": "none",
        },
        ReinforceSettings,
    )

    assert found.hidden_sizes == (8, 16)
    assert found.learning_rate == 1e-3
    assert (found.n_steps, found.eval_steps) == (200, None)
    assert (found.bootstrap, found.baseline) == (False, "none")


def test_settings_takes_what_yaml_makes_of_values() -> None:
    found = values.settings(
        {"hidden_sizes": [8, 16], "n_steps": None, "normalize_advantage": False}, ReinforceSettings
    )

    assert (found.hidden_sizes, found.n_steps, found.normalize_advantage) == ((8, 16), None, False)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("hidden_sizes", "8,"),
        ("hidden_sizes", "a"),
        ("learning_rate", "fast"),
        ("n_steps", "0"),
        ("bootstrap", "2"),
        ("bootstrap", 1),
        ("gamma", "1.5"),
        ("baseline", "mode"),
        ("n_envs", 2.5),
    ],
)
def test_settings_names_the_field_that_is_wrong(name: str, value: Any) -> None:
    with pytest.raises(InvalidInputError, match=name):
        values.settings({name: value}, ReinforceSettings)


def test_settings_reads_those_of_each_agent() -> None:
    given = {"gae_lambda": "0.9", "completions": "none", "context_weight": "informed"}

    assert values.settings({**given, "batch_size": "32"}, PPOSettings) == PPOSettings(
        gae_lambda=0.9, context_weight="informed", batch_size=32
    )
    assert values.settings({**given, "completions": "equal"}, A2CSettings) == A2CSettings(
        gae_lambda=0.9, context_weight="informed", completions="equal"
    )


@pytest.mark.parametrize(
    ("value", "expected"), [("2,3", (2, 3)), ("0", (0,)), ([1, 4], (1, 4)), (5, (5,))]
)
def test_indices_takes_texts_and_lists(value: Any, expected: tuple[int, ...]) -> None:
    assert values.indices("observe", value) == expected


@pytest.mark.parametrize("value", ["", "a", "1,", "-1", "1.5", [], True, [None], {"a": 1}])
def test_indices_refuses_what_is_no_list_of_indices(value: Any) -> None:
    with pytest.raises(InvalidInputError, match="observe must be indices"):
        values.indices("observe", value)
