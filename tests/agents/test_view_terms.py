import numpy as np
import pytest
import torch
from sb3_contrib.common.maskable.distributions import MaskableCategoricalDistribution
from stable_baselines3.common.distributions import CategoricalDistribution, DiagGaussianDistribution
from torch import distributions

from imm_rl.agents.sb3_policies import log_probs
from imm_rl.agents.view_terms import (
    Completed,
    continuous_term,
    discrete_term,
    new_matching,
    within,
)

S, B, K, A, D, J = 7, 5, 3, 4, 2, 6


class Table(torch.nn.Module):
    """A policy that is a table in float64, so that values can be compared closely."""

    device = torch.device("cpu")

    def __init__(self, distribution, **tables):
        super().__init__()
        self.kind = distribution
        for name, table in tables.items():
            setattr(self, name, torch.nn.Parameter(torch.as_tensor(table, dtype=torch.float64)))

    def get_distribution(self, states, action_masks=None):
        if self.kind is DiagGaussianDistribution:
            found = DiagGaussianDistribution(D)
            return found.proba_distribution(self.means[states], self.log_stds[states])
        found = self.kind(self.logits.shape[1]).proba_distribution(self.logits[states])
        if action_masks is not None:
            found.apply_masking(action_masks)
        return found


@pytest.fixture
def rng():
    return np.random.default_rng(3)


def completed(rng, answers, masks=None, *, drop=True):
    index = rng.integers(S, size=(B, K))
    log_weights = rng.normal(size=(B, K))
    if drop:
        log_weights[1, 2] = log_weights[3, 1] = -np.inf
    return Completed(index, log_weights, np.arange(S), answers, masks)


def probs_of(rng, n, width=A):
    return rng.dirichlet(np.full(width, 0.7), size=n)


def shares(batch):
    w = np.exp(batch.log_weights)
    return w / w.sum(axis=1, keepdims=True)


def softmax(logits):
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def by_hand(q, batch, targets, weights):
    """The loss, and its gradient (S, A) by the logits, by the chain rule written out."""
    w, weights = shares(batch), weights / weights.sum()
    induced = np.einsum("bk,bka->ba", w, q[batch.index])
    some = targets > 0
    loss = -(weights[:, None] * targets * np.log(np.where(some, induced, 1.0))).sum()
    by_q = np.zeros_like(q)
    for b in range(len(targets)):
        for k in range(w.shape[1]):
            ratio = np.divide(targets[b], induced[b], out=np.zeros(A), where=some[b])
            by_q[batch.index[b, k]] -= weights[b] * w[b, k] * ratio
    return loss, q * (by_q - (q * by_q).sum(axis=1, keepdims=True))


def test_discrete_term_and_gradient_are_those_of_the_formula(rng):
    logits = rng.normal(size=(S, A))
    policy = Table(CategoricalDistribution, logits=logits)
    batch = completed(rng, probs_of(rng, B))
    term = discrete_term(new_matching(), policy, batch)
    term.loss.backward()
    loss, gradient = by_hand(softmax(logits), batch, batch.answers, np.ones(B))
    assert float(term.loss.detach()) == pytest.approx(loss, rel=1e-12)
    np.testing.assert_allclose(policy.logits.grad.numpy(), gradient, atol=1e-13)
    assert np.abs(gradient).max() > 0.01


def test_discrete_term_measures_are_those_of_the_formula(rng):
    logits = rng.normal(size=(S, A))
    batch = completed(rng, probs_of(rng, B))
    term = discrete_term(new_matching(), Table(CategoricalDistribution, logits=logits), batch)
    measures = {name: float(value) for name, value in term.measures().items()}
    p, q, w = batch.answers, softmax(logits), shares(batch)
    induced = np.einsum("bk,bka->ba", w, q[batch.index])
    each = np.log(p[:, None] / q[batch.index])
    assert measures["kl"] == pytest.approx((p * np.log(p / induced)).sum(axis=1).mean())
    naive = (w[..., None] * p[:, None] * each).sum(axis=(1, 2)).mean()
    assert measures["naive_kl"] == pytest.approx(naive)
    assert measures["naive_kl"] > measures["kl"] > 0.0
    assert measures["agreement"] == pytest.approx((p.argmax(1) == induced.argmax(1)).mean())


