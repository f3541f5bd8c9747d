from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from imm_rl.language.language_model import build
from imm_rl.language.lm_settings import LMSettings
from imm_rl.language.lm_training import LMTrainer
from imm_rl.language.transformer import TransformerModel, rotated, rotations

Settings = Callable[..., LMSettings]
Trainers = Callable[..., LMTrainer]
WORDS = torch.randint(8, (3, 12), generator=torch.Generator().manual_seed(0))


@pytest.fixture
def make(tiny_settings: Settings) -> Callable[..., TransformerModel]:
    """A model in evaluation mode and float64; weights large enough for attention to matter."""

    def made(**changes: object) -> TransformerModel:
        changes = {"model": "transformer", "heads": 2, "init_range": 0.5, **changes}
        model = build(tiny_settings(**changes), 8, 1)
        assert isinstance(model, TransformerModel)
        return model.double().eval()

    return made


def read(model: TransformerModel, words: Tensor) -> Tensor:
    """log Q at every position, read at once from an empty state: (B, T, V)."""
    return model.log_probs(model.encode(words, model.start(len(words)))[0])


def by_hand(model: TransformerModel, words: list[int]) -> Tensor:
    """The same after the last word, position by position, without PyTorch's attention."""
    x = model.embedding.weight[words]  # (T, H)
    for block in model.blocks:
        heads, size = block._heads, x.shape[1] // block._heads
        normed = (x - x.mean(1, True)) / (x.var(1, unbiased=False, keepdim=True) + 1e-5).sqrt()
        queries, keys, values = (normed @ block.query_key_value.weight.T).chunk(3, 1)
        attended = torch.zeros_like(x)
        for head in range(heads):
            own = slice(head * size, (head + 1) * size)
            for t in range(len(words)):
                scores = torch.stack(
                    [
                        turned(queries[t, own], t) @ turned(keys[s, own], s) / math.sqrt(size)
                        for s in range(t + 1)
                    ]
                )
                attended[t, own] = scores.softmax(0) @ values[: t + 1, own]
        x = x + attended @ block.attended.weight.T
        normed = (x - x.mean(1, True)) / (x.var(1, unbiased=False, keepdim=True) + 1e-5).sqrt()
        inner = normed @ block.hidden.weight.T
        inner = inner * 0.5 * (1 + torch.erf(inner / math.sqrt(2)))
        x = x + inner @ block.back.weight.T
    x = (x - x.mean(1, True)) / (x.var(1, unbiased=False, keepdim=True) + 1e-5).sqrt()
    return (x[-1] @ model.output.weight.T + model.output.bias).log_softmax(0)


def turned(x: Tensor, position: int) -> Tensor:
    """Pairs of units as complex numbers, turned by position · rate."""
    half = len(x) // 2
    rates = 10_000.0 ** -(torch.arange(half).double() * 2 / len(x))
    spun = torch.complex(x[:half], x[half:]) * torch.exp(1j * position * rates)
    return torch.cat([spun.real, spun.imag])


