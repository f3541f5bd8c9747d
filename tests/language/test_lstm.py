from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from imm_rl.language.language_model import State, build, draw_uniform
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


class Former(nn.Module):
    """The same model with all layers in one `nn.LSTM`, which draws the dropout between them itself."""

    def __init__(self, model: LSTMModel, settings: LMSettings) -> None:
        super().__init__()
        self.embedding, self.dropout = model.embedding, nn.Dropout(settings.dropout)
        size, layers = settings.hidden_size, settings.layers
        between = settings.dropout if layers > 1 else 0.0
        self.lstm = nn.LSTM(size, size, layers, batch_first=True, dropout=between)
        self.output = model.output

    def take(self, model: LSTMModel) -> None:
        for i, layer in enumerate(model.lstm):
            for name, value in layer.named_parameters():
                own = getattr(self.lstm, name.removesuffix("l0") + f"l{i}")
                own.data.copy_(value.detach())

    def encode(self, words: torch.Tensor, state: State) -> tuple[torch.Tensor, State]:
        hidden, after = self.lstm(self.dropout(self.embedding(words)), state)
        return self.dropout(hidden), after


@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("tied", [False, True])
def test_first_weights_are_those_of_one_module_for_all_layers(
    tiny_settings: Settings, layers: int, tied: bool
) -> None:
    settings = tiny_settings(layers=layers, tied=tied)
    model = build(settings, 8, 1)
    former = Former(build(settings, 8, 2), settings)
    draw_uniform(former, settings.init_range, torch.Generator().manual_seed(1))
    found = [former.embedding.weight, *former.lstm.parameters(), former.output.bias]
    expected = [model.embedding.weight, *model.lstm.parameters(), model.output.bias]
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    assert torch.equal(former.output.weight, model.output.weight)


@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("shape", [(4, 7, 8), (1, 1, 8), (20, 35, 40)])
def test_training_is_bit_for_bit_that_of_one_module_for_all_layers(
    tiny_settings: Settings, layers: int, shape: tuple[int, int, int]
) -> None:
    """Hidden vectors, the state carried on, gradients, and where the generator stands afterwards."""
    streams, words, size = shape
    settings = tiny_settings(layers=layers, dropout=0.4, hidden_size=size)
    model = build(settings, 8, 1).train()
    former = Former(model, settings).train()
    former.take(model)
    text = torch.randint(8, (2, streams, words), generator=torch.Generator().manual_seed(3))
    found = []
    for one in (model, former):
        torch.manual_seed(5)
        state = model.start(streams)
        one.zero_grad()
        for piece in text:
            hidden, state = one.encode(piece, tuple(part.detach() for part in state))
            model.output(hidden).logsumexp(-1).mean().backward()
        gradients = [p.grad for p in one.lstm.parameters()]
        shared = [p.grad for p in (model.embedding.weight, model.output.weight)]
        found.append([hidden, *state, *gradients, *(p.clone() for p in shared), torch.rand(1)])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))
    assert float(found[0][3].abs().max()) > 0.0


def test_files_of_one_module_for_all_layers_are_read(tiny_settings: Settings) -> None:
    settings = tiny_settings(layers=2)
    model, other = build(settings, 8, 1).eval(), build(settings, 8, 2).eval()
    former = Former(model, settings)
    former.take(model)
    state = former.state_dict()
    assert {"lstm.weight_ih_l0", "lstm.bias_hh_l1"} <= set(state)
    other.load_state_dict(state)
    words = HISTORIES.flatten(0, 1)
    assert torch.equal(other.after(words), model.after(words))
    assert "lstm.bias_hh_l1" in state  # what was handed over is as it was
    del state["lstm.bias_hh_l1"]
    with pytest.raises(RuntimeError, match="lstm.1.bias_hh_l0"):
        other.load_state_dict(state)


def test_layers_stay_in_float32_where_precision_is_bfloat16(tiny_settings: Settings) -> None:
    exact, rounded = (
        build(tiny_settings(precision=p, dropout=0.0, init_range=0.5), 8, 1)
        for p in ("float32", "bfloat16")
    )
    words = HISTORIES.flatten(0, 1)
    hidden, state = rounded.encode(words, rounded.start(6))
    assert torch.equal(hidden, exact.encode(words, exact.start(6))[0])
    assert {part.dtype for part in (hidden, *state)} == {torch.float32}
    assert not torch.equal(rounded.log_probs(hidden), exact.log_probs(hidden))
