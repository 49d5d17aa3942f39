"""The command line as a whole: all commands in one group, and every error turned into an exit code.

A module of commands is loaded when one of its commands is asked for, or all are listed: administrators wait for one command
at a time, and a daemon begins as one.
"""

# ruff: noqa: D301 - \b is how click is told not to wrap a paragraph

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Final

import click
from click.shell_completion import get_completion_class

from oftp2d.errors import OperatorError

from .terminal import Exit, Terminal

EPILOG = """\b
Words used throughout
  station    your own company, or a plant of it, as partners see it
  partner    a company you exchange files with
  code       the Odette identification code of either, such as O0013000001ACME
  SSID code  the code with which a system identifies itself in a session: who calls
  SFID code  the code a file is addressed from or to: whose file it is. Often the
             same as the SSID code; differs where one system serves several plants
  dataset    the name of a file as both companies agreed on it, at most 26
             characters, such as ORDERS.D96A. It is not the name on your disk
  EERP       the partner's receipt: the file arrived and was taken over
  NERP       the partner's refusal, with its reason
  ACX        the automatic exchange of certificates over OFTP2

\b
Exit codes
  0  done                              4  oftp2d.toml has faults
  1  it failed                         5  the partner or source refused, or it failed for good
  2  the command line is wrong         6  the wait was over before the end was known
  3  the daemon is not running         130  stopped from the keyboard

\b
Environment
  OFTP2D_HOME             the home folder of the station
  OFTP2D_PASSWORD_OURS    the password we send, for 'partner add' and 'partner change'
  OFTP2D_PASSWORD_THEIRS  the password we expect
  OFTP2D_KEY_PASSPHRASE   the passphrase of a private key, for 'cert import'
"""

MODULES: Final = {
    "init": "house",
    "run": "run",
    "check": "house",
    "status": "status",
    "call": "status",
    "audit": "status",
    "station": "stations",
    "partner": "partners",
    "cert": "certificates",
    "trust": "trust",
    "exchange": "exchanges",
    "renew": "renew",
    "send": "transfers",
    "transfer": "transfers",
    "inbox": "inbox",
    "evidence": "evidence",
    "trace": "traces",
}
"""The commands in the order of the manual, and the module beside this one that each is in."""


class Manual(click.Group):
    """All commands of the station; each is loaded when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names in the order of the manual; what this module adds itself comes last."""
        del ctx
        return [*MODULES, *(name for name in self.commands if name not in MODULES)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name, or None if there is none."""
        if cmd_name not in self.commands:
            # What is no command gets the nearest of all proposed.
            for module in [MODULES[cmd_name]] if cmd_name in MODULES else dict.fromkeys(MODULES.values()):
                import_module(f"{__package__}.{module}").add_to(self)
        return super().get_command(ctx, cmd_name)


@click.group(
    cls=Manual,
    epilog=EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="oftp2d")
def cli() -> None:
    """An OFTP2 station: exchanges files and certificates with trading partners (RFC 5024).

    \b
    The way to a first file:
      oftp2d init --code O0013000001ACME --name "Acme Ltd" --host oftp.acme.example
      oftp2d check
      oftp2d run
      oftp2d partner add O0013000002PARTNER --host oftp.partner.example
      oftp2d partner test O0013000002PARTNER
      oftp2d send O0013000002PARTNER orders.edi --as ORDERS.D96A --wait

    'init', 'run' and 'check' work on the home folder itself. All others ask the running daemon.
    """


@cli.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print what makes your shell complete commands, options and partners' codes.

    \b
    bash:  oftp2d completion bash > ~/.local/share/bash-completion/completions/oftp2d
    zsh:   oftp2d completion zsh > a file _oftp2d in a folder of your $fpath
    fish:  oftp2d completion fish > ~/.config/fish/completions/oftp2d.fish
    """
    kind = get_completion_class(shell)
    if kind is None:
        raise OperatorError(f"there is no completion for {shell}", "take bash, zsh or fish")
    click.echo(kind(cli, {}, "oftp2d", "_OFTP2D_COMPLETE").source())


def execute(arguments: Sequence[str], terminal: Terminal) -> int:
    """Carry out one command line; whatever goes wrong is shown. Returns the exit code."""
    try:
        result = cli.main(list(arguments), prog_name="oftp2d", standalone_mode=False, obj=terminal)
    except OperatorError as error:
        return terminal.fail(error)
    except click.UsageError as error:
        terminal.as_json = terminal.as_json or "--json" in arguments
        where = error.ctx.command_path if error.ctx else "oftp2d"
        terminal.fail(OperatorError(error.format_message().rstrip("."), f"see '{where} --help'"))
        return Exit.USAGE
    except click.ClickException as error:
        return terminal.fail(OperatorError(error.format_message(), "see 'oftp2d --help'"))
    except (click.Abort, KeyboardInterrupt):
        if terminal.as_json:
            terminal.fail(OperatorError("stopped from the keyboard", "what was begun goes on: see 'oftp2d status'"))
        else:
            terminal.err.say("stopped")
        return Exit.INTERRUPTED
    return result if isinstance(result, int) else Exit.DONE
