"""``braft doctor``: find problems, and say what to do about them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from braft_core.cli.diagnosis import Finding, Level
from braft_core.cli.options import (
    DEFAULT_TIMEOUT,
    AsJson,
    Timeout,
    TLSCa,
    TLSCert,
    TLSKey,
    Token,
    Urls,
    connect,
)
from braft_core.cli.output import Exit, emit, paragraph, reports_errors
from braft_core.errors import ConfigError, NotApplied, Unreachable

if TYPE_CHECKING:
    from braft_core.client import Client

__all__ = ["doctor"]


@reports_errors
def doctor(
    local: Annotated[
        bool, typer.Option("--local", help="Check this machine, even if a node answers.")
    ] = False,
    no_write: Annotated[
        bool, typer.Option("--no-write", help="Do not measure how long a sync takes.")
    ] = False,
    as_json: AsJson = False,
    urls: Urls = None,
    token: Token = None,
    tls_ca: TLSCa = None,
    tls_cert: TLSCert = None,
    tls_key: TLSKey = None,
    timeout: Timeout = DEFAULT_TIMEOUT,
) -> None:
    """Find problems of the cluster or of this machine. It changes nothing.

    If a node answers, check the cluster as that node sees it. If none answers, and with --local,
    check this machine with the settings of a node started here. Exit code 0 without problems (there
    may be warnings), 1 with problems, 3 if no node answered and this machine has no problem.

    JSON: answered, findings (level, subject, message, remedy).
    """
    reach = partial(connect, urls, token, timeout, tls_ca, tls_cert, tls_key)
    answered, findings = _ask(reach, given=bool(urls))
    if local or not answered:
        from braft_core.cli.diagnosis import host

        findings += host.examine(measure=not no_write)
    rows = [
        {"level": f.level.value, "subject": f.subject, "message": f.message, "remedy": f.remedy}
        for f in findings
    ]
    emit(as_json, {"answered": answered, "findings": rows}, lambda: _show(findings))
    if any(finding.level is Level.FAIL for finding in findings):
        raise typer.Exit(Exit.REFUSED)
    if not answered and not local:
        raise typer.Exit(Exit.NO_ANSWER)


def _ask(reach: Callable[[], Client], *, given: bool) -> tuple[bool, list[Finding]]:
    from braft_core.cli.diagnosis import cluster
    from braft_core.cli.diagnosis.finding import warn

    try:
        with reach() as client:
            return True, cluster.examine(client.status())
    except (Unreachable, NotApplied) as error:
        return False, [warn("node", error.message, "start one: braft run")]
    except ConfigError:
        if given:
            raise
        return False, []  # the checks of this machine report wrong settings


def _show(findings: list[Finding]) -> None:
    levels = max((len(finding.level.value) for finding in findings), default=0)
    subjects = max((len(finding.subject) for finding in findings), default=0)
    for finding in findings:
        before = f"{finding.level.value.upper():{levels}}  {finding.subject:{subjects}}  "
        paragraph(finding.message, first=before, width=_WIDTH)
        if finding.remedy:
            paragraph(f"to do: {finding.remedy}", first=" " * len(before), width=_WIDTH)


#: Columns, where the output is no terminal.
_WIDTH = 80
