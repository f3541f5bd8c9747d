"""Several processes that train one language model together, each with its share of the streams.

`started(device)` makes them a group where `torchrun` started this process beside others; otherwise there
is one, `ALONE`, for which every method does nothing. Every process holds the whole model and the whole
text, so few things have to be said: gradients (summed once an update), what `shared_groups` needs, and,
from host to host, numbers and decisions. All of them call every method in the same order.

Source: the set-up is Hugging Face Accelerate's `PartialState` (gloo on CPUs, NCCL on GPUs).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import distributed

from imm_rl import launch
from imm_rl.device import torch_device
from imm_rl.errors import InvalidInputError, RunFailedError, invalid

T = TypeVar("T")

MEETING = timedelta(minutes=5)
"""How long a process waits for the others to come. One that failed before it came is noticed by nobody,
where no launcher ends the rest."""

PATIENCE = timedelta(hours=2)
"""How long it waits for them once all have met. One that died is then noticed at once; the first one may
take its time over what it does alone, such as the summary."""


@dataclass(frozen=True)
class Processes:
    """This process among those that train together.

    Attributes:
        rank: Its number, from 0; the first one writes files and speaks.
        count: How many they are.
        hosts: The group by which hosts talk, without a wait for their accelerators.
        devices: The group by which accelerators do; on CPUs the same.
    """

    rank: int = 0
    count: int = 1
    hosts: Any = field(default=None, repr=False, compare=False)
    devices: Any = field(default=None, repr=False, compare=False)

    @property
    def first(self) -> bool:
        """Whether this is the one that writes files and speaks."""
        return self.rank == 0

    def share(self, items: int) -> slice:
        """This process's of so many items: consecutive, as even as can be."""
        return slice(self.rank * items // self.count, (self.rank + 1) * items // self.count)

    def check_streams(self, streams: int) -> None:
        """Refuses streams that cannot be split evenly.

        Raises:
            InvalidInputError: They cannot.
        """
        if streams % self.count:
            raise invalid(
                "batch_size", f"be divisible by the number of processes, {self.count}", streams
            )

    # --- tensors on the devices ---------------------------------------------------------------

    def sum(self, tensor: torch.Tensor) -> None:
        """Sums a tensor over the processes, in place; the host does not wait for the device."""
        self._reduce(tensor, distributed.ReduceOp.SUM)

    def largest(self, tensor: torch.Tensor) -> None:
        """The same with the largest of each entry."""
        self._reduce(tensor, distributed.ReduceOp.MAX)

    def sum_gradients(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Sums `.grad` over the processes, in one message.

        The sums are the same bit for bit in all of them, and so is what follows from them.
        """
        if self.count == 1:
            return
        held = [p for p in parameters if p.grad is not None]
        flat = torch.cat([p.grad.flatten() for p in held if p.grad is not None])
        self.sum(flat)
        sizes = [p.numel() for p in held]
        parts = flat.split(sizes)  # type: ignore[no-untyped-call]
        for parameter, part in zip(held, parts, strict=True):
            parameter.grad = part.view_as(parameter)

    # --- between hosts ------------------------------------------------------------------------

    def total(self, values: Sequence[float]) -> list[float]:
        """Sums numbers of the hosts over the processes."""
        if self.count == 1:
            return list(values)
        summed = torch.tensor(values, dtype=torch.float64)
        with _together():
            distributed.all_reduce(summed, group=self.hosts)
        return [float(value) for value in summed]

    def any(self, said: bool) -> bool:
        """Whether one of the processes says so; all of them get the same answer."""
        return self.total([float(said)])[0] > 0.0

    def told(self, value: T) -> T:
        """What the first process has; what others give does not count."""
        if self.count == 1:
            return value
        held = [value]
        with _together():
            distributed.broadcast_object_list(held, src=0, group=self.hosts)
        return held[0]

    def gathered(self, value: T) -> list[T]:
        """What all of them have, in order, for the first one; nothing for the others."""
        if self.count == 1:
            return [value]
        held: list[Any] | None = [None] * self.count if self.first else None
        with _together():
            distributed.gather_object(value, held, dst=0, group=self.hosts)
        return held or []

    def part(self) -> None:
        """Ends the group once all have come here."""
        if self.count > 1:
            self.any(False)  # each hears from all the others, so that nobody leaves too early
            distributed.destroy_process_group()

    def _reduce(self, tensor: torch.Tensor, operation: Any) -> None:
        if self.count > 1:
            with _together():
                distributed.all_reduce(tensor, operation, group=self.devices)


ALONE = Processes()
"""One process."""


def started(device: str) -> Processes:
    """The processes that were started together, of which this is one.

    Args:
        device: What each of them trains on: `auto`, `cpu` or `cuda`. With `cuda` process i of a machine
            has its GPU i (`own_device`).

    Raises:
        InvalidInputError: There is no such device, Accelerate is missing, or it finds other processes.
        RunFailedError: The others did not come.
    """
    count = launch.launched()
    if count == 1:
        return ALONE
    on_cpu = own_device(device).type == "cpu"
    try:
        from accelerate import PartialState  # late: one process does without it
    except ImportError:
        raise InvalidInputError(
            f"{count} processes were started, and several need Accelerate. "
            "Install it with: pip install 'imm-rl[language]'"
        ) from None
    with _meeting(count):
        state = PartialState(cpu=on_cpu, timeout=MEETING)
    launch.joined = True
    if state.num_processes != count:
        raise InvalidInputError(
            f"{count} processes were started, and Accelerate finds {state.num_processes}. "
            f"Start them with: {' '.join(launch.start_words(count))} lm train"
        )
    # A group's patience is settled when it is made: these are for the training, that one for the meeting.
    with _meeting(count):
        hosts = distributed.new_group(backend="gloo", timeout=PATIENCE)
        devices = hosts if on_cpu else distributed.new_group(timeout=PATIENCE)
    return Processes(state.process_index, count, hosts, devices)


def own_device(name: str) -> torch.device:
    """The device that a name means for this process: its own GPU, where there are several processes.

    Raises:
        InvalidInputError: As `torch_device`.
    """
    return torch_device(name, launch.local_rank() if launch.launched() > 1 else None)


@contextmanager
def _together() -> Iterator[None]:
    """Says in one line what a broken connection means."""
    try:
        yield
    except RuntimeError as error:
        raise RunFailedError(
            f"another process of this training ended, or cannot be reached: {_reason(error)}. "
            "Its own message says why; the last checkpoint is kept."
        ) from None


@contextmanager
def _meeting(count: int) -> Iterator[None]:
    """Says in one line that some of so many processes did not come."""
    try:
        yield
    except RuntimeError as error:
        raise RunFailedError(
            f"{count} processes were started, and not all came together within "
            f"{MEETING.total_seconds():g} seconds: {_reason(error)}. One that failed says why itself; "
            "mend that and start all of them again."
        ) from None


def _reason(error: RuntimeError) -> str:
    """What gloo or a store says, without its own source line before and a guess behind it."""
    text = re.sub(r"\[\S*:\d+\]\s*", "", " ".join(str(error).split()))
    return text.split(". ")[0].removesuffix(".")[:200]
