"""What is known of a language model without making it."""

from __future__ import annotations

from typing import Any

import pytest

from imm_rl.errors import InvalidInputError
from imm_rl.language import language_model
from imm_rl.language.language_model import build, refuse_too_large
from imm_rl.language.lm_settings import LMSettings


@pytest.mark.parametrize("model", ["lstm", "transformer"])
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize(("layers", "size", "vocab_size"), [(1, 8, 5), (3, 24, 11)])
def test_n_parameters_is_how_many_a_model_has(
    model: str, tied: bool, layers: int, size: int, vocab_size: int
) -> None:
    settings = LMSettings(model=model, tied=tied, layers=layers, hidden_size=size)
    made = build(settings, vocab_size, 0)
    found = sum(parameter.numel() for parameter in made.parameters())
    assert made.n_parameters(settings, vocab_size) == found


@pytest.mark.parametrize("model", ["lstm", "transformer"])
@pytest.mark.parametrize(
    "changes", [{"layers": 2**31 - 1}, {"hidden_size": 2**31 - 8}], ids=lambda c: next(iter(c))
)
def test_a_model_that_no_machine_has_room_for_is_refused_at_once(
    model: str, changes: dict[str, Any]
) -> None:
    with pytest.raises(
        InvalidInputError, match="Take a smaller hidden_size or max_vocab, or fewer"
    ):
        build(LMSettings(model=model, **changes), 10, 0)


def test_a_model_just_as_large_as_the_memory_is_let_through(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = LMSettings(hidden_size=8, layers=1)
    size = 4 * build(settings, 5, 0).n_parameters(settings, 5)
    monkeypatch.setattr(language_model, "_machine_bytes", lambda: float(size))
    refuse_too_large(settings, 5)
    monkeypatch.setattr(language_model, "_machine_bytes", lambda: float(size - 1))
    with pytest.raises(InvalidInputError, match="the model would have 661 parameters, 0 GB"):
        refuse_too_large(settings, 5)
