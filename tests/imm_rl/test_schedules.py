"""Schedules of λ: values, text that reads back, refusals; the controller of many runs."""

from __future__ import annotations

import math
import pickle
from dataclasses import FrozenInstanceError
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imm_rl.errors import InvalidInputError
from imm_rl.schedules import (
    EXAMPLES,
    Constant,
    PaperRatio,
    Schedule,
    TargetKL,
    WeightController,
    parse,
)


def test_the_help_and_the_guide_name_every_form_that_the_error_lists() -> None:
    from imm_rl.cli.train import EPILOG

    guide = (Path(__file__).resolve().parents[2] / "docs" / "guide.md").read_text(encoding="utf-8")
    for example in EXAMPLES:
        assert f"  {example}," in EPILOG or f", {example}" in EPILOG
        assert f"`{example}`" in guide


@pytest.mark.parametrize("text", EXAMPLES)
def test_follows_progress_says_whether_the_weight_changes_by_itself(text: str) -> None:
    schedule = parse(text).resolve(epochs=100)
    weights = {schedule(progress) for progress in np.linspace(0.0, 1.0, 11)}
    assert schedule.follows_progress == (len(weights) > 1)


@pytest.mark.parametrize(
    ("text", "progress", "expected"),
    [
        ("0.25", 0.7, 0.25),
        ("0", 0.5, 0.0),
        ("ratio:0.2", 0.9, 0.25),
        ("ratio:0", 0.0, 0.0),
        ("ratio:0.75", 0.0, 3.0),
        ("linear:1->0@0.5", 0.0, 1.0),
        ("linear:1->0@0.5", 0.125, 0.75),
        ("linear:1->0@0.5", 0.5, 0.0),
        ("linear:1->0@0.5", 0.9, 0.0),
        ("linear:0.1->0.3@1", 0.5, 0.2),
        ("linear:0.1->0.3@1", 1.0, 0.3),
        ("cosine:1->0@0.5", 0.0, 1.0),
        ("cosine:1->0@0.5", 0.125, (1 + math.sqrt(0.5)) / 2),
        ("cosine:1->0@0.5", 0.25, 0.5),
        ("cosine:1->0@0.5", 0.6, 0.0),
        ("exp:1,half=0.1", 0.0, 1.0),
        ("exp:1,half=0.1", 0.1, 0.5),
        ("exp:3,half=0.1", 0.3, 0.375),
        ("exp:1,half=1e-9", 1.0, 0.0),
        ("paper:1", 0.0, 0.25),
        ("paper:195", 0.5, 0.25),
        ("paper:196", 0.5, 1 / 9),
        ("paper:695", 1.0, 1 / 9),
        ("paper:696", 1.0, 0.0),
        ("paper:5000", 0.0, 0.0),
        ("target-kl:0.05", 0.4, 1.0),
        ("aligned:2.5", 0.4, 2.5),
        (" linear : 1 -> 0 @ 0.5 ", 0.25, 0.5),
        ("\texp : 1 , half = 0.1\n", 0.1, 0.5),
        ("paper : 195", 0.5, 0.25),
    ],
)
def test_schedule_has_the_value_of_its_formula(text: str, progress: float, expected: float) -> None:
    value = parse(text)(progress)
    assert type(value) is float
    assert value == pytest.approx(expected, rel=1e-12, abs=1e-15)


def test_schedule_reaches_its_end_exactly() -> None:
    for text in ("linear:0.1->0.3@0.7", "cosine:0.1->0.3@0.7"):
        assert parse(text)(0.7) == parse(text)(1.0) == 0.3
        assert parse(text)(0.0) == 0.1


@pytest.mark.parametrize("text", [text for text in EXAMPLES if text != "paper"])
def test_schedule_holds_its_ends_outside_of_training(text: str) -> None:
    schedule = parse(text)
    assert schedule(-0.5) == schedule(0.0)
    assert schedule(1.5) == schedule(1.0)
    assert schedule(0.0) >= 0.0


@pytest.mark.parametrize("text", EXAMPLES)
def test_parse_reads_its_own_text_back(text: str) -> None:
    schedule = parse(text)
    assert schedule.text == text
    assert parse(schedule.text) == schedule
    assert parse(schedule) is schedule
    assert pickle.loads(pickle.dumps(schedule)) == schedule
    assert len({schedule, parse(text)}) == 1


NUMBERS = st.floats(0.0, 1e6)
SHARES = st.floats(0.0, 1.0, exclude_min=True)