def test_discrete_kl_is_zero_where_the_average_is_the_restricted_policy_and_no_state_is(rng):
    q = probs_of(rng, S)
    index = np.tile(np.arange(K), (B, 1))
    answers = np.tile(q[:K].mean(axis=0), (B, 1))
    batch = Completed(index, np.zeros((B, K)), np.arange(S), answers, None)
    policy = Table(CategoricalDistribution, logits=np.log(q))
    measures = discrete_term(new_matching(), policy, batch).measures()
    assert float(measures["kl"]) == pytest.approx(0.0, abs=1e-12)
    assert float(measures["agreement"]) == 1.0
    assert float(measures["naive_kl"]) > 0.01


def masked_batch(rng):
    masks = rng.random((S, A)) < 0.6
    masks[np.arange(S), rng.integers(A, size=S)] = True
    return completed(rng, probs_of(rng, B), masks)


def test_discrete_term_with_masks_is_the_formula_over_allowed_actions(rng):
    logits, batch = rng.normal(size=(S, A)), masked_batch(rng)
    policy = Table(MaskableCategoricalDistribution, logits=logits)
    term = discrete_term(new_matching(), policy, batch)
    term.loss.backward()
    counted = np.isfinite(batch.log_weights)[..., None]
    possible = (batch.masks[batch.index] & counted).any(axis=1)
    assert not possible.all()
    targets = batch.answers * possible
    targets /= targets.sum(axis=1, keepdims=True)
    q = softmax(np.where(batch.masks, logits, -np.inf))
    loss, gradient = by_hand(q, batch, targets, np.ones(B))
    assert float(term.loss.detach()) == pytest.approx(loss, rel=1e-12)
    np.testing.assert_allclose(policy.logits.grad.numpy(), gradient, atol=1e-13)
    # sb3-contrib normalises before it masks, so that rounding is left.
    assert np.abs(policy.logits.grad.numpy()[~batch.masks]).max() < 1e-16
    assert (policy.logits.grad.numpy()[np.unique(batch.index)] != 0.0).any()


def test_discrete_naive_kl_is_infinite_where_a_completion_forbids_what_another_allows():
    masks = np.array([[True, False], [True, True]])
    batch = Completed(
        np.array([[0, 1]]), np.zeros((1, 2)), np.arange(2), np.array([[0.5, 0.5]]), masks
    )
    policy = Table(MaskableCategoricalDistribution, logits=np.zeros((2, 2)))
    term = discrete_term(new_matching(), policy, batch)
    measures = term.measures()
    assert float(term.loss.detach()) == pytest.approx(-0.5 * np.log(0.75) - 0.5 * np.log(0.25))
    assert float(measures["kl"]) == pytest.approx(-0.5 * np.log(4 * 0.75 * 0.25))
    assert float(measures["naive_kl"]) == np.inf


def test_discrete_term_leaves_out_contexts_whose_completions_allow_no_target():
    masks = np.array([[True, False, True], [False, True, True]])
    answers = np.array([[0.0, 1.0, 0.0], [0.3, 0.7, 0.0]])
    logits = np.array([[0.3, 0.1, -0.2], [0.5, -0.4, 0.9]])
    policy = Table(MaskableCategoricalDistribution, logits=logits)
    both = Completed(np.array([[0], [1]]), np.zeros((2, 1)), np.arange(2), answers, masks)
    term = discrete_term(new_matching(), policy, both)
    q = softmax(np.where(masks, logits, -np.inf))
    assert float(term.loss.detach()) == pytest.approx(-np.log(q[1, 1]))
    (gradient,) = torch.autograd.grad(term.loss, policy.logits)
    assert gradient[0].abs().max() < 1e-16
    assert gradient[1].abs().max() > 0.1
    none = Completed(np.array([[0]]), np.zeros((1, 1)), np.arange(2), answers[:1], masks)
    assert discrete_term(new_matching(), policy, none) is None


def test_log_probs_of_masked_actions_are_minus_infinity_and_of_others_normalised(rng):
    masks = np.array([[True, True, False, True]] * S)
    policy = Table(MaskableCategoricalDistribution, logits=rng.normal(size=(S, A)))
    found = log_probs(policy, np.arange(S), torch.as_tensor(masks)).exp()
    assert (found[:, 2] == 0.0).all()
    np.testing.assert_allclose(found.sum(dim=1).detach().numpy(), 1.0)


def test_within_gives_targets_over_possible_actions():
    targets = np.array([[0.2, 0.3, 0.5], [1.0, 0.0, 0.0], [0.1, 0.8, 0.1]])
    possible = np.array([[True, True, False], [False, True, True], [True, True, True]])
    matched, weights = within(targets, possible)
    np.testing.assert_allclose(matched, [[0.4, 0.6, 0.0], [1 / 3, 1 / 3, 1 / 3], [0.1, 0.8, 0.1]])
    np.testing.assert_array_equal(weights, [1.0, 0.0, 1.0])


