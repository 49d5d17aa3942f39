"""``renew``: credentials that come from a source, such as a certificate of a national system, and their successors."""

# ruff: noqa: D301 - \b is how click is told not to wrap a paragraph

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import click
from rich.text import Text

from oftp2d.client import path_of

from . import credentialviews as views
from . import renewing
from .forms import moment, table
from .options import DURATION, SET, Section, command, complete_set, confirmed, content, entered, secret
from .terminal import Exit, Terminal

LONGEST_TAN: Final = 200
LONGEST_SECRET: Final = 1000
_READABLE = click.Path(exists=True, dir_okay=False, path_type=Path)
_NAME = click.argument("name", metavar="SET", type=SET, shell_complete=complete_set)
_MAYBE = click.argument("name", metavar="[SET]", type=SET, required=False, shell_complete=complete_set)

EPILOG = """\b
Words used here
  credential set  what you hold at one source: login, password, certificate, key; by a name of yours
  source          who gives the next one: an authority of your own, a program, a national system
  plugin          what knows how to ask a source; 'oftp2d renew plugins' lists them
  candidate       a credential that came, on its way to be the active one
  consumer        who is told of a new one: the station's own store, a folder, a program of yours

\b
Phases, by the days left
  valid     nothing to do
  due       the source should have the next one: asked once a day
  alarm     it should be here by now: asked more often, and warned of
  critical  the last days; expired: over. Both need a hand

\b
Where definitions are
  $OFTP2D_HOME/renewal/*.toml, re-read within a minute, and by 'oftp2d renew plan' at once
"""


def add_to(group: click.Group) -> None:
    """Add the group ``renew``."""

    @group.group("renew", cls=Section, epilog=EPILOG)
    def renew() -> None:
        """Get the next one of a credential from its source before it ends, and tell who uses it.

        The running station does this by itself, every day. These commands show what it does, and do by hand what only a
        person can: give a TAN, a new password, a file; activate what was refused; go back.

        (One certificate of yours for all partners, and who of them has it, is 'oftp2d exchange renewal'.)

        \b
        To begin:
          oftp2d renew plugins
          oftp2d renew example local-ca > $OFTP2D_HOME/renewal/mine.toml
          oftp2d renew plan
          oftp2d renew run mine
          oftp2d renew status mine
        """

    _add_looking(renew)
    _add_running(renew)
    _add_switching(renew)
    _add_keeping(renew)
    _add_describing(renew)


def _add_looking(renew: click.Group) -> None:
    @command(renew, "plan")
    @_MAYBE
    def plan(terminal: Terminal, name: str | None) -> None:
        """Show what would be done when, and why. Nothing is asked and nothing changed.

        Reads the definitions anew first, so it is the command to say behind a change of them. Faults are listed with what
        to do; a file with faults counts as it was read before.
        """
        with terminal.client() as client:
            document = client.post("/v1/credential-sets/plan", {"set": name} if name else {})
        terminal.show(document, lambda: views.plans(document))

    @command(renew, "status")
    @_MAYBE
    def status(terminal: Terminal, name: str | None) -> None:
        """Show where each credential stands.

        Days left, phase, the source's last answer, when it is asked next, and what there is to do. With SET
        everything about one: its certificates, those on their way and what is wrong with them, which consumers were
        told, what the source says beside its answers, and the number under which its help desk finds the last
        attempt.
        """
        with terminal.client() as client:
            document = client.get(path_of("credential-sets", name) if name else "/v1/credential-sets")
        terminal.show(document, lambda: views.one(document) if name else views.overview(document))

    @command(renew, "history")
    @_NAME
    @click.option("--limit", type=click.IntRange(1, 1000), default=100, show_default=True, help="How many.")
    def history(terminal: Terminal, name: str, limit: int) -> None:
        """Show what happened to a credential set.

        Newest first: what came, each step of it, each block, who was told. The times are UTC.
        """
        with terminal.client() as client:
            document = client.get(path_of("credential-sets", name, "history"), limit=limit)
        terminal.show(document, lambda: views.history(document))


