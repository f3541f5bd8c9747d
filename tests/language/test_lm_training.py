from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from imm_rl.errors import InvalidInputError, RunFailedError
from imm_rl.language import lm_training
from imm_rl.language.corpus import Corpus
from imm_rl.language.lm_evaluation import perplexity
from imm_rl.language.lm_settings import LMSettings
from imm_rl.language.lm_training import LMTrainer, Record
from imm_rl.language.ngram import KneserNey

Trainers = Callable[..., LMTrainer]
Settings = Callable[..., LMSettings]

UPDATES = 10
"""Of an epoch: (402 − 1) // 4 words of a stream in pieces of 10."""


def parameters(trainer: LMTrainer) -> dict[str, torch.Tensor]:
    return lm_training.copied(trainer.model)


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(first[name], second[name]) for name in first)


def trained(one: LMTrainer) -> LMTrainer:
    one.train()
    return one


def spoil(trainer: LMTrainer) -> None:
    """What a diverged update leaves."""
    with torch.no_grad():
        trainer.model.output.bias[0] = math.nan


@pytest.mark.parametrize("method", ["batch", "noising", "sampled", "serialized"])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_weight_zero_is_bit_for_bit_the_training_without_a_term(
    trainer: Trainers, method: str, optimizer: str
) -> None:
    changes: dict[str, Any] = {"epochs": 2, "optimizer": optimizer}
    if optimizer == "adam":
        changes["learning_rate"] = 0.01
    plain = trained(trainer("none", **changes))
    zero = trained(trainer(method, "0", **changes))
    assert same(parameters(zero), parameters(plain))
    for key in ("valid/perplexity", "train/perplexity"):
        assert [r[key] for r in zero.records] == [r[key] for r in plain.records]
    weighted = trained(trainer(method, "0.5", **changes))
    assert not same(parameters(weighted), parameters(plain))


@pytest.mark.parametrize("method", ["none", "batch", "noising", "sampled"])
def test_training_learns_the_order_of_words(trainer: Trainers, method: str) -> None:
    learning = {
        "epochs": 6,
        "dropout": 0.0,
        "layers": 1,
        "optimizer": "adam",
        "learning_rate": 0.03,
    }
    one = trained(trainer(method, "0.3", **learning))
    counts = np.bincount(one.corpus.train, minlength=8) + 1.0
    logs = np.log(counts / counts.sum())[one.corpus.valid[1:]]
    unigram = math.exp(-logs.mean())
    assert unigram == pytest.approx(7.0, abs=0.2)
    # Four in five words follow from the one before; the n-gram model has 2.33.
    assert one.best.perplexity < 2.8
    assert one.best.perplexity == min(record["valid/perplexity"] for record in one.records)


def test_training_ends_in_its_best_state_in_evaluation_mode(trainer: Trainers) -> None:
    one = trained(trainer(epochs=4))
    assert not one.model.training
    assert same(parameters(one), one.best.parameters)
    valid = torch.from_numpy(one.corpus.valid)
    assert perplexity(one.model, valid, streams=3, unroll=10) == one.best.perplexity
    assert one.records[one.best.epoch - 1]["valid/perplexity"] == one.best.perplexity


def test_same_seed_same_numbers_and_other_seeds_others(trainer: Trainers) -> None:
    first, again, other = (trained(trainer("sampled", seed=seed)) for seed in (3, 3, 4))
    assert same(parameters(first), parameters(again))
    shown = [
        [{k: v for k, v in r.items() if not k.startswith("time/")} for r in one.records]
        for one in (first, again, other)
    ]
    assert shown[0] == shown[1] != shown[2]
    assert not same(parameters(first), parameters(other))


