"""`AlphaVectorPolicy`: what solvers hand back, and the restricted policy that training uses most.

Index letters: V vectors, S states, A actions; beliefs are (..., S), any number of them at once.
"""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from imm_rl.agents.restricted import alpha_checks as checks
from imm_rl.agents.restricted import policy_files
from imm_rl.agents.restricted.base import (
    checked_beliefs,
    greedy_probs,
    softmax_probs,
    tied_with_best,
)
from imm_rl.agents.restricted.vector_values import VectorValues
from imm_rl.agents.solvers.base import IntArray
from imm_rl.agents.solvers.lookahead import LookAhead
from imm_rl.envs import options
from imm_rl.envs.belief_filter import Beliefs
from imm_rl.envs.model import FloatArray, TabularPOMDP
from imm_rl.errors import InvalidInputError, invalid

EXECUTIONS = ("lookahead", "vectors")
TIES = ("split", "first")
OTHER_MODEL = "solved for another model of the same size"
"""Note of a policy that was loaded for a model with other numbers than the one it was solved for."""

_KEEP = object()


class AlphaVectorPolicy:
    """Acts on beliefs by alpha vectors; V(b) = max_i Σ_s b(s) α_i(s).

    Two ways to execute it:

    - "lookahead": the action with the best r(b, a) + γ E[V(next belief)]. The default, since taking the
      best vector's action may earn far less than the vectors promise: a vector's value counts on the
      plan behind it being followed, and vectors that are best nowhere near the beliefs met say nothing
      there. It needs the model.
    - "vectors": the best vector's action. QMDP and FIB are defined so.

    Beliefs are checked: finite, at least 0, sum 1; by `probs` alone only their shape is, since training
    asks it again and again for beliefs that it has computed.

    Attributes:
        acts_on: "belief", see `RestrictedPolicy`.
        takes_sparse: True; beliefs may be a CSR array (B, S) wherever they may be (..., S).

    Args:
        vectors: (V, S); or, for many vectors on a model that falls into regions, a CSR array of what
            each adds to `base`, ≥ 0, with an entry for each state of its region.
        vector_actions: (V,), the action each vector belongs to.
        base: (S,) with a CSR array: α_i = base + row i.
        model: The model looked ahead in.
        n_actions: A; default: the model's, or without one the largest of vector_actions plus 1.
        execution: "lookahead" or "vectors".
        temperature: Of a softmax over action values, in reward units; None acts greedily.
        ties: Greedy probabilities of tied actions (`TIE_TOLERANCE`): "split" evenly, or all to the
            "first".
        lower_bound, upper_bound: Proven bounds of the optimal value at the start belief.
        method: The solver's name; `name` is the same.
        seconds: What solving took.
        converged: Whether the solver reached its precision.
        notes: What a reader should know, e.g. why a solver stopped early.
        fingerprint: The solved model's, see `TabularPOMDP.fingerprint`; "" where it is not known, None
            where it is the given model's.

    Raises:
        InvalidInputError: Shapes do not fit each other or the model, an entry is not finite, or an
            option is unknown.
    """

    acts_on: ClassVar[str] = "belief"
    takes_sparse: ClassVar[bool] = True

    def __init__(
        self,
        vectors: npt.ArrayLike | sp.csr_array,
        vector_actions: npt.ArrayLike,
        *,
        base: npt.ArrayLike | None = None,
        model: TabularPOMDP | None = None,
        n_actions: int | None = None,
        execution: str = "lookahead",
        temperature: float | None = None,
        ties: str = "split",
        lower_bound: float | None = None,
        upper_bound: float | None = None,
        method: str = "alpha vectors",
        seconds: float | None = None,
        converged: bool = True,
        notes: tuple[str, ...] = (),
        fingerprint: str | None = None,
    ) -> None:
        self.vectors, self.base = checks.vector_set(vectors, base)
        self.vector_actions = checks.vector_actions(vector_actions, self.vectors.shape[0])
        model = checks.model(model)
        used = int(self.vector_actions.max()) + 1
        if n_actions is None:
            n_actions = used if model is None else max(used, model.n_actions)
        self.n_actions = n_actions = options.whole("n_actions", n_actions, at_least=1)
        if used > n_actions:
            raise invalid("vector_actions", f"be below {n_actions} actions", used - 1)
        if model is not None and (self.n_states, n_actions) != (model.n_states, model.n_actions):
            raise InvalidInputError(
                f"the policy is for {self.n_states} states and {n_actions} actions; the "
                f"model has {model.n_states} states and {model.n_actions} actions."
            )
        self.model = model
        self.execution = checks.choice("execution", execution, EXECUTIONS)
        self.ties = checks.choice("ties", ties, TIES)
        self.temperature = checks.temperature(temperature)
        self.lower_bound, self.upper_bound = lower_bound, upper_bound
        self.method, self.seconds, self.converged = method, seconds, converged
        self.notes = tuple(notes)
        self._fingerprint = fingerprint
        self._lookahead: LookAhead | None = None
        self._values = VectorValues(self.vectors, self.vector_actions, self.base, n_actions)

    @property
    def name(self) -> str:
        """The method's name."""
        return self.method

    @property
    def n_states(self) -> int:
        """S."""
        return int(self.vectors.shape[1])

    @property
    def gap(self) -> float | None:
        """Upper less lower bound, None where one of them is not known."""
        if self.lower_bound is None or self.upper_bound is None:
            return None
        return self.upper_bound - self.lower_bound

    @property
    def fingerprint(self) -> str | None:
        """Of the model that was solved, where known."""
        if self._fingerprint is None and self.model is not None:
            self._fingerprint = self.model.fingerprint()
        return self._fingerprint or None

    def value(self, belief: Beliefs) -> FloatArray:
        """V (...,) of beliefs (..., S): the largest Σ_s b(s) α_i(s).

        Raises:
            InvalidInputError: Beliefs of another size, or no beliefs.
        """
        beliefs = checked_beliefs(belief, self.n_states)
        if not isinstance(beliefs, np.ndarray):
            return self._values.best(beliefs)
        found = self._values.best(beliefs.reshape(-1, self.n_states))
        return np.asarray(found.reshape(beliefs.shape[:-1]))

    def action_values(self, belief: Beliefs) -> FloatArray:
        """Q (..., A) of beliefs (..., S), by the policy's execution.

        With execution "vectors" an action that no vector has gets −inf.

        Raises:
            InvalidInputError: Beliefs of another size, or no beliefs; or a look-ahead without a model.
        """
        return self._action_values(checked_beliefs(belief, self.n_states))

    def action(self, belief: Beliefs) -> IntArray:
        """The first of the best actions, (...,) at beliefs (..., S); temperature plays no part."""
        best: IntArray = tied_with_best(self.action_values(belief)).argmax(axis=-1)
        return best

    def action_probs(self, belief: Beliefs, temperature: float | None = None) -> FloatArray:
        """Action probabilities (..., A) at beliefs (..., S): softmax(Q / temperature), or greedy.

        Args:
            belief: (..., S).
            temperature: None takes the policy's own, and acts greedily where that is None too. To act
                greedily whatever the policy's own is, ask `with_(temperature=None)`.

        Raises:
            InvalidInputError: As `action_values`; or the temperature is no number > 0.
        """
        own = self.temperature if temperature is None else checks.temperature(temperature)
        return self._probs(checked_beliefs(belief, self.n_states), own)

    def probs(self, context: Beliefs) -> FloatArray:
        """Action probabilities (..., A) at beliefs (..., S), at the policy's own temperature.

        What `action_probs` gives, without its check of the beliefs' values.
        """
        return self._probs(checked_beliefs(context, self.n_states, check=False), self.temperature)

    def with_(
        self,
        *,
        execution: str | None = None,
        temperature: float | object | None = _KEEP,
        ties: str | None = None,
    ) -> AlphaVectorPolicy:
        """A copy that acts otherwise; vectors and tables are shared. temperature=None acts greedily."""
        changed = copy.copy(self)
        if execution is not None:
            changed.execution = checks.choice("execution", execution, EXECUTIONS)
        if ties is not None:
            changed.ties = checks.choice("ties", ties, TIES)
        if temperature is not _KEEP:
            changed.temperature = checks.temperature(temperature)
        return changed

    def save(self, path: str | Path, *, sparse: bool = False) -> None:
        """Writes a file in the format that its name ends in, whole or not at all.

        `.npz` keeps everything but the model, of which it keeps the fingerprint. `.policy` and
        `.policyx` (SARSOP) and `.alpha` (pomdp-solve) take the vectors and their actions; bounds,
        execution, temperature and notes have no place there.

        Args:
            path: The file.
            sparse: Whether a `.policy` or `.policyx` leaves out the zeros of the vectors. Few tools
                read that form.

        Raises:
            InvalidInputError: Another ending, or no file can be written there.
            RunFailedError: The disk failed or is full.
        """
        fields = dataclasses.fields(policy_files.PolicyRecord)
        record = policy_files.PolicyRecord(**{f.name: getattr(self, f.name) for f in fields})
        policy_files.write(record, path, sparse=sparse)

    @classmethod
    def load(cls, path: str | Path, model: TabularPOMDP | None = None) -> AlphaVectorPolicy:
        """Reads what `save` wrote, or SARSOP or pomdp-solve did.

        A `.policy`, `.policyx` or `.alpha` is executed by looking ahead where there is a model, else by
        its vectors; `notes` says that it brings no bounds.

        Args:
            path: A file named `.npz`, `.policy`, `.policyx` or `.alpha`.
            model: What to look ahead in. One of the same sizes with other numbers is accepted (a
                policy for slightly other rewards is a fair restricted policy), and `notes` says so.

        Raises:
            InvalidInputError: The file is missing, damaged, or for a model of other sizes; or the model
                is none.
        """
        model = checks.model(model)
        record = policy_files.read(path)
        fields = {f.name: getattr(record, f.name) for f in dataclasses.fields(record)}
        # It may have been saved with this note, which speaks of the model it was loaded for then.
        fields["notes"] = tuple(note for note in record.notes if note != OTHER_MODEL)
        if model is not None and record.fingerprint not in (None, model.fingerprint()):
            fields["notes"] += (OTHER_MODEL,)
        if record.n_actions is None:
            fields["n_actions"] = _n_actions(record, model)
        fields["execution"] = record.execution or ("vectors" if model is None else "lookahead")
        fields["fingerprint"] = record.fingerprint or ""  # not known, whatever model is given here
        try:
            return cls(model=model, **fields)
        except InvalidInputError as error:
            raise InvalidInputError(f"policy file {path}: {error}") from error

    def __repr__(self) -> str:
        bounds = f"lower_bound={self.lower_bound}, upper_bound={self.upper_bound}"
        return (
            f"AlphaVectorPolicy(method={self.method!r}, vectors={self.vectors.shape[0]}, "
            f"states={self.n_states}, actions={self.n_actions}, {bounds}, "
            f"converged={self.converged})"
        )

    def _probs(self, beliefs: Beliefs, temperature: float | None) -> FloatArray:
        values = self._action_values(beliefs)
        if temperature is None:
            return greedy_probs(values, self.ties)
        return softmax_probs(values, temperature)

    def _action_values(self, beliefs: Beliefs) -> FloatArray:
        vectors = self.execution == "vectors"
        ask = self._values.by_action if vectors else self.lookahead.action_values
        if not isinstance(beliefs, np.ndarray):
            return ask(beliefs)
        values = ask(beliefs.reshape(-1, self.n_states))
        return values.reshape(*beliefs.shape[:-1], self.n_actions)

    @property
    def lookahead(self) -> LookAhead:
        """The look-ahead in the model; its table is built once, on first use.

        Raises:
            InvalidInputError: There is no model.
        """
        if self._lookahead is None:
            if self.model is None:
                raise InvalidInputError(
                    "a look-ahead needs the model, and this policy has none. Load it with model=..., "
                    "or act on the vectors alone: policy.with_(execution='vectors')."
                )
            self._lookahead = LookAhead(self.model, self.vectors, self._values)
        return self._lookahead


def _n_actions(record: policy_files.PolicyRecord, model: TabularPOMDP | None) -> int:
    """A of a file that does not say it: the model's if the policy can be for it, else what it uses."""
    used = int(record.vector_actions.max()) + 1
    if model is None or record.vectors.shape[1] != model.n_states:
        return used
    return max(used, model.n_actions)
