"""Everything an `IMMReinforce` needs to go on exactly where it stopped, as plain arrays.

`imm-rl train` writes these at every evaluation and reads them back with `--resume`; a resumed run ends
with the parameters of one that was never interrupted.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from imm_rl.agents.reinforce import IMMReinforce, Record
from imm_rl.agents.restricted.asking import (
    acts_on_observation,
    is_view_policy,
    policy_name,
    probs_at,
)
from imm_rl.state_file import read_state, state_part, write_state


def save_checkpoint(agent: IMMReinforce, path: str | Path) -> None:
    """Writes the agent's state to an `.npz`, whole or not at all."""
    write_state(path, identity(agent), agent_state(agent))


def load_checkpoint(agent: IMMReinforce, path: str | Path) -> None:
    """Puts an agent of the same making where the checkpoint says; or leaves it as it is and raises.

    Raises:
        InvalidInputError: Not such a file, or a file of another agent (other pair, seeds, weights,
            settings or restricted policy; the error says which).
    """
    restore_agent(agent, read_state(path, identity(agent)))


def identity(agent: IMMReinforce) -> dict[str, Any]:
    """What must be the same for a checkpoint to fit, JSON-able, by the name that errors use."""
    policy = agent.restricted
    return {
        "pair": agent.pair.spec or agent.pair.name,
        "model": agent.pair.model.fingerprint(),
        "restricted policy": None
        if policy is None
        else _policy_text(policy, agent.pair.model.initial),
        "method": agent.method,
        "seeds": agent.seeds,
        "imm_lambda": [schedule.text for schedule in agent.schedules],
        "settings": json.loads(json.dumps(dataclasses.asdict(agent.settings))),
    }


def _policy_text(policy: Any, start: np.ndarray) -> str:
    """A policy by its name and what it does first; enough to tell two apart."""
    if is_view_policy(policy):
        nothing = np.full((1, 1), policy.view_space.n - 1)
        probs = policy.follow(nothing, np.ones((1, 1), dtype=bool))[0][0, 0]
        return f"{policy.name}, first action {np.round(probs, 6).tolist()}"
    probs = policy.table[0] if acts_on_observation(policy) else probs_at(policy, start[None])[0]
    return f"{policy_name(policy)}, first action {np.round(probs, 6).tolist()}"


def agent_state(agent: IMMReinforce) -> dict[str, np.ndarray]:
    """The state of an agent that has learned at least once, by name."""
    state: dict[str, Any] = {
        "env_steps": np.array(agent.env_steps),
        "shown": agent.shown,
    }
    for i, parameter in enumerate(agent.policy.parameters()):
        state[f"parameter/{i}"] = parameter.detach().cpu().numpy()
        for key, value in agent.optimizer.state[parameter].items():
            state[f"adam/{i}/{key}"] = value.cpu().numpy()
    parts = {
        "rollouts": agent.rollouts.state(),
        "advantages": agent.advantages.state(),
        "evaluator": agent.evaluator.state(),
        "contexts": {} if agent.term is None else agent.term.source.state(),
        "guide": {} if agent.guide is None else agent.guide.state(),
        "controller": (
            agent.controller_state if agent.controller is None else agent.controller.state()
        ),
    }
    for part, values in parts.items():
        state |= {f"{part}/{key}": value for key, value in values.items()}
    state |= {f"records/{key}": values for key, values in _packed(agent.records).items()}
    return state


def restore_agent(agent: IMMReinforce, state: dict[str, np.ndarray]) -> None:
    """Puts a fresh agent of the same making where `state` says."""
    parameters = list(agent.policy.parameters())
    for i, parameter in enumerate(parameters):
        with torch.no_grad():
            parameter.copy_(torch.from_numpy(state[f"parameter/{i}"]))
        adam = {k: torch.from_numpy(v) for k, v in state_part(f"adam/{i}", state).items()}
        agent.optimizer.state[parameter] = {k: v.to(parameter.device) for k, v in adam.items()}
    agent.env_steps = int(state["env_steps"])
    agent.shown = state.get("shown", agent.shown)
    agent.rollouts.restore(state_part("rollouts", state))
    agent.advantages.restore(state_part("advantages", state))
    agent.evaluator.restore(state_part("evaluator", state))
    if agent.term is not None:
        agent.term.source.restore(state_part("contexts", state))
    if agent.guide is not None:
        agent.guide.restore(state_part("guide", state))
    agent.controller, agent.controller_state = (
        None,
        state_part("controller", state),
    )  # learn() makes it anew
    agent.records = _unpacked(state_part("records", state))


def _packed(records: list[Record]) -> dict[str, np.ndarray]:
    """P records as arrays (P, …); every record of an agent has the same measures."""
    packed = {
        "env_steps": np.array([r.env_steps for r in records]),
        "returns": np.array([r.returns for r in records]),
        "rollout_returns": np.array([r.rollout_returns for r in records]),
    }
    names = records[0].measures if records else ()
    return packed | {f"measures/{k}": np.array([r.measures[k] for r in records]) for k in names}


def _unpacked(packed: dict[str, np.ndarray]) -> list[Record]:
    measures = state_part("measures", packed)
    return [
        Record(
            int(packed["env_steps"][i]),
            packed["returns"][i],
            packed["rollout_returns"][i],
            {name: values[i] for name, values in measures.items()},
        )
        for i in range(len(packed["env_steps"]))
    ]