@given(NUMBERS, NUMBERS, SHARES, st.floats(0.0, 1.0, exclude_max=True), st.integers(1, 10**6))
def test_parse_reads_any_numbers_back(
    start: float, end: float, share: float, ratio: float, epochs: int
) -> None:
    for text in (
        f"{start!r}",
        f"ratio:{ratio!r}",
        f"linear:{start!r}->{end!r}@{share!r}",
        f"cosine:{start!r}->{end!r}@{share!r}",
        f"exp:{start!r},half={share!r}",
        f"paper:{epochs}",
        f"target-kl:{share!r}",
        f"aligned:{start!r}",
    ):
        schedule = parse(text)
        assert parse(schedule.text) == schedule
        assert math.isfinite(schedule(share))
        assert schedule(share) >= 0.0


@pytest.mark.parametrize(
    "number",
    [
        2,
        2.0,
        np.float32(2),
        np.float64(2),
        np.int64(2),
        np.uint8(2),
        Fraction(2),
        "2",
        "2.0",
        " 2 ",
    ],
)
def test_parse_takes_numbers_of_any_kind(number: float | str) -> None:
    assert parse(number) == Constant(2.0)
    assert parse(number).text == "2"


def test_schedule_is_immutable() -> None:
    with pytest.raises(FrozenInstanceError):
        parse("0.25").value = 3.0  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "high",
        "linear",
        "linear:1->0",
        "linear:1@0.5",
        "linear:a->0@0.5",
        "exp:1",
        "exp:1,0.1",
        "papers",
        "paper:",
        "paper:4.5",
        "ratio:",
        "ratio:0.2:0.3",
        "target-kl",
        "sqrt:1",
        "1 0",
        "0.2 5",
        "0 .25",
        "linear:1 0->0@0.5",
        "linear:1- >0@0.5",
        "exp:1,ha lf=0.1",
        "pa per",
        "target - kl:0.05",
        "1_000",
        "ratio:0_0.2",
        "paper:4_00",
        "linear:1_0->0@0.5",
        True,
        np.True_,
        1j,
        None,
        [0.25],
    ],
)
def test_parse_lists_the_forms_when_the_text_has_none_of_them(text: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        parse(text)
    message = str(caught.value)
    assert repr(text) in message
    assert all(example in message for example in EXAMPLES)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("-0.1", "'-0.1' must have weights that are finite and at least 0; received -0.1"),
        ("nan", "received nan"),
        ("inf", "received inf"),
        (-1, "received -1.0"),
        ("ratio:1", r"'ratio:1' must have a ratio in \[0, 1\); received 1.0"),
        ("ratio:-0.1", r"\[0, 1\)"),
        ("ratio:nan", r"\[0, 1\)"),
        ("linear:-1->0@0.5", "received -1.0"),
        ("cosine:1->-2@0.5", "received -2.0"),
        ("linear:1->0@0", r"end at a share of training in \(0, 1\]; received 0.0"),
        ("linear:1->0@1.5", "received 1.5"),
        ("exp:-1,half=0.1", "received -1.0"),
        ("exp:1,half=0", "half-life above 0"),
        ("exp:1,half=inf", "half-life above 0"),
        ("paper:0", "'paper:0' must have at least 1 epoch; received 0"),
        ("target-kl:0", "target above 0"),
        ("target-kl:inf", "target above 0"),
        ("aligned:-1", "received -1.0"),
    ],
)
def test_parse_refuses_numbers_out_of_range(text: str | float, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        parse(text)


def test_paper_needs_the_length_of_the_training() -> None:
    with pytest.raises(InvalidInputError, match=r"how many epochs.*paper:400"):
        parse("paper")(0.0)
    assert parse("paper").resolve(epochs=300) == parse("paper:300")
    assert parse("paper:100").resolve(epochs=300) == PaperRatio(100)


@pytest.mark.parametrize("text", [text for text in EXAMPLES if text != "paper"])
def test_resolve_leaves_other_schedules_as_they_are(text: str) -> None:
    schedule = parse(text)
    assert schedule.resolve(epochs=7) is schedule


# --- WeightController ---------------------------------------------------------------------------


def test_controller_gives_each_run_its_own_schedule() -> None:
    controller = WeightController(["linear:1->0@1", 0.5, parse("ratio:0.2"), 0.5])
    assert controller.weights(0.25).tolist() == [0.75, 0.5, 0.25, 0.5]
    assert controller.weights(1.0).tolist() == [0.0, 0.5, 0.25, 0.5]
    assert [s.text for s in controller.schedules] == ["linear:1->0@1", "0.5", "ratio:0.2", "0.5"]


@pytest.mark.parametrize(
    ("schedules", "needs_kl", "needs_cosine"),
    [
        (["0.25", "paper:3"], False, False),
        (["0.25", "target-kl:0.1"], True, False),
        (["aligned:1"], False, True),
    ],
)
def test_controller_says_what_its_schedules_need(
    schedules: list[str], needs_kl: bool, needs_cosine: bool
) -> None:
    controller = WeightController(schedules)
    assert (controller.needs_kl, controller.needs_cosine) == (needs_kl, needs_cosine)


def test_controller_target_kl_follows_its_rule() -> None:
    controller = WeightController(["target-kl:0.1"] * 4 + ["2"])
    assert controller.weights(0.0).tolist() == [1.0, 1.0, 1.0, 1.0, 2.0]
    # Errors of +1 (clipped from 4), 0, −0.5 and none that is a number.
    controller.observe(kl=[0.5, 0.1, 0.05, float("nan"), 0.5])
    expected = [math.exp(0.1), 1.0, math.exp(-0.05), 1.0, 2.0]
    assert controller.weights(0.9).tolist() == pytest.approx(expected, rel=1e-14)
    controller.observe(kl=[0.0, 0.1, 0.05, 0.1, 0.0])
    expected = [1.0, 1.0, math.exp(-0.1), 1.0, 2.0]
    assert controller.weights(0.9).tolist() == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize(("kl", "limit"), [(0.0, 1e-4), (float("inf"), 1e3)])
def test_controller_target_kl_stays_within_its_limits(kl: float, limit: float) -> None:
    controller = WeightController([TargetKL(0.1)])
    for _ in range(200):
        controller.observe(kl=[kl])
    assert controller.weights(1.0).tolist() == [limit]


def test_controller_target_kl_holds_a_kl_that_falls_with_the_weight() -> None:
    controller = WeightController(["target-kl:0.05", "target-kl:0.2"])
    kl = np.zeros(2)
    for _ in range(300):
        kl = 0.3 / (1.0 + controller.weights(0.5))
        controller.observe(kl=kl)
    np.testing.assert_allclose(kl, [0.05, 0.2], rtol=1e-3)


def test_controller_aligned_counts_the_gradient_only_as_far_as_it_helps() -> None:
    controller = WeightController(["aligned:2"] * 5 + ["3"])
    assert controller.weights(0.0).tolist() == [2.0] * 5 + [3.0]
    controller.observe(cosine=[0.25, -0.9, float("nan"), 1.0 + 1e-9, 0.0, -1.0])
    assert controller.weights(0.0).tolist() == [0.5, 0.0, 0.0, 2.0, 0.0, 3.0]
    controller.observe(cosine=[-0.5, 0.5, 0.5, 0.5, 0.5, 0.5])
    assert controller.weights(0.0).tolist() == [0.0, 1.0, 1.0, 1.0, 1.0, 3.0]


def test_controller_adapts_each_schedule_to_its_own_measure() -> None:
    controller = WeightController(["target-kl:0.1", "aligned:1"])
    controller.observe(kl=[0.0, 0.0])
    assert controller.weights(0.0).tolist() == pytest.approx([math.exp(-0.1), 1.0])
    controller.observe(kl=np.array([0.1, 9.0]), cosine=np.array([-1.0, 0.5]))
    assert controller.weights(0.0).tolist() == pytest.approx([math.exp(-0.1), 0.5])


def test_controller_state_restores_another_controller() -> None:
    schedules: list[str | float | Schedule] = ["target-kl:0.1", "aligned:1", 0.5]
    controller = WeightController(schedules)
    controller.observe(kl=[9.0, 0.0, 0.0], cosine=[0.0, 0.25, 0.0])
    state = controller.state()
    before = controller.weights(0.3)
    controller.observe(kl=[9.0, 0.0, 0.0], cosine=[0.0, 0.5, 0.0])
    again = WeightController(schedules)
    again.restore(state)
    assert again.weights(0.3).tolist() == before.tolist()
    again.observe(kl=[9.0, 0.0, 0.0], cosine=[0.0, 0.5, 0.0])
    assert again.weights(0.3).tolist() == controller.weights(0.3).tolist()


def test_controller_refuses_measures_and_states_of_another_shape() -> None:
    controller = WeightController(["target-kl:0.1", "aligned:1"])
    with pytest.raises(InvalidInputError, match=r"kl must .* shape \(2,\); received \(3,\)"):
        controller.observe(kl=[0.0, 0.0, 0.0])
    with pytest.raises(InvalidInputError, match=r"cosine must .* received \(\)"):
        controller.observe(cosine=0.5)
    with pytest.raises(InvalidInputError, match=r"state\['factors'\] must .* received \(1,\)"):
        controller.restore({"factors": np.ones(1)})
    with pytest.raises(InvalidInputError, match="state must have the entry 'factors'"):
        controller.restore({})


def test_controller_evaluates_a_schedule_once_for_all_its_runs() -> None:
    calls: list[float] = []

    class Counting(Constant):
        def __call__(self, progress: float) -> float:
            calls.append(progress)
            return super().__call__(progress)

    controller = WeightController([Counting(0.5)] * 50)
    assert controller.weights(0.25).tolist() == [0.5] * 50
    assert calls == [0.25]
