"""Cassandra's `.POMDP` file format: `read` a model from it, `write` one to it.

The grammar (pomdp.org, "Input POMDP file format"). White space and line ends only separate, `#`
begins a comment, an index may stand for a name and `*` for all names:

    discount: 0.95        values: reward (or: cost)
    states: a b c (or: 3)        actions: (likewise)        observations: (likewise)
    start: 0.5 0.5 0 (or: uniform, or: a)     start include: a b     start exclude: c
    T: action : s : s' p         O: action : s' : o p       R: action : s : s' : o x
    T: action : s                O: action : s'             R: action : s : s'
      row, uniform or reset        row or uniform             row over o
    T: action                    O: action                  R: action : s
      matrix, uniform, identity    matrix or uniform          matrix s' × o

Entries may come in any order. What is read goes by these rules:

- Of two entries for the same thing the later counts. What T, O or R do not give is 0.
- No `start` means the uniform one; `reset` is the start.
- Sums of rows may be off by 1e-5, as in many real files; such rows are divided by their sums.
- `values: cost` changes the sign of all rewards.
- A file without `observations:` is an MDP: it gets one observation, "0", which tells nothing. Its R
  has no o: `R: action : s : s' x`, `R: action : s` row over s', `R: action` matrix s × s'.
- Rewards are kept as (S, A), (S, A, S) or (S, A, S, O): the smallest form that tells apart all
  outcomes that can happen.
- The format has no terminal states. A state that no action leaves and that pays nothing is
  equivalent to one, and is read as terminal.
- Above `DENSE_LIMIT` entries of T, or of O, the model is sparse: T and O are CSR arrays.

Reading what was written gives the model again, bit for bit, if its rewards are in the smallest form,
its absorbing states without reward are marked terminal, and it is dense or sparse by the same limit.
All this holds of every model that `read` returns; of others the same distributions and rewards come
back, in that form.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from imm_rl.envs.cassandra_entries import read_observations, read_rewards, read_transitions
from imm_rl.envs.cassandra_preamble import Preamble, read_preamble, read_start, split_sections
from imm_rl.envs.cassandra_rewards import (
    MAX_REWARD_ENTRIES,
    TooLargeReward,
    find_terminal,
    smallest_table,
)
from imm_rl.envs.cassandra_tables import MAX_ENTRIES
from imm_rl.envs.cassandra_tokens import Section, Tokens
from imm_rl.envs.cassandra_writer import write
from imm_rl.envs.model import TabularPOMDP
from imm_rl.errors import InvalidInputError

__all__ = ["DENSE_LIMIT", "read", "write"]

DENSE_LIMIT = 2_000_000
"""Models with more entries of T (S·A·S) or of O (A·S·O) than this are read as sparse ones."""


def read(path: str | Path, *, dense_limit: int = DENSE_LIMIT) -> TabularPOMDP:
    """Reads a `.POMDP` file; the grammar and its rules are in the module's docstring.

    Args:
        path: The file, text in UTF-8.
        dense_limit: The largest S·A·S and A·S·O for which T and O are dense arrays.

    Raises:
        InvalidInputError: The file cannot be read, or breaks the grammar, or its numbers make no
            model. The message begins with the path, line and column and says what was expected and
            what was found; what is missing is noticed at the end of the file.
    """
    tokens = Tokens(path)
    groups = split_sections(tokens)
    preamble = read_preamble(tokens, groups)
    n_states, n_actions = preamble.states.size, preamble.actions.size
    if n_states * n_actions > MAX_ENTRIES:
        found = f"found {n_states:,} states and {n_actions:,} actions"
        limit = f"expected at most {MAX_ENTRIES:,} pairs of a state and an action"
        raise tokens.problem(groups["states"][0].first, f"{limit}; {found}.")
    start = read_start(tokens, groups, preamble.states)

    transitions = read_transitions(tokens, groups["T"], preamble, start)
    observations = read_observations(tokens, groups["O"], preamble)
    rules = read_rewards(tokens, groups["R"], preamble)
    reward = smallest_table(rules, transitions, observations)
    if isinstance(reward, TooLargeReward):
        raise _too_large(tokens, groups["R"], reward, preamble)

    widest = max(n_states, preamble.observations.size)
    dense = n_states * n_actions * widest <= dense_limit
    return TabularPOMDP(
        np.stack([part.toarray() for part in transitions], axis=1) if dense else transitions,
        np.stack([part.toarray() for part in observations]) if dense else observations,
        reward,
        start,
        preamble.discount,
        terminal=find_terminal(reward, transitions),
        state_names=preamble.states.names,
        action_names=preamble.actions.names,
        observation_names=preamble.observations.names,
    )


def _too_large(
    tokens: Tokens, sections: Sequence[Section], reward: TooLargeReward, preamble: Preamble
) -> InvalidInputError:
    what = "the state arrived in" + (" and the observation" if len(reward.shape) == 4 else "")
    where = f"{preamble.actions.name(reward.action)} : {preamble.states.name(reward.state)}"
    size = " × ".join(map(str, reward.shape))
    return tokens.problem(
        sections[0].first,
        f"expected rewards that depend on state and action alone in a model of this size; "
        f"found that R: {where} depends on {what}, which needs a table of {size} numbers "
        f"(the limit is {MAX_REWARD_ENTRIES:,}).",
    )