def _add_running(renew: click.Group) -> None:
    @command(renew, "run")
    @click.argument("names", metavar="[SET]...", type=SET, nargs=-1, shell_complete=complete_set)
    @click.option("--all-due", is_flag=True, help="All sets that are due, one after the other.")
    @click.option("--tan", is_flag=True, help="Ask for a one-time number (TAN) that the source gave you; for one SET.")
    @click.option("--tan-stdin", is_flag=True, help="Read the TAN from the first line of the standard input instead.")
    @click.option("--wait", is_flag=True, help="Stay until every consumer was told, and while the source says 'later'.")
    @click.option(
        "--timeout", type=DURATION, default="5m", show_default=True, help="How long --wait waits: 90s, 10m, 2h, 1d."
    )
    def run(
        terminal: Terminal,
        *,
        names: tuple[str, ...],
        all_due: bool,
        tan: bool,
        tan_stdin: bool,
        wait: bool,
        timeout: int,
    ) -> int:
        """Ask the source for the next credential now.

        Whatever the plan says, and all the way: what comes is kept, checked, tried where that does no harm, and
        activated, if the definition says so (auto_activate); otherwise it is left ready for 'oftp2d renew activate'.
        A blocked set is never asked: put right what blocks it first. Stopping this command stops nothing: the station
        goes on.

        A TAN never stands on a command line. It is asked for without showing it, or read from a pipe.

        \b
        Exit codes
          0  the new credential is active, or ready as configured
          1  something came that cannot be used, or the set is blocked: the line says what to do
          5  the source refused, or gave an answer nobody understands
          6  the source has none yet, or was in trouble: the station asks again by itself

        \b
        Examples:
          oftp2d renew run london-1
          oftp2d renew run london-1 --tan
          oftp2d renew run --all-due --json
        """
        if all_due == bool(names):
            raise click.UsageError("Name credential sets, or say --all-due.")
        if (tan or tan_stdin) and len(names) != 1:
            raise click.UsageError("A TAN is for one credential set: name exactly one.")
        if tan and tan_stdin:
            raise click.UsageError("Say --tan or --tan-stdin, not both.")
        number = entered("The TAN", stdin=tan_stdin, longest=LONGEST_TAN) if tan or tan_stdin else None
        return renewing.run(terminal, names, number, timeout if wait else None)

    @command(renew, "probe")
    @_NAME
    def probe(terminal: Terminal, name: str) -> int:
        """Try a credential where that can do no harm.

        The one on its way, or else the one in use.

        Exit code 0 if it works, or if there is nothing to try it with; 1 if it was refused.
        """
        with terminal.client() as client:
            document = client.post(path_of("credential-sets", name, "probe"), calls=True)
        good = document.get("ok") is not False
        told = f"{name}: {document.get('text') or ('it works' if good else 'it was refused')}"
        terminal.show(document, lambda: Text(told, style="green" if document.get("ok") else "" if good else "red"))
        if document.get("advice"):
            terminal.hint(str(document["advice"]))
        return Exit.DONE if good else Exit.FAILED


def _add_switching(renew: click.Group) -> None:
    @command(renew, "activate")
    @_NAME
    @click.option("--anyway", is_flag=True, help="Even with problems that may be overruled, and when the trial failed.")
    @click.option(
        "--candidate", type=click.IntRange(1), help="Which one, by its number in 'status'; a former one, too."
    )
    def activate(terminal: Terminal, name: str, anyway: bool, candidate: int | None) -> None:
        """Put the credential on its way into use.

        All consumers are told. For sets with auto_activate = false, and for one that was refused by the checks:
        'oftp2d renew status SET' says why. The former one is kept until it ends; 'oftp2d renew rollback SET' goes
        back to it.
        """
        body: dict[str, Any] = {"anyway": anyway} | ({"candidate": candidate} if candidate else {})
        with terminal.client() as client:
            document = client.post(path_of("credential-sets", name, "activate"), body, calls=True)
        terminal.show(document, lambda: views.one(document))

    @command(renew, "rollback")
    @_NAME
    @click.option("--yes", is_flag=True, help="Don't ask.")
    def rollback(terminal: Terminal, name: str, yes: bool) -> None:
        """Go back to the credential that was in use before.

        All consumers are told. Only while that one has not ended. The newer one is kept: 'oftp2d renew activate SET
        --candidate N' takes it again.
        """
        if not yes:
            confirmed(f"Put the former credential of {name} back into use?")
        with terminal.client() as client:
            document = client.post(path_of("credential-sets", name, "rollback"), calls=True)
        terminal.show(document, lambda: views.one(document))

    @command(renew, "import")
    @_NAME
    @click.argument("file", type=_READABLE)
    @click.option(
        "--passphrase-file",
        type=_READABLE,
        help="A file with the passphrase. Else $OFTP2D_KEY_PASSPHRASE, else asked for.",
    )
    def import_(terminal: Terminal, name: str, file: Path, passphrase_file: Path | None) -> int:
        """Bring a credential from a file.

        PKCS#12 (.p12, .pfx), or PEM with certificate, key and chain. For the first one of a set, and for one that you
        got in the source's portal. It goes the same way as one that was fetched: kept, checked, tried, activated.
        Exit codes are those of 'oftp2d renew run'.
        """
        octets = content(file, "a credential")
        body = {"content_base64": base64.b64encode(octets).decode("ascii")}
        if b"-----BEGIN " not in octets or b"ENCRYPTED" in octets:
            question = "The passphrase of the file"
            given = secret(file=passphrase_file, variable="OFTP2D_KEY_PASSPHRASE", question=question, longest=None)
            body |= {"passphrase": given} if given else {}
        return renewing.bring(terminal, name, body)