@pytest.mark.parametrize("method", ["none", "sampled", "serialized"])
def test_training_leaves_everybody_elses_random_numbers_alone(
    trainer: Trainers, method: str
) -> None:
    torch.manual_seed(123)
    before = torch.get_rng_state()
    one = trainer(method, dropout=0.5)
    one.train(lambda t, _: t.updates < 5)
    assert torch.equal(torch.get_rng_state(), before)
    one.train()
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(7)
    assert same(parameters(one), parameters(trained(trainer(method, dropout=0.5))))


def test_records_have_what_was_agreed(trainer: Trainers) -> None:
    basic = ["epoch", "words", "valid/perplexity", "learning_rate", "train/perplexity"]
    one = trained(trainer("batch", epochs=2))
    imm = ["imm/kl", "imm/agreement", "imm/loss", "imm/lambda"]
    for number, record in enumerate(one.records, start=1):
        assert list(record) == [*basic, *imm, "time/words_per_second"]
        assert (record["epoch"], record["words"]) == (number, number * 4 * 100)
        assert record["imm/lambda"] == 0.5
        assert record["imm/kl"] > 0.0
        assert 0.0 <= record["imm/agreement"] <= 1.0
        assert record["time/words_per_second"] > 0.0
    plain = trained(trainer("none", epochs=1))
    assert list(plain.records[0]) == [*basic, "imm/lambda", "time/words_per_second"]
    assert plain.records[0]["imm/lambda"] == 0.0


def test_words_are_those_that_were_read(trainer: Trainers) -> None:
    found: list[int] = []
    trainer(unroll=30, epochs=2).train(lambda t, _: found.append(t.words) is None)
    # Streams of 100 words, four of them, in pieces of 30, 30, 30 and 10.
    assert found == [120, 240, 360, 400, 520, 640, 760, 800]


def test_callback_sees_every_update_and_stops_the_training(trainer: Trainers) -> None:
    seen: list[tuple[int, bool]] = []

    def watch(t: LMTrainer, record: Record | None) -> bool:
        seen.append((t.updates, record is not None))
        return t.updates < 23

    one = trainer()
    one.train(watch)
    assert seen == [(n, n in (10, 20)) for n in range(1, 24)]
    assert not one.finished
    assert one.epoch == 2
    one.train()
    assert one.finished
    assert same(parameters(one), parameters(trained(trainer())))


# --- the best state -----------------------------------------------------------------------------


def test_a_worse_epoch_is_taken_back_and_steps_get_smaller(trainer: Trainers) -> None:
    states = {}

    def watch(t: LMTrainer, record: Record | None) -> bool:
        if record is not None:
            states[t.epoch] = (parameters(t), t.learning_rate)
            t.learning_rate = 100.0 if t.epoch == 1 else 1.0  # the second epoch must get worse
            t.optimizer = t.new_optimizer()
        return True

    one = trainer(epochs=3, decay=0.25)
    one.train(watch)

    first, second, third = (record["valid/perplexity"] for record in one.records)
    assert second > first > third
    assert same(states[2][0], states[1][0])
    assert states[2][1] == 25.0
    assert states[1][1] == 5.0
    assert [record["learning_rate"] for record in one.records] == [5.0, 100.0, 1.0]
    assert one.best.epoch == 3
    assert one.notes == []


# --- when the term sets in ----------------------------------------------------------------------


def test_steps_rise_and_fall_as_they_are_told_to(trainer: Trainers) -> None:
    """30 updates; the size of each step is read off the optimizer after it."""

    def sizes(**changes: Any) -> list[float]:
        found: list[float] = []

        def note(t: LMTrainer, record: Record | None) -> bool:
            found.append(t.optimizer.param_groups[0]["lr"])
            return True

        trainer("batch", epochs=3, learning_rate=2.0, **changes).train(note)
        return found

    linear = sizes(annealing="linear", warmup=4)
    expected = [2.0 * min(1.0, (i + 1) / 4) * (1 - i / 30) for i in range(30)]
    assert linear == pytest.approx(expected)
    plateau = sizes(warmup=4, decay=1.0)
    assert plateau == pytest.approx([0.5, 1.0, 1.5, *[2.0] * 27])


