from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import optimize
from torch import Tensor

from imm_rl.errors import InvalidInputError
from imm_rl.language import lbfgs


class Quadratic:
    """½ (x − c)ᵀ A (x − c) + v of each problem."""

    def __init__(self, curvature: Tensor, center: Tensor, value: Tensor) -> None:
        self.parts = (curvature, center, value)

    def __call__(self, points: Tensor) -> Tensor:
        curvature, center, value = self.parts
        off = points - center
        return 0.5 * (off.unsqueeze(1) @ curvature @ off.unsqueeze(2)).flatten() + value

    def select(self, kept: Tensor) -> Quadratic:
        return Quadratic(*(part[kept] for part in self.parts))


class Counted:
    """A function of all rows alike, which counts how many rows it is asked for."""

    def __init__(self, function, asked: list[int] | None = None) -> None:  # type: ignore[no-untyped-def]
        self.function, self.asked = function, [] if asked is None else asked

    def __call__(self, points: Tensor) -> Tensor:
        self.asked.append(len(points))
        return self.function(points)  # type: ignore[no-any-return]

    def select(self, kept: Tensor) -> Counted:
        return Counted(self.function, self.asked)


def rosenbrock(points: Tensor) -> Tensor:
    return 100 * (points[:, 1] - points[:, 0] ** 2) ** 2 + (1 - points[:, 0]) ** 2


def quadratics(conditions: list[float], parameters: int = 4) -> Quadratic:
    """One problem for each condition number, in random directions; minima at random places."""
    rng = np.random.default_rng(0)
    turned = [np.linalg.qr(rng.normal(size=(parameters, parameters)))[0] for _ in conditions]
    axes = [np.geomspace(1, condition, parameters) for condition in conditions]
    curvature = np.stack([q @ np.diag(a) @ q.T for q, a in zip(turned, axes, strict=True)])
    center = rng.normal(size=(len(conditions), parameters))
    value = rng.normal(size=len(conditions))
    return Quadratic(*(torch.from_numpy(part) for part in (curvature, center, value)))


def zeros(rows: int, parameters: int) -> Tensor:
    return torch.zeros(rows, parameters, dtype=torch.float64)


def test_minimize_finds_known_minima_of_differently_conditioned_problems() -> None:
    problems = quadratics([1.0, 10.0, 1e3, 1e6, 1.0])

    found = lbfgs.minimize(problems, zeros(5, 4), max_iter=500, tol=1e-8)

    _, center, value = problems.parts
    assert found.converged.all()
    torch.testing.assert_close(found.points, center, rtol=0, atol=1e-7)
    torch.testing.assert_close(found.values, value, rtol=0, atol=1e-12)
    assert found.iterations[0] < found.iterations[3]


@pytest.mark.parametrize("unit", [1e-9, 1e9])
def test_minimize_does_not_depend_on_the_units_of_the_parameters(unit: float) -> None:
    curvature, center, value = quadratics([30.0, 30.0]).parts
    scaled = Quadratic(curvature * unit**2, center / unit, value * 0)

    found = lbfgs.minimize(scaled, zeros(2, 4), max_iter=500, tol=1e-9 * unit)

    assert found.converged.all()
    torch.testing.assert_close(found.points * unit, center, rtol=0, atol=1e-7)


def test_minimize_agrees_with_scipy_on_rosenbrock_from_many_starts() -> None:
    rng = np.random.default_rng(1)
    starts = rng.uniform(-2, 2, size=(40, 2))

    found = lbfgs.minimize(Counted(rosenbrock), torch.from_numpy(starts), max_iter=500, tol=1e-8)

    assert found.converged.all()
    for start, value, point in zip(starts, found.values, found.points, strict=True):
        expected = optimize.minimize(optimize.rosen, start, jac=optimize.rosen_der, method="BFGS")
        assert float(value) == pytest.approx(float(expected.fun), abs=1e-9)
        assert point.numpy() == pytest.approx(expected.x, abs=1e-4)


def test_minimize_takes_each_problem_along_its_own_path() -> None:
    starts = torch.tensor([[-1.2, 1.0], [1.0, 1.0], [0.3, -1.7], [2.0, 2.0]], dtype=torch.float64)

    together = lbfgs.minimize(Counted(rosenbrock), starts, max_iter=25, tol=1e-6)

    for i in range(len(starts)):
        alone = lbfgs.minimize(Counted(rosenbrock), starts[i : i + 1], max_iter=25, tol=1e-6)
        assert alone.iterations[0] == together.iterations[i]
        assert alone.converged[0] == together.converged[i]
        torch.testing.assert_close(alone.points[0], together.points[i], rtol=1e-12, atol=1e-12)


