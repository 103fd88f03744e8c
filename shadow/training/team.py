"""Processes on one machine or on many that train a pack together, its batch spread over all their devices.

The first process leads: it alone holds locks, reads and writes files, draws piles, and says what is done next. The
others follow: they take the same steps, since a step spans the devices of all. They meet by `jax.distributed`. Where
one dies JAX ends the others, and the same command goes on from the last checkpoint.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np

from shadow.errors import Stopped, UserError

END, PACK, STEPS = 0, 1, 2  # what is said: all is over; a pack begins; so many steps of it


class Order(NamedTuple):
    """What the leader says. kind: END, PACK or STEPS; number: an exit code, a pack, or steps (0: the pack is over);
    step: from which a pack goes on."""

    kind: int
    number: int
    step: int = 0


class Team(Protocol):
    """Whom a pack's training tells what it does."""

    alone: bool

    def begin(self, step: int) -> None:
        """Training goes on from `step`."""

    def steps(self, count: int) -> None:
        """So many steps follow; 0: none does any more."""


class Alone:
    """The team of a process without others, which nobody hears."""

    alone = True

    def begin(self, step: int) -> None:
        """Nobody hears."""

    def steps(self, count: int) -> None:
        """Nobody hears."""


ALONE = Alone()


class Lead:
    """The leader at work on pack number `pack` of the plan."""

    alone = False

    def __init__(self, pack: int) -> None:
        self.pack = pack

    def begin(self, step: int) -> None:
        say(Order(PACK, self.pack, step))

    def steps(self, count: int) -> None:
        say(Order(STEPS, count))


def join(asked: str) -> None:
    """Meets the others. asked: "auto", where SLURM, Open MPI or another launcher that JAX knows says who they are, or
    "HOST:PORT,NUMBER,COUNT": where the first of COUNT processes is reached, and which of them this is. To be called
    before JAX makes its first array. Raises UserError where that makes no sense or the others are not found."""
    import jax

    place: dict[str, Any] = {}
    if asked != "auto":
        found = re.fullmatch(r"([^,]+:\d+),(\d+),(\d+)", asked)
        if not found or int(found[2]) >= int(found[3]):
            raise UserError(f"--multihost={asked}: write auto, or HOST:PORT,NUMBER,COUNT with NUMBER 0 to COUNT - 1")
        place = {"coordinator_address": found[1], "process_id": int(found[2]), "num_processes": int(found[3])}
    try:
        jax.distributed.initialize(**place)
    except (ValueError, RuntimeError) as error:
        raise UserError(f"--multihost={asked}: the processes do not find each other: {error}") from error


def check_devices(devices: int) -> None:
    """Raises UserError where the batch is not spread over all devices of all processes."""
    import jax

    if jax.device_count() != devices:
        raise UserError(
            f"fleet.devices = {devices}, and the processes of --multihost have {jax.device_count()} together: give "
            "fleet.devices that number before `plan`"
        )


def leads() -> bool:
    """Is this the first process?"""
    import jax

    return bool(jax.process_index() == 0)


def say(order: Order) -> None:
    """By the leader, to all others; waits until they hear it."""
    _broadcast(order)


def hear() -> Order:
    """What the leader says, by a follower."""
    return _broadcast(Order(END, 0))


def _broadcast(order: Order) -> Order:
    from jax.experimental import multihost_utils

    return Order(*(int(n) for n in np.asarray(multihost_utils.broadcast_one_to_all(np.array(order, np.int32)))))


def follow(begin: Callable[[int, int], Callable[[int], None]]) -> None:
    """Takes part in the training of packs until the leader ends. begin(pack, step): makes ready for a pack that goes on
    from a step, and gives what takes a number of steps.

    Raises Stopped or UserError where the leader was stopped or failed; it has said why.
    """
    take: Callable[[int], None] | None = None
    while (order := hear()).kind != END:
        if order.kind == PACK:
            take = begin(order.number, order.step)
        elif order.number and take is not None:
            take(order.number)
        else:
            take = None  # its arrays are freed
    if order.number == _STOPPED:
        raise Stopped("stopped by the first process of --multihost")
    if order.number:
        raise UserError("the first process of --multihost failed: it says why")


_STOPPED = 143


def end(error: BaseException | None) -> None:
    """Lets the others go, by the leader, with what ended its own work."""
    say(Order(END, 0 if error is None else _STOPPED if isinstance(error, Stopped) else 1))
