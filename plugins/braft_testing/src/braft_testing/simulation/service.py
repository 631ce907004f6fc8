"""Run a user's service in simulated clusters with ``simulate_service``.

Owns the function that users call, and its report of a failure. The runs are those of ``world``.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from typing import Any

from braft_core.abc import Service
from braft_testing.simulation.errors import InvariantBroken
from braft_testing.simulation.service_under_test import ServiceUnderTest, Ticker, Timeline
from braft_testing.simulation.subprocess_check import SubprocessCheck
from braft_testing.simulation.world import Report, run_seed

__all__ = ["all_refused", "simulate_service"]


def simulate_service(
    service: Callable[[], Service],
    operations: Callable[[random.Random], tuple[str, Sequence[Any]]],
    *,
    seeds: Iterable[int] = range(40),
    seed: int | None = None,
    invariant: Callable[[Any], object] | None = None,
    state: Callable[[Any], Any] | None = None,
    model: Callable[[], Service] | None = None,
    queries: Iterable[str] | None = None,
    ticker: Ticker | None = None,
    timeline: Callable[[Timeline], object] | None = None,
    other_processes: bool = True,
    seconds: float | None = None,
    trace: bool = False,
) -> list[Report]:
    """Run a service in whole clusters, one for each seed, with every fault of the simulator.

    Runs in the calling thread, without sockets, files or real time; a seed takes a few tenths of
    a second. While the service's code runs, ``time`` returns the time of a simulated server.

    :param service: creates an instance in its initial state; usually the class itself.
    :param operations: draws a client's operation, name and arguments, from a random generator.
    :param seeds: the seeds to run; ``seed`` runs one.
    :param invariant: is called with a new instance, and after each command and each restore. It
        fails by returning ``False`` or by raising.
    :param state: returns the state for comparison as a plain or typed value, if equal
        states may have snapshots of different bytes. By default the bytes are compared.
    :param model: a simpler service that can give the same answers (default: the service itself).
    :param queries: the names of the queries, unless it is a ``StateMachineService``.
    :param ticker: proposes a service's own commands on a leader in its term: see ``Ticker``.
    :param timeline: is called at the end of a run with all applied commands and the times when they
        were appended, and raises :class:`InvariantBroken` if something is wrong.
    :param other_processes: also apply the commands in processes with other hash seeds; the service
        and ``state`` must be importable.
    :param seconds: how long the faults last, in virtual seconds (default: drawn).
    :param trace: print every event.
    :returns: a report for each seed.
    :raises InvariantBroken: at the first seed that breaks a rule.
    :raises PluginError: if a node would reject the service.
    :raises ValueError: if an argument does not fit the service.
    :raises RuntimeError: if another process cannot run it; the message says why.
    """
    under_test = ServiceUnderTest(
        service,
        operations,
        invariant=invariant,
        state=state,
        model=model,
        queries=queries,
        ticker=ticker,
        timeline=timeline,
    )
    _keep_quiet()
    numbers = seeds if seed is None else (seed,)
    with SubprocessCheck(under_test) if other_processes else nullcontext() as subprocess_check:
        reports = [_report(n, under_test, seconds, trace, subprocess_check) for n in numbers]
    if all_refused(reports):
        raise InvariantBroken("some operation succeeds", "every answer was an error")
    return reports


def _report(
    seed: int,
    under_test: ServiceUnderTest,
    seconds: float | None,
    trace: bool,
    subprocess_check: SubprocessCheck | None,
) -> Report:
    """Run one seed. :raises InvariantBroken: it breaks a rule."""
    report = run_seed(seed, seconds=seconds, echo=trace, under_test=under_test)
    if subprocess_check is not None:
        subprocess_check.check(report)
    if not report.ok:
        replay = f"simulate_service(..., seed={seed}, trace=True)"
        raise InvariantBroken(report.invariant, report.failure(replay))
    report.commands.clear()
    return report


def _keep_quiet() -> None:
    """Silence the log: rejections are normal answers here, and each server would log them."""
    logger = logging.getLogger("braft_core")
    if not logger.hasHandlers():
        logger.addHandler(logging.NullHandler())


def all_refused(reports: Iterable[Report]) -> bool:
    """Return whether the runs show nothing, since every answer to every client was an error."""
    reports = list(reports)
    answered = sum(report.calls.total() for report in reports)
    return answered > 0 and answered == sum(report.refused.total() for report in reports)