def test_a_worse_epoch_is_not_taken_back_where_steps_fall_to_0(
    trainer: Trainers, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = iter([7.0, 9.0, 8.0])
    monkeypatch.setattr(lm_training, "perplexity", lambda *_, **__: next(found))
    one = trainer("none", epochs=3, annealing="linear")
    gone_back = []

    def compare(t: LMTrainer, record: Record | None) -> bool:
        if record is not None:
            gone_back.append(same(parameters(t), t.best.parameters))
        return True

    one.train(compare)
    assert gone_back == [True, False, False]  # the first epoch is the best one
    assert (one.best.perplexity, one.best.epoch) == (7.0, 1)
    assert one.learning_rate == one.settings.learning_rate


def test_the_term_sets_in_after_its_epoch(trainer: Trainers) -> None:
    states: dict[str, dict[int, Any]] = {"none": {}, "batch": {}}

    def keeping(method: str) -> Callable[[LMTrainer, Record | None], bool]:
        def keep(t: LMTrainer, record: Record | None) -> bool:
            states[method][t.updates] = parameters(t)
            return True

        return keep

    trainer("none").train(keeping("none"))
    one = trainer("batch", start="epoch:1", start_learning_rate=2.0)
    one.train(keeping("batch"))

    for update in range(1, UPDATES + 1):
        assert same(states["batch"][update], states["none"][update])
    assert not same(states["batch"][UPDATES + 1], states["none"][UPDATES + 1])
    assert [record["imm/lambda"] for record in one.records] == [0.0, 0.5, 0.5]
    assert ["imm/loss" in record for record in one.records] == [False, True, True]
    assert ["imm/kl" in record for record in one.records] == [True, True, True]
    assert [record["learning_rate"] for record in one.records][:2] == [5.0, 2.0]
    assert one.notes == ["the term set in after epoch 1"]


def test_the_term_sets_in_once_the_perplexity_is_low_enough(trainer: Trainers) -> None:
    plain = [r["valid/perplexity"] for r in trained(trainer("none", epochs=4)).records]
    assert plain[0] > plain[1] > plain[2]
    rule = f"ppl:{(plain[0] + plain[1]) / 2:.6f}"
    one = trained(trainer("batch", start=rule, epochs=4))
    assert [r["valid/perplexity"] for r in one.records][:2] == plain[:2]
    assert [r["imm/lambda"] for r in one.records] == [0.0, 0.0, 0.5, 0.5]
    assert [r["learning_rate"] for r in one.records][2] == 5.0
    assert one.notes == ["the term set in after epoch 2"]


def test_the_term_never_sets_in_where_its_rule_is_not_met(trainer: Trainers) -> None:
    one = trained(trainer("batch", start="ppl:1"))
    assert same(parameters(one), parameters(trained(trainer("none"))))
    assert one.notes == ["the term never set in: ppl:1 was not reached"]
    assert not one.started


def test_a_start_at_the_first_epoch_is_no_news(trainer: Trainers) -> None:
    one = trainer("batch", start="epoch:0", start_learning_rate=2.0)
    assert (one.started, one.learning_rate, one.notes) == (True, 2.0, [])
    assert one.optimizer.param_groups[0]["lr"] == 2.0
    plain = trainer("none", start_learning_rate=2.0)
    assert (plain.started, plain.learning_rate) == (False, 5.0)


# --- schedules ----------------------------------------------------------------------------------


def test_a_linear_schedule_reaches_its_end(trainer: Trainers) -> None:
    one = trained(trainer("batch", "linear:1->0.2@0.5", epochs=4))
    # Of 40 updates the first 20 go down a line.
    line = [1.0 - 0.8 * update / 20 for update in range(20)]
    expected = [np.mean(line[:10]), np.mean(line[10:]), 0.2, 0.2]
    assert [record["imm/lambda"] for record in one.records] == pytest.approx(expected)


@pytest.mark.parametrize("method", ["batch", "noising", "sampled"])
def test_target_kl_pulls_harder_for_a_smaller_target(trainer: Trainers, method: str) -> None:
    # 30 updates, each a tenth up where the divergence is far above the target.
    low = trained(trainer(method, "target-kl:0.0001"))
    high = trained(trainer(method, "target-kl:1000"))
    weights = [[record["imm/lambda"] for record in one.records] for one in (low, high)]
    assert weights[0][0] < weights[0][1] < weights[0][2]
    assert weights[1][0] > weights[1][1] > weights[1][2]
    assert weights[0][2] > 5.0
    assert weights[1][2] < 0.2


@pytest.mark.parametrize("method", ["batch", "noising", "sampled", "serialized"])
def test_aligned_stays_within_its_weight(trainer: Trainers, method: str) -> None:
    one = trained(trainer(method, "aligned:2"))
    weights = [record["imm/lambda"] for record in one.records]
    assert all(0.0 < weight < 2.0 for weight in weights)
    assert len(set(weights)) == 3


# --- a loss that is no number -------------------------------------------------------------------


def test_a_loss_that_is_no_number_sends_the_training_back(trainer: Trainers) -> None:
    states = {}

    def watch(t: LMTrainer, record: Record | None) -> bool:
        states[t.updates] = (parameters(t), t.learning_rate)
        if t.updates == 21:
            spoil(t)
        return True

    one = trainer("batch", epochs=4)
    one.train(watch)

    assert not math.isfinite(float(states[24][0]["output.bias"].sum()))
    # The look after update 25, half-way through the third epoch.
    assert same(states[25][0], states[20][0])
    assert states[25][1] == 2.5
    assert one.notes == [
        "after update 25 (epoch 3), the loss became nan: went back to epoch 2's state with step size "
        "2.5"
    ]
    assert one.recoveries == 1
    assert [record["epoch"] for record in one.records] == [1, 2, 3, 4]
    assert all(math.isfinite(value) for record in one.records for value in record.values())
    assert one.records[2]["learning_rate"] == 2.5


def test_a_loss_that_is_no_number_at_the_end_of_an_epoch_halves_the_steps_once(
    trainer: Trainers,
) -> None:
    def watch(t: LMTrainer, record: Record | None) -> bool:
        if t.updates == 18:
            spoil(t)
        return True

    one = trainer("batch")
    one.train(watch)

    assert [record["learning_rate"] for record in one.records] == [5.0, 2.5, 2.5]
    # The second epoch's record is that of the state it went back to.
    assert one.records[1]["valid/perplexity"] == one.records[0]["valid/perplexity"]
    assert one.notes == [
        "after update 20 (epoch 2), the loss became nan: went back to epoch 1's state with step size "
        "2.5"
    ]


def test_a_perplexity_that_is_no_number_sends_the_training_back(
    trainer: Trainers, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The last update of an epoch diverges: its loss was one yet, the perplexity after it is none.
    one = trainer("batch")
    update = LMTrainer._update

    def spoiling(self: LMTrainer) -> torch.Tensor:
        loss = update(self)
        if self.updates == 19:
            spoil(self)
        return loss

    monkeypatch.setattr(LMTrainer, "_update", spoiling)
    one.train()

    assert math.isnan(one.records[1]["valid/perplexity"])
    assert [record["learning_rate"] for record in one.records] == [5.0, 5.0, 2.5]
    assert one.notes == [
        "after update 20 (epoch 2), the validation perplexity became nan: went back to epoch 1's state "
        "with step size 2.5"
    ]
    assert one.best.epoch == 3


def test_a_first_epoch_that_is_no_number_goes_back_to_the_first_weights(trainer: Trainers) -> None:
    one = trainer("batch", epochs=2)
    first = parameters(one)
    states = {}

    def watch(t: LMTrainer, record: Record | None) -> bool:
        states[t.updates] = parameters(t)
        if t.updates == 3:
            spoil(t)
        return True

    one.train(watch)
    assert same(states[10], first)
    assert one.notes[0].endswith("went back to the first state with step size 2.5")
    assert one.best.epoch == 2


@pytest.mark.parametrize("method", ["none", "noising", "sampled", "serialized"])
@pytest.mark.parametrize("weight", ["target-kl:0.05", "aligned:1"])
def test_every_method_recovers(trainer: Trainers, method: str, weight: str) -> None:
    def watch(t: LMTrainer, record: Record | None) -> bool:
        if t.updates == 12:
            spoil(t)
        return True

    one = trainer(method, weight)
    one.train(watch)
    assert one.recoveries == 1
    assert math.isfinite(one.records[2]["valid/perplexity"])
    assert one.best.epoch == 3


def test_the_sixth_loss_that_is_no_number_fails_the_run(trainer: Trainers) -> None:
    def watch(t: LMTrainer, record: Record | None) -> bool:
        spoil(t)
        return True

    one = trainer("batch", epochs=20)
    with pytest.raises(
        RunFailedError,
        match=r"after update \d+ \(epoch \d+\), .* no? ?.*for the 6th time. Train with a smaller "
        "learning_rate",
    ):
        one.train(watch)
    assert one.recoveries == 6
    assert len(one.notes) == lm_training.MOST_RECOVERIES
    assert one.learning_rate == 5.0 * 0.5**5


# --- arguments ----------------------------------------------------------------------------------


def test_trainer_takes_imm_for_batch_and_texts_of_schedules(
    tiny_corpus: Corpus, tiny_settings: Settings, tiny_ngram: KneserNey
) -> None:
    one = LMTrainer(tiny_corpus, tiny_settings(), "imm", "linear:1->0@0.5", tiny_ngram)
    assert (one.method, one.schedule.text) == ("batch", "linear:1->0@0.5")


def test_trainer_without_a_term_logs_the_distance_where_it_is_given_an_ngram_model(
    tiny_corpus: Corpus, tiny_settings: Settings, tiny_ngram: KneserNey
) -> None:
    with_ngram = trained(LMTrainer(tiny_corpus, tiny_settings(), "none", 0.0, tiny_ngram, seed=3))
    alone = trained(LMTrainer(tiny_corpus, tiny_settings(), "none", 0.0, seed=3))
    assert same(parameters(with_ngram), parameters(alone))
    assert with_ngram.records[0]["imm/kl"] > 0.0
    assert "imm/kl" not in alone.records[0]


def test_trainer_refuses_what_does_not_fit(
    tiny_corpus: Corpus, tiny_settings: Settings, tiny_ngram: KneserNey
) -> None:
    settings = tiny_settings()
    with pytest.raises(InvalidInputError, match="Did you mean 'batch'"):
        LMTrainer(tiny_corpus, settings, "bach", 0.5, tiny_ngram)
    with pytest.raises(InvalidInputError, match="ngram must be an n-gram model for the method"):
        LMTrainer(tiny_corpus, settings, "batch", 0.5)
    with pytest.raises(InvalidInputError, match="λ schedule must"):
        LMTrainer(tiny_corpus, settings, "batch", "much", tiny_ngram)
    compiled = tiny_settings(model="transformer", heads=2, compile=True)
    with pytest.raises(InvalidInputError, match="aligned:1 and compile is true"):
        LMTrainer(tiny_corpus, compiled, "batch", "aligned:1", tiny_ngram)
    trigram = KneserNey(3).fit(tiny_corpus.train, vocab_size=8)
    with pytest.raises(InvalidInputError, match="be of order 2 and 8 words"):
        LMTrainer(tiny_corpus, settings, "batch", 0.5, trigram)
    larger = KneserNey(2).fit(tiny_corpus.train, vocab_size=9)
    with pytest.raises(InvalidInputError, match="received 'order 2 and 9 words'"):
        LMTrainer(tiny_corpus, settings, "none", 0.0, larger)
