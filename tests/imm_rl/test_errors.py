"""The standard error messages and what they derive from."""

from __future__ import annotations

import pytest

from imm_rl.errors import ImmRlError, InvalidInputError, RunFailedError, invalid, unknown_name


def test_invalid_names_argument_constraint_value_and_remedy() -> None:
    error = invalid("discount", "be in (0, 1]", 1.5, "Use 0.95 if unsure")
    assert str(error) == "discount must be in (0, 1]; received 1.5. Use 0.95 if unsure."


def test_invalid_ends_after_the_value_when_no_remedy_is_given() -> None:
    assert str(invalid("name", "be a word", "")) == "name must be a word; received ''."


def test_unknown_name_suggests_the_nearest_and_lists_all_in_order() -> None:
    error = unknown_name("environment", "tigr", ["tiger", "grid"])
    assert str(error) == ("unknown environment 'tigr'. Did you mean 'tiger'? Known: grid, tiger.")


def test_unknown_name_suggests_nothing_when_nothing_is_near() -> None:
    error = unknown_name("solver", "zzz", {"qmdp": 1, "fib": 2})
    assert str(error) == "unknown solver 'zzz'. Known: fib, qmdp."


@pytest.mark.parametrize("name", [None, 0, 2.5, ["tiger"], b"tiger", {"a": 1}])
def test_unknown_name_shows_what_is_no_text_as_it_is(name: object) -> None:
    assert str(unknown_name("solver", name, ["fib"])) == f"unknown solver {name!r}. Known: fib."


def test_errors_build_without_raising_and_are_of_the_right_kind() -> None:
    assert type(invalid("a", "b", 0)) is InvalidInputError
    assert type(unknown_name("a", "b", [])) is InvalidInputError


@pytest.mark.parametrize(
    ("error", "builtin"), [(InvalidInputError, ValueError), (RunFailedError, RuntimeError)]
)
def test_errors_are_caught_as_imm_rl_errors_and_as_builtins(
    error: type[ImmRlError], builtin: type[Exception]
) -> None:
    assert issubclass(error, ImmRlError)
    assert issubclass(error, builtin)
