from __future__ import annotations

import random

import numpy as np
import torch

from imm_rl.cli.generators import generator_states, restore_generators, seeded_apart


def _drawn() -> list[float]:
    numbers = [random.gauss(0.0, 1.0), random.random()]
    numbers += np.random.standard_normal(3).tolist()  # noqa: NPY002
    return [*numbers, *torch.rand(3).tolist()]


def test_restored_generators_draw_the_same_again() -> None:
    _drawn()  # so that spare normals are kept, too
    states = generator_states()
    expected = _drawn()
    _drawn()

    restore_generators(states)

    assert _drawn() == expected


def test_what_is_drawn_apart_disturbs_nothing_and_depends_on_the_seed() -> None:
    before = generator_states()
    expected = _drawn()
    restore_generators(before)

    with seeded_apart(3):
        first = _drawn()
    after = _drawn()
    with seeded_apart(3):
        again = _drawn()
    with seeded_apart(4):
        other = _drawn()

    assert after == expected
    assert first == again != other