@pytest.mark.parametrize("layers", [1, 2])
def test_log_probs_are_those_worked_out_by_hand(
    make: Callable[..., TransformerModel], layers: int
) -> None:
    model = make(layers=layers, hidden_size=16)
    found = read(model, WORDS)
    for row in range(3):
        expected = by_hand(model, WORDS[row].tolist())
        torch.testing.assert_close(found[row, -1], expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(found.exp().sum(-1), torch.ones(3, 12).double())


def test_a_word_s_prediction_does_not_see_what_follows(
    make: Callable[..., TransformerModel],
) -> None:
    model, changed = make(), WORDS.clone()
    changed[:, 7] = (changed[:, 7] + 1) % 8
    before, after = read(model, WORDS), read(model, changed)
    assert torch.equal(before[:, :7], after[:, :7])
    assert not torch.isclose(before[:, 7:], after[:, 7:]).all(-1).any()


@pytest.mark.parametrize("cuts", [(4, 4, 4), (1, 11), (11, 1), (1,) * 12])
def test_encode_in_pieces_equals_encode_at_once(
    make: Callable[..., TransformerModel], cuts: tuple[int, ...]
) -> None:
    model = make(memory=20)
    state, pieces = model.start(3), []
    for piece in WORDS.split(cuts, 1):
        hidden, state = model.encode(piece, state)
        pieces.append(model.log_probs(hidden))
    torch.testing.assert_close(torch.cat(pieces, 1), read(model, WORDS), atol=1e-6, rtol=0)


@pytest.mark.parametrize("memory", [0, 3])
def test_a_word_looks_at_its_piece_and_the_memory_in_training(
    make: Callable[..., TransformerModel], memory: int
) -> None:
    """One layer, so that nothing older reaches a word through those between."""
    model = make(layers=1, memory=memory, unroll=8, dropout=0.0).train()
    state = model.encode(WORDS[:, :8], model.start(3))[1]
    assert all(part.shape == (3, 2, memory, 4) for part in state)
    found = model.log_probs(model.encode(WORDS[:, 8:], state)[0])
    expected = read(model, WORDS[:, 8 - memory :])[:, memory:]
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("cuts", [(12,), (4, 4, 4), (1,) * 12, (7, 5)])
@pytest.mark.parametrize("memory", [0, 3])
def test_a_word_looks_at_memory_and_piece_however_a_text_is_cut_in_evaluation(
    make: Callable[..., TransformerModel], memory: int, cuts: tuple[int, ...]
) -> None:
    model = make(layers=1, memory=memory, unroll=2)
    state, pieces = model.start(3), []
    for piece in WORDS.split(cuts, 1):
        hidden, state = model.encode(piece, state)
        pieces.append(model.log_probs(hidden))
    found = torch.cat(pieces, 1)
    for t in range(12):
        window = WORDS[:, max(0, t + 1 - memory - 2) : t + 1]
        torch.testing.assert_close(found[:, t], read(model, window)[:, -1], atol=1e-6, rtol=0)
    older = WORDS.clone()
    older[:, 0] = (older[:, 0] + 1) % 8
    assert torch.equal(read(model, older)[:, memory + 2 :], read(model, WORDS)[:, memory + 2 :])


def test_after_equals_the_last_position(make: Callable[..., TransformerModel]) -> None:
    model = make()
    histories = WORDS.view(3, 2, 6)
    found = model.after(histories)
    expected = read(model, histories.flatten(0, 1))[:, -1].view(3, 2, 8)
    torch.testing.assert_close(found, expected)


def test_rotations_make_scores_depend_on_the_distance_alone() -> None:
    generator = torch.Generator().manual_seed(1)
    query, key = torch.randn(2, 8, generator=generator, dtype=torch.float64)
    turns = rotations(10, 8, query.device, query.dtype)
    places = [rotated(x.expand(10, 8), *turns) for x in (query, key)]
    scores = places[0] @ places[1].T
    torch.testing.assert_close(scores[3, 1], scores[9, 7], atol=1e-6, rtol=0)
    assert abs(float(scores[3, 1] - scores[3, 2])) > 1e-3
    torch.testing.assert_close(places[0][0], query)


def test_first_weights_are_small_where_a_block_adds(tiny_settings: Settings) -> None:
    settings = tiny_settings(model="transformer", layers=8, init_range=0.1, hidden_size=32)
    model = build(settings, 8, 1)
    assert isinstance(model, TransformerModel)
    for block in model.blocks:
        assert block.query_key_value.weight.abs().max() > 0.09
        for adding in (block.attended, block.back):
            assert 0.02 < float(adding.weight.detach().abs().max()) <= 0.1 / 4
    again = build(settings, 8, 1).state_dict()
    assert all(torch.equal(again[name], value) for name, value in model.state_dict().items())


def test_dropout_acts_in_training_alone(make: Callable[..., TransformerModel]) -> None:
    model = make(dropout=0.5).train()
    assert not torch.equal(model.after(WORDS), model.after(WORDS))
    model.eval()
    assert torch.equal(model.after(WORDS), model.after(WORDS))


@pytest.mark.parametrize("name", ["lstm", "transformer"])
def test_bfloat16_rounds_and_keeps_gradients_in_float32(tiny_settings: Settings, name: str) -> None:
    exact, rounded = (
        build(tiny_settings(model=name, precision=precision, dropout=0.0, init_range=0.5), 8, 1)
        for precision in ("float32", "bfloat16")
    )
    found = [model.after(WORDS.view(3, 2, 6)) for model in (exact, rounded)]
    assert found[1].dtype == torch.float32
    torch.testing.assert_close(found[1].exp().sum(-1), torch.ones(3, 2))
    gap = float((found[0] - found[1]).detach().abs().max())
    assert 1e-6 < gap < 0.1
    for model, log_probs in zip((exact, rounded), found, strict=True):
        log_probs[..., 0].sum().backward()
        assert all(p.grad is None or p.grad.dtype == torch.float32 for p in model.parameters())
    grads = [
        torch.cat([p.grad.flatten() for p in m.parameters() if p.grad is not None])
        for m in (exact, rounded)
    ]
    assert float(torch.cosine_similarity(*grads, dim=0)) > 0.99


@pytest.fixture
def compiled_by(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Any], None]]:
    """`compiled_by(backend)`: what compiles from now on; PyTorch's own takes minutes to build its code."""
    import torch._dynamo

    def chosen(backend: Any) -> None:
        torch._dynamo.reset()  # all models share what was compiled
        captured = functools.partial(torch.compile, backend=backend, fullgraph=True)
        monkeypatch.setattr(torch, "compile", captured)

    yield chosen
    torch._dynamo.reset()


