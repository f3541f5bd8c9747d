"""Trainings on the cube: every method at every size, ratio and quality, in blocks of problems.

`figure_1` computes with these what the command line writes. A run of size n trains on the first n of the
run's points, so that sizes share points and methods share all of them; tests are on points that all
trainings share.

Index letters: R runs, N points of a run, T test points, P trainings.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

from imm_rl.errors import unknown_name
from imm_rl.language import cube
from imm_rl.language.hidden_completions import bandwidths, drawn_kernel, kernel
from imm_rl.language.logistic_batch import Fitted, Matching, Problems, fit

METHODS = ("none", "noising", "interpolation", "imm")

RIDGE = 1e-4
"""Weight of the squared coefficients: next to none, so that separable data have a solution."""

TEST_POINTS = 2**14
"""Scrambled Sobol points: over other scramblings the mean accuracy of 300 models at one size varies by less
than 0.02 points (hundredths), over as many random points by 0.08, and a difference of methods by 0.01."""

BLOCK = 2_000_000
"""Completions that are held at a time."""

MOST_COMPLETIONS = 50
"""Above `ALL_ROWS` rows, as many are drawn for each row."""

ALL_ROWS = 200

Progress = Callable[[int, int], None]


class Trial(NamedTuple):
    """One training to be made.

    Attributes:
        run: Whose points it has.
        rows: How many of them, n.
        ratio: λ/(1+λ), in [0, 1).
    """

    run: int
    rows: int
    ratio: float


@dataclass(frozen=True)
class Cube:
    """The points of all runs, and the test points.

    Attributes:
        points: (R, N, 3).
        labels: (R, N).
        test_points: (T, 3).
        test_labels: (T,).
        seed: What they were drawn with.
    """

    points: torch.Tensor
    labels: torch.Tensor
    test_points: torch.Tensor
    test_labels: torch.Tensor
    seed: int

    @classmethod
    def drawn(
        cls,
        runs: int,
        rows: int,
        seed: int,
        device: torch.device | str = "cpu",
        *,
        test_points: int = TEST_POINTS,
    ) -> Cube:
        """R runs of N points each, and T test points; a power of two fills the cube most evenly."""
        generator = torch.Generator().manual_seed(seed)
        points, labels = cube.sample(runs, rows, generator, device)
        engine: Any = torch.quasirandom.SobolEngine  # has no types
        sequence = engine(cube.N_FEATURES, scramble=True, seed=seed)
        tested = (2 * sequence.draw(test_points, dtype=torch.float64) - 1).to(device)
        return cls(points, labels, tested, (tested.sum(-1) > 0).long(), seed)

    def accuracies(
        self,
        method: str,
        trials: Sequence[Trial],
        quality: str = "high",
        progress: Progress | None = None,
    ) -> torch.Tensor:
        """Test accuracy of each training, (P,), in [0, 1].

        Raises:
            InvalidInputError: An unknown method or quality.
        """
        ratios = torch.tensor([t.ratio for t in trials], dtype=torch.float64)
        ratios = ratios.to(self.points.device)
        restricted = None
        if method == "interpolation":
            restricted = cube.restricted_probs(self.test_points[:, 0], quality)
        found = torch.empty(len(trials), dtype=torch.float64, device=self.points.device)
        for block, fitted in self.trained(method, trials, quality, progress):
            found[block] = cube.mixed_accuracy(
                fitted,
                self.test_points,
                self.test_labels,
                restricted,
                None if restricted is None else ratios[block],
            )
        return found

    def trained(
        self,
        method: str,
        trials: Sequence[Trial],
        quality: str = "high",
        progress: Progress | None = None,
    ) -> list[tuple[torch.Tensor, Fitted]]:
        """The models of all trainings, in blocks: the indices of a block's trials, and their models."""
        if method not in METHODS:
            raise unknown_name("method", method, METHODS)
        order = sorted(range(len(trials)), key=lambda i: trials[i].rows)
        blocks, start = [], 0
        while start < len(order):
            stop = start + 1
            # Sizes are padded to the largest of their block.
            while stop < len(order) and _fits(stop - start, trials[order[stop]].rows):
                stop += 1
            index = order[start:stop]
            fitted = self._fitted(method, [trials[i] for i in index], quality)
            blocks.append((torch.tensor(index, device=self.points.device), fitted))
            start = stop
            if progress is not None:
                progress(stop, len(order))
        return blocks

    def _fitted(self, method: str, trials: Sequence[Trial], quality: str) -> Fitted:
        device = self.points.device
        rows = max(t.rows for t in trials)
        runs = torch.tensor([t.run for t in trials], device=device)
        sizes = torch.tensor([t.rows for t in trials], device=device)
        ratios = torch.tensor([t.ratio for t in trials], dtype=torch.float64, device=device)
        points, labels = self.points[runs, :rows], self.labels[runs, :rows]
        weights = (torch.arange(rows, device=device) < sizes.unsqueeze(1)).double()
        matching = None
        if method in ("noising", "imm"):
            completions, log_weights = self._completions(method, points, weights, runs)
            matching = Matching(
                cube.restricted_probs(points[..., 0], quality),
                ratios / (1 - ratios),
                completions,
                log_weights,
                torch.tensor(cube.SEEN, device=device).expand(len(trials), -1),
            )
        ridge = torch.full_like(ratios, RIDGE)
        return fit(Problems(points, labels, weights, 2, ridge, matching), max_iter=300)

    def _completions(
        self, method: str, points: torch.Tensor, weights: torch.Tensor, runs: torch.Tensor
    ) -> tuple[torch.Tensor | None, torch.Tensor]:
        """The rows that lend to each row, and their log-weights; noising: each row to itself."""
        problems, rows = weights.shape
        if method == "noising":
            own = torch.arange(rows, device=weights.device).view(1, rows, 1)
            return own.expand(problems, -1, -1), points.new_zeros(problems, rows, 1)
        seen = points[..., :1]
        widths = bandwidths(seen, weights)
        if rows <= ALL_ROWS:
            return None, kernel(seen, weights, widths)
        drawn = [
            drawn_kernel(
                seen[i],
                weights[i],
                widths[i],
                MOST_COMPLETIONS,
                torch.Generator().manual_seed(1_000_003 * (self.seed + 1) + int(run)),
            )
            for i, run in enumerate(runs)
        ]
        return torch.stack(drawn), points.new_zeros(problems, rows, MOST_COMPLETIONS)


def shifted(progress: Progress | None, start: int, total: int) -> Progress | None:
    """`progress` for a part of a larger work, before which `start` of `total` are done."""
    return None if progress is None else lambda done, _: progress(start + done, total)


def _fits(problems: int, rows: int) -> bool:
    """Whether one more problem, of so many rows, may join a block of `problems`."""
    completions = rows if rows <= ALL_ROWS else MOST_COMPLETIONS
    return (problems + 1) * rows * completions <= BLOCK
