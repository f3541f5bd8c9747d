"""`imm-rl solve --explain`: what a policy does at a few beliefs, and what the other actions are worth.

The beliefs are the start, the uniform one, and of each action the belief at which the policy takes it
most often when it plays in the environment.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from imm_rl.cli.console import table

if TYPE_CHECKING:
    from imm_rl.agents.restricted.alpha_vectors import AlphaVectorPolicy
    from imm_rl.cli.solve import Request
    from imm_rl.envs.model import FloatArray

MOST_MET, MOST_STATES = 4, 6
"""Beliefs met in play, and states of a belief, that are shown."""

EPISODES, STEPS, ENTRIES = 100, 40, 4_000_000
"""What is played to meet beliefs: at most so much, and fewer episodes of a large model."""

_DIGITS = 4
"""Beliefs that agree to so many digits count as one."""


def explained(request: Request, policy: AlphaVectorPolicy) -> list[dict[str, Any]]:
    """The beliefs with the policy's choices, for JSON."""
    import numpy as np

    model = request.pair.restricted_model
    going_on = ~model.terminal
    beliefs = [("the start", model.initial)]
    uniform = going_on / max(int(going_on.sum()), 1)
    if going_on.any() and not np.allclose(uniform, model.initial):
        beliefs.append(("every state equally likely", uniform))
    shown = [np.round(b, _DIGITS).tobytes() for _, b in beliefs]
    for text, met in _met(request, policy):
        if np.round(met, _DIGITS).tobytes() not in shown:
            beliefs.append((text, met))
    return [{"belief": text} | _choice(request, policy, belief) for text, belief in beliefs]


def _met(request: Request, policy: AlphaVectorPolicy) -> list[tuple[str, FloatArray]]:
    """Beliefs of play: of each action the one at which it is taken most often."""
    import numpy as np

    from imm_rl.agents.restricted.asking import restricted_episodes
    from imm_rl.agents.streams import generator

    pair = request.pair
    steps = min(STEPS, pair.max_steps)
    episodes = int(min(max(ENTRIES / (steps * pair.model.n_states), 2), EPISODES))
    rng = generator(request.seed, "evaluation")
    rows: list[FloatArray] = [
        _dense(moment.beliefs)
        for moment in restricted_episodes(pair, policy, episodes=episodes, n_steps=steps, rng=rng)
    ]
    beliefs = np.concatenate(rows)
    _, first, group = np.unique(
        np.round(beliefs, _DIGITS), axis=0, return_index=True, return_inverse=True
    )
    times = np.bincount(group.reshape(-1))
    order = np.argsort(-times, kind="stable")
    actions = policy.action(beliefs[first])
    chosen: dict[int, int] = {}
    for i in order:
        chosen.setdefault(int(actions[i]), int(i))
    return [
        (f"met in {times[i] / len(beliefs):.1%} of {len(beliefs):,} steps", beliefs[first[i]])
        for i in list(chosen.values())[:MOST_MET]
    ]


def _dense(beliefs: Any) -> FloatArray:
    """Beliefs (B, S) as an array, which those of large models may not be."""
    import numpy as np

    return np.asarray(beliefs.toarray() if hasattr(beliefs, "toarray") else beliefs)


def _choice(request: Request, policy: AlphaVectorPolicy, belief: FloatArray) -> dict[str, Any]:
    import numpy as np

    model = request.pair.restricted_model
    values = _judge(request, policy).action_values(belief)
    shares = policy.with_(temperature=None).action_probs(belief)
    order = np.argsort(-belief, kind="stable")
    chosen = np.flatnonzero(shares > 0.0)
    likely = [s for s in order[:MOST_STATES] if belief[s] > 0.0]
    return {
        "states": {model.state_names[s]: float(belief[s]) for s in likely},
        "further_states": int(np.count_nonzero(belief)) - len(likely),
        "actions": [model.action_names[a] for a in chosen],
        "value": float(values[chosen].max()),
        "action_values": {
            model.action_names[a]: float(values[a]) for a in np.argsort(-values, kind="stable")
        },
    }


def _judge(request: Request, policy: AlphaVectorPolicy) -> AlphaVectorPolicy:
    """Who says what actions are worth.

    A policy that is executed by its vectors knows that of the best action alone, so that the others are
    asked of a look-ahead; but QMDP's and FIB's vectors, one an action, are its value, and on vectors of a
    finite horizon a look-ahead would count a step too many.
    """
    one_each = policy.vectors.shape[0] == policy.n_actions
    if policy.execution == "lookahead" or one_each or request.horizon is not None:
        return policy
    return policy.with_(execution="lookahead")


def shown(entries: list[dict[str, Any]]) -> str:
    """The same for people."""
    return "\n\n".join(map(_shown, entries))


def _shown(entry: dict[str, Any]) -> str:
    states = ", ".join(
        f"{_named('state', name)}: {_share(share)}" for name, share in entry["states"].items()
    )
    if entry["further_states"]:
        rest = 1.0 - sum(entry["states"].values())
        states += f", {entry['further_states']:,} more: {_share(rest)}"
    rows = [["", "action", "value", "difference"]]
    for name, value in entry["action_values"].items():
        known = value > float("-inf")
        less = "" if name in entry["actions"] else f"{value - entry['value']:+.4g}"
        rows.append(
            [
                "->" if name in entry["actions"] else "",
                _named("action", name),
                f"{value:.5g}" if known else "no vector",
                less if known else "",
            ]
        )
    tied = "  (tied: each is taken equally often)" if len(entry["actions"]) > 1 else ""
    lines = [f"belief: {entry['belief']}", f"  {states}{tied}"]
    lines += [f"  {line}" for line in table(rows, left=(0, 1)).splitlines()]
    return "\n".join(lines)


def _named(kind: str, name: str) -> str:
    """A name; where it is a bare number, what it counts."""
    return f"{kind} {name}" if name.isdigit() else name


def _share(share: float) -> str:
    return f"{share:.3f}" if share >= 5e-4 else f"{share:.1g}"