of_torch = pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")
"""Of PyTorch's own modules, as they are imported."""


@pytest.mark.slow
@of_torch
def test_compiled_layers_give_the_same(
    make: Callable[..., TransformerModel], compiled_by: Callable[[Any], None]
) -> None:
    compiled_by("eager")
    found = []
    for compile_ in (False, True):
        model = make(compile=compile_, dropout=0.0, memory=7, layers=1).train()
        state, parts = model.start(3), []
        for piece in WORDS.split((5, 5, 2), 1):
            hidden, state = model.encode(piece, state)
            parts.append(model.log_probs(hidden))
        log_probs = torch.cat(parts, 1)
        log_probs.square().mean().backward()
        found.append([log_probs, *state, *(p.grad for p in model.parameters())])
    torch.testing.assert_close(found[1], found[0], atol=1e-6, rtol=0)


@pytest.mark.slow
@of_torch
@pytest.mark.parametrize(
    ("method", "graphs", "changes"),
    [
        ("batch", 2, {}),  # an empty memory and a filled one; the last piece is shorter
        ("batch", 2, {"memory": 7}),  # as long as a piece
        ("batch", 2, {"precision": "bfloat16"}),
        ("serialized", 3, {}),  # the pass without gradients too
    ],
)
def test_a_training_compiles_few_graphs(
    trainer: Trainers,
    compiled_by: Callable[[Any], None],
    method: str,
    graphs: int,
    changes: dict[str, Any],
) -> None:
    """PyTorch gives up compiling after 8 of them, with a warning."""
    from torch._dynamo.testing import CompileCounter

    counter = CompileCounter()
    compiled_by(counter)
    size = {"model": "transformer", "layers": 1, "heads": 2, "unroll": 7, "memory": 16}
    for seed in (3, 4):  # the second one needs none of its own
        settings = {**size, "learning_rate": 0.01, **changes}
        one = trainer(method, seed=seed, epochs=2, compile=True, **settings)
        assert one.pieces == 15
        one.train()
        assert len(one.records) == 2
        assert counter.frame_count == graphs
