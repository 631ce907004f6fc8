"""The root command: built-in commands, plugins' commands, ``run`` as the default."""

from __future__ import annotations

import errno
import os
import sys
from contextlib import suppress
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from braft_core.cli import (
    config,
    demo,
    docs,
    doctor,
    kv,
    leader,
    members,
    new,
    plugins,
    run,
    snapshot,
    status,
    store,
    tls,
)
from braft_core.cli.extensions import plugin_commands
from braft_core.cli.output import Exit, echo, fail
from braft_core.errors import BraftError

__all__ = ["app", "main"]

#: Options of ``braft`` itself; any other first word that is an option belongs to ``braft run``.
_OWN_OPTIONS = frozenset({"-h", "--help", "--version", "--install-completion", "--show-completion"})

#: Errors of writing to a standard stream.
_CANNOT_WRITE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF})


class Root(TyperGroup):
    """The root command. Plugins are loaded only for unknown commands and for ``--help``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Insert ``run`` if the first word is no command: ``braft --rport 1``."""
        if not args or (args[0].startswith("-") and args[0] not in _OWN_OPTIONS):
            args = ["run", *args]
        return list(super().parse_args(ctx, args))

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the built-in commands, then the plugins'."""
        own = list(super().list_commands(ctx))
        return [*own, *plugin_commands(taken=own, tolerate=True)]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a built-in command, else a plugin's."""
        own = super().get_command(ctx, cmd_name)
        if own is not None or ctx.resilient_parsing:
            return own
        taken = super().list_commands(ctx)
        return plugin_commands(taken=taken, tolerate=True).get(cmd_name)


app = typer.Typer(
    name="braft",
    cls=Root,
    # Rich takes longer to import than all the rest of --help, so only on a terminal.
    rich_markup_mode="rich" if sys.stdout.isatty() else None,
    pretty_exceptions_show_locals=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Raft clusters for Python applications. Without a command: run a node.",
    epilog="Exit codes: 0 done, 1 refused by the cluster, 2 wrong usage, 3 no answer.",
)


def _show_version(wanted: bool) -> None:
    if wanted:
        from braft_core.plugin.distributions import version_of

        echo(version_of("braft-core") or "unknown (braft-core runs from a source tree)")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Raft clusters for Python applications. Without a command: run a node."""


app.command("run")(run.run)
app.command("demo")(demo.demo)
app.command("status")(status.status)
app.command("doctor")(doctor.doctor)
app.add_typer(kv.app, name="kv")
app.add_typer(store.app, name="store")
app.add_typer(members.app, name="members")
app.add_typer(leader.app, name="leader")
app.add_typer(snapshot.app, name="snapshot")
app.add_typer(plugins.app, name="plugins")
app.add_typer(tls.app, name="tls")
app.command("config")(config.config)
app.add_typer(new.app, name="new")
app.command("docs")(docs.docs)


def main() -> None:
    """Run the command that the arguments name. The process begins in ``braft_core.__main__``."""
    try:
        app()
    except BraftError as error:  # from plugins and their commands
        sys.exit(fail(error, as_json=False).exit_code)
    except OSError as error:
        if error.errno not in _CANNOT_WRITE or error.filename is not None:
            raise
        with suppress(OSError):
            sys.stderr.write(f"the answer cannot be written: {error.strerror}\n")
            sys.stderr.flush()
        os._exit(Exit.REFUSED)  # at a normal end Python would try to write it again