def gaussians(rng):
    means, log_stds = rng.normal(size=(S, D)), rng.normal(scale=0.3, size=(S, D))
    answers = np.stack([rng.normal(size=(B, D)), rng.uniform(0.2, 1.0, size=(B, D))], axis=1)
    return Table(DiagGaussianDistribution, means=means, log_stds=log_stds), answers


def mixture_log_density(policy, batch, drawn):
    """(B, J), by torch's own mixture."""
    index = torch.as_tensor(batch.index)
    which = distributions.Categorical(logits=torch.as_tensor(batch.log_weights))
    each = distributions.Normal(policy.means[index], policy.log_stds[index].exp())
    mixture = distributions.MixtureSameFamily(which, distributions.Independent(each, 1))
    return mixture.log_prob(drawn.transpose(0, 1)).transpose(0, 1)


def test_continuous_term_and_gradient_are_those_of_torchs_mixture(rng):
    policy, answers = gaussians(rng)
    batch = completed(rng, answers, drop=False)
    normals = rng.standard_normal((B, J, D))
    term = continuous_term(new_matching(), policy, batch, normals)
    drawn = torch.as_tensor(answers[:, None, 0] + answers[:, None, 1] * normals)
    wanted = -mixture_log_density(policy, batch, drawn).mean()
    assert float(term.loss.detach()) == pytest.approx(float(wanted.detach()), rel=1e-12)
    parameters = [policy.means, policy.log_stds]
    for ours, theirs in zip(
        torch.autograd.grad(term.loss, parameters, retain_graph=True),
        torch.autograd.grad(wanted, parameters),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-13)
        assert ours.abs().max() > 1e-3


def test_continuous_term_measures_are_estimates_at_the_same_draws(rng):
    policy, answers = gaussians(rng)
    batch = completed(rng, answers)
    normals = rng.standard_normal((B, J, D))
    term = continuous_term(new_matching(), policy, batch, normals)
    measures = {name: float(value) for name, value in term.measures().items()}
    mean, std = (torch.as_tensor(answers[:, None, i]) for i in (0, 1))
    drawn = mean + std * torch.as_tensor(normals)
    own = distributions.Normal(mean, std).log_prob(drawn).sum(-1).mean()
    assert measures["kl"] == pytest.approx(float(own + term.loss.detach()))
    index = torch.as_tensor(batch.index)
    each = distributions.Normal(policy.means[index], policy.log_stds[index].exp())
    apart = each.log_prob(drawn.permute(1, 0, 2).unsqueeze(2)).sum(-1)  # (J, B, K)
    naive = own - (torch.as_tensor(shares(batch)) * apart).sum(-1).mean()
    assert measures["naive_kl"] == pytest.approx(float(naive.detach()))
    assert measures["naive_kl"] > measures["kl"]
    assert "agreement" not in measures


def test_continuous_kl_is_zero_where_the_policy_is_the_restricted_one(rng):
    mean, std = rng.normal(size=D), rng.uniform(0.2, 1.0, size=D)
    policy = Table(
        DiagGaussianDistribution,
        means=np.tile(mean, (S, 1)),
        log_stds=np.tile(np.log(std), (S, 1)),
    )
    batch = completed(rng, np.tile(np.stack([mean, std]), (B, 1, 1)))
    term = continuous_term(new_matching(), policy, batch, rng.standard_normal((B, J, D)))
    for value in term.measures().values():
        assert float(value) == pytest.approx(0.0, abs=1e-12)


def test_continuous_term_ignores_a_dropped_completion(rng):
    policy, answers = gaussians(rng)
    index = np.array([[0, 1]])
    kept = Completed(index, np.array([[0.0, -np.inf]]), np.arange(S), answers[:1], None)
    alone = Completed(index[:, :1], np.zeros((1, 1)), np.arange(S), answers[:1], None)
    normals = rng.standard_normal((1, J, D))
    both = [continuous_term(new_matching(), policy, batch, normals) for batch in (kept, alone)]
    assert float(both[0].loss.detach()) == pytest.approx(float(both[1].loss.detach()), rel=1e-14)
    both[0].loss.backward()
    assert (policy.means.grad[1] == 0.0).all()
    assert policy.means.grad[0].abs().min() > 0.0