def _add_keeping(renew: click.Group) -> None:
    @command(renew, "secret")
    @_NAME
    @click.argument("secret_name", metavar="[NAME]", required=False)
    @click.option("--stdin", is_flag=True, help="Read it from the first line of the standard input.")
    def secret_(terminal: Terminal, name: str, secret_name: str | None, stdin: bool) -> None:
        """Set a secret that the station keeps.

        One whose reference in the definition is "store", such as password = "store".

        It is asked for twice without showing it, sealed under the master key, and never shown again. NAME is its name
        in the definition; it may be left out where there is only one. A set that was blocked by a refused password is
        free again.
        """
        value = entered(f"The secret of {name}", stdin=stdin, longest=LONGEST_SECRET, twice=True)
        body = {"value": value} | ({"name": secret_name} if secret_name else {})
        with terminal.client() as client:
            document = client.post(path_of("credential-sets", name, "secret"), body)
        told = f"{name}: {document.get('secret')} is set; {_next(document)}"
        terminal.show(document, lambda: Text(told))

    @command(renew, "unblock")
    @_NAME
    def unblock(terminal: Terminal, name: str) -> None:
        """Let the station ask the source again.

        Say it behind a block that you have put right.

        Before: find out why it is blocked ('oftp2d renew status SET'), and put that right at the source. Sources lock an
        account after a few wrong passwords, which is why the station never tries a second time by itself.
        """
        with terminal.client() as client:
            document = client.post(path_of("credential-sets", name, "unblock"))
        terminal.show(document, lambda: Text(f"{name}: free, {_next(document)}"))


def _add_describing(renew: click.Group) -> None:
    @command(renew, "plugins")
    def plugins(terminal: Terminal) -> None:
        """List the plugins that are installed.

        Each knows one kind of source. Works without a running station.
        """
        from oftp2d.renewal import survey  # noqa: PLC0415 - only these commands need it

        found = survey.plugins(terminal.home)
        document = {
            "plugins": [
                {
                    "name": each.name,
                    "summary": each.summary,
                    "package": each.package,
                    "version": each.version,
                    "fault": each.fault or None,
                }
                for each in found
            ]
        }
        rows = [[each.name, each.summary or each.fault, f"{each.package} {each.version}"] for each in found]
        terminal.show(document, lambda: table(["plugin", "what it knows~", "from"], rows, empty="none is installed"))

    @command(renew, "example")
    @click.argument("plugin", metavar="PLUGIN")
    @click.option(
        "--profile", is_flag=True, help="Print the profile to fill in instead, where the plugin has one (nmvs)."
    )
    def example(terminal: Terminal, plugin: str, profile: bool) -> None:
        """Print a complete definition to fill in.

        Every key is explained. Put it into $OFTP2D_HOME/renewal/NAME.toml. Works without a running station.

        \b
        Examples:
          oftp2d renew example local-ca > $OFTP2D_HOME/renewal/mine.toml
          oftp2d renew example nmvs --profile > $OFTP2D_HOME/renewal/profiles/my-country.toml
        """
        from oftp2d.renewal import survey  # noqa: PLC0415 - as above

        text = survey.profile(terminal.home, plugin) if profile else survey.example(terminal.home, plugin)
        if terminal.as_json:
            terminal.show({"plugin": plugin, "text": text}, lambda: Text(""))
        else:
            terminal.out.file.write(text)


def _next(document: Mapping[str, Any]) -> str:
    if not document.get("next_at"):
        return str(document.get("why") or "nothing is due")
    return f"next try {moment(document['next_at']).plain}; 'oftp2d renew run {document.get('name')}' asks now"
