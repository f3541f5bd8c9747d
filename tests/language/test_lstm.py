from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from imm_rl.language.language_model import build
from imm_rl.language.lm_settings import LMSettings
from imm_rl.language.lstm import LSTMModel

Settings = Callable[..., LMSettings]
HISTORIES = torch.randint(8, (3, 2, 5), generator=torch.Generator().manual_seed(0))


@pytest.fixture
def model(tiny_settings: Settings) -> LSTMModel:
    return build(tiny_settings(), 8, 1).eval()


def test_weights_are_uniform_in_their_range(tiny_settings: Settings) -> None:
    for bound in (0.1, 0.02):
        model = build(tiny_settings(init_range=bound, hidden_size=16), 8, 1)
        values = torch.cat([p.detach().flatten() for p in model.parameters()])
        assert values.abs().max() <= bound
        assert values.min() < -0.98 * bound
        assert values.max() > 0.98 * bound
        assert values.std().item() == pytest.approx(bound / 3**0.5, rel=0.05)


def test_weights_are_decided_by_the_seed_alone(tiny_settings: Settings) -> None:
    torch.manual_seed(0)
    first = build(tiny_settings(), 8, 1).state_dict()
    torch.manual_seed(7)
    again, other = (build(tiny_settings(), 8, seed).state_dict() for seed in (1, 2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not any(torch.equal(first[name], other[name]) for name in first)


def test_tied_model_has_one_table_of_words(tiny_settings: Settings) -> None:
    model = build(tiny_settings(tied=True), 8, 1)
    assert model.output.weight is model.embedding.weight
    words = {name for name, p in model.named_parameters() if p.shape == (8, 8)}
    assert words == {"embedding.weight"}  # the output's bias is its own
    assert "output.bias" in dict(model.named_parameters())
    assert build(tiny_settings(), 8, 1).output.weight.shape == (8, 8)


def test_log_probs_are_those_of_distributions(model: LSTMModel) -> None:
    hidden, _ = model.encode(HISTORIES[0], model.start(2))
    log_probs = model.log_probs(hidden)
    assert log_probs.shape == (2, 5, 8)
    torch.testing.assert_close(log_probs.exp().sum(-1), torch.ones(2, 5))


@pytest.mark.parametrize("cuts", [(1, 2, 2), (4, 1), (1, 1, 1, 1, 1)])
def test_encode_in_pieces_equals_encode_at_once(model: LSTMModel, cuts: tuple[int, ...]) -> None:
    words = HISTORIES.flatten(0, 1)
    whole, end = model.encode(words, model.start(6))
    state, pieces = model.start(6), []
    for piece in words.split(cuts, 1):
        hidden, state = model.encode(piece, state)
        pieces.append(hidden)
    torch.testing.assert_close(torch.cat(pieces, 1), whole)
    torch.testing.assert_close(state, end)


def test_encode_in_pieces_needs_the_state(model: LSTMModel) -> None:
    words = HISTORIES.flatten(0, 1)
    whole, _ = model.encode(words, model.start(6))
    without, _ = model.encode(words[:, 3:], model.start(6))
    assert not torch.allclose(whole[:, 3:], without)


@pytest.mark.parametrize("shape", [(5,), (6, 5), (3, 2, 5), (2, 1, 3, 5)])
def test_after_equals_the_last_position_of_encode_from_an_empty_state(
    model: LSTMModel, shape: tuple[int, ...]
) -> None:
    histories = HISTORIES.flatten()[: int(torch.tensor(shape).prod())].view(shape)
    found = model.after(histories)
    flat = histories.reshape(-1, 5)
    hidden, _ = model.encode(flat, model.start(len(flat)))
    torch.testing.assert_close(found, model.log_probs(hidden[:, -1]).view(*shape[:-1], 8))


@pytest.mark.parametrize("layers", [1, 2])
def test_dropout_acts_in_training_alone(tiny_settings: Settings, layers: int) -> None:
    model = build(tiny_settings(dropout=0.5, layers=layers), 8, 1)
    words = HISTORIES.flatten(0, 1)
    model.train()
    assert not torch.equal(model.after(words), model.after(words))
    model.eval()
    assert torch.equal(model.after(words), model.after(words))