def test_minimize_stops_each_problem_at_max_iter_whatever_its_neighbours_do() -> None:
    # Few end early, so that those that ended stay in the batch beside those that go on.
    problems = quadratics([1e6] * 8 + [1.0])
    problems.parts[1][:3] *= 1e3

    found = lbfgs.minimize(problems, zeros(9, 4), max_iter=4, tol=1e-10)

    assert int(found.iterations.max()) == 4
    assert found.converged.tolist() == [False] * 8 + [True]
    none = lbfgs.minimize(problems, zeros(9, 4), max_iter=0)
    assert none.iterations.tolist() == [0] * 9
    torch.testing.assert_close(none.points, zeros(9, 4))


def test_minimize_leaves_a_problem_that_starts_at_its_minimum() -> None:
    problems = quadratics([10.0, 10.0])
    start = zeros(2, 4)
    start[0] = problems.parts[1][0]

    found = lbfgs.minimize(problems, start)

    assert found.converged.all()
    assert int(found.iterations[0]) == 0
    assert torch.equal(found.points[0], start[0])
    assert int(found.iterations[1]) > 0


def test_minimize_takes_ended_problems_out_of_the_batch() -> None:
    starts = torch.tensor([[1.0, 1.0]] * 9 + [[-1.2, 1.0]], dtype=torch.float64)
    counted = Counted(rosenbrock)

    lbfgs.minimize(counted, starts, tol=1e-8, max_iter=200)

    assert counted.asked[0] == 10
    assert set(counted.asked[1:]) == {1}


def test_minimize_steps_back_from_where_the_function_is_not_finite() -> None:
    def barrier(points: Tensor) -> Tensor:  # ∞ and NaN beyond 1
        return (-torch.log(1 - points) - 20 * points).sum(1)

    found = lbfgs.minimize(Counted(barrier), zeros(3, 1), tol=1e-6)

    assert found.converged.all()
    torch.testing.assert_close(found.points, torch.full((3, 1), 0.95, dtype=torch.float64))


def test_minimize_gives_the_same_however_seldom_it_looks() -> None:
    problems = quadratics([1.0, 10.0, 1e3, 30.0, 1.0])
    often, seldom = (
        lbfgs.minimize(problems, zeros(5, 4), max_iter=60, tol=1e-8, look_every=n) for n in (1, 8)
    )
    assert torch.equal(often.iterations, seldom.iterations)
    assert torch.equal(often.converged, seldom.converged)
    torch.testing.assert_close(often.points, seldom.points, rtol=0, atol=1e-12)


def test_minimize_waits_for_no_device_between_two_looks(no_host_waits) -> None:  # type: ignore[no-untyped-def]
    problems = quadratics([1e6, 1e6])
    values, gradients = lbfgs._evaluated(problems, zeros(2, 4))
    batch = lbfgs._Batch.at(zeros(2, 4), values, gradients)
    with no_host_waits():
        for _ in range(lbfgs.LOOK_EVERY):
            batch.advance(problems, ~batch.ended(100, 1e-8))
    assert int(batch.iterations.min()) > 0


def test_minimize_goes_in_float32_too() -> None:
    found = lbfgs.minimize(Counted(rosenbrock), torch.zeros(2, 2), tol=1e-4, max_iter=300)
    assert found.points.dtype == torch.float32
    torch.testing.assert_close(found.points, torch.ones(2, 2), rtol=0, atol=1e-2)


@pytest.mark.parametrize(
    ("start", "message"),
    [
        (torch.zeros(3), r"start must be a float tensor of shape \(R, P\); received \(3,\)"),
        (torch.zeros(3, 1, dtype=torch.long), "start must be a float tensor"),
        (torch.tensor([[0.5, 0.5], [0.5, -1.0]]), "must be finite at the start.*of problem 1"),
        (torch.tensor([[0.0, 0.5]]), "must be finite at the start.*of problem 0"),
    ],
)
def test_minimize_refuses_a_wrong_start(start: Tensor, message: str) -> None:
    def roots(points: Tensor) -> Tensor:  # slope ∞ at 0, NaN below
        return points.sqrt().sum(1)

    with pytest.raises(InvalidInputError, match=message):
        lbfgs.minimize(Counted(roots), start)
