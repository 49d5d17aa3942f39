"""``init`` and ``check``: the commands that work on the home folder itself, without the daemon, as :mod:`oftp2d.cli.run` does.

What they do is in :mod:`oftp2d.founding` and :mod:`oftp2d.inspection`, imported only when needed: every other
command would otherwise wait for the database and cryptography libraries to load.
"""

# ruff: noqa: D301 - \b is how click is told not to wrap a paragraph

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Group, RenderableType
from rich.text import Text

from oftp2d import config

from .forms import properties, words
from .options import CODE, HOST, command, hint_about
from .terminal import Exit, Terminal

if TYPE_CHECKING:
    from oftp2d.inspection import Finding


def add_to(group: click.Group) -> None:
    """Add the commands of this module."""
    _add_init(group)
    _add_check(group)


def _add_init(group: click.Group) -> None:
    @command(group, "init")
    @click.option("--code", type=CODE, required=True, help="Your Odette code, with which partners know you (SSID).")
    @click.option("--name", required=True, help="Your company's name.")
    @click.option(
        "--host",
        "hosts",
        type=HOST,
        multiple=True,
        help="The host name partners call; goes into the certificate. Repeat for several.",
    )
    @click.option("--csr", is_flag=True, help="Also make a request for a certificate from an authority (CA).")
    @click.option(
        "--listen",
        default=config.EVERY_ADDRESS,
        show_default=True,
        help="The own address to answer calls on.",
    )
    @click.option("--tls-port", type=click.IntRange(0, 65535), default=6619, show_default=True, help="Port for TLS.")
    @click.option("--tcp-port", type=click.IntRange(0, 65535), help="Also answer plain TCP on this port (usual: 3305).")
    def init(
        terminal: Terminal,
        *,
        code: str,
        name: str,
        hosts: tuple[str, ...],
        csr: bool,
        listen: str,
        tls_port: int,
        tcp_port: int | None,
    ) -> None:
        """Make a new station in the home folder ($OFTP2D_HOME, else ~/.local/state/oftp2d).

        Makes the configuration, the master key that protects all secrets, the database, your main station,
        and a key pair with a self-signed certificate. Never overwrites anything.

        You need your Odette code. Ask your national Odette organisation for one; it is the letter O, four
        digits, up to 14 characters for the company and up to 6 for the system.

        \b
        Example:
          oftp2d init --code O0013000001ACME --name "Acme Ltd" --host oftp.acme.example
        """
        from oftp2d import founding  # noqa: PLC0415 - see the top of the module

        hint_about(terminal, code)
        listeners = [config.Listener(transport=config.Transport.TLS, host=listen, port=tls_port)]
        if tcp_port is not None:
            listeners.append(config.Listener(transport=config.Transport.TCP, host=listen, port=tcp_port))
        wish = founding.Wish(code=code, name=name, hosts=hosts, csr=csr, listeners=tuple(listeners))
        founded = founding.found(terminal.home, wish)
        document = {
            "home": str(terminal.home),
            "code": code,
            "fingerprint": founded.fingerprint,
            "csr_path": str(founded.csr_path) if founded.csr_path else None,
        }
        terminal.show(document, lambda: _next_steps(terminal.home, code, founded.fingerprint, founded.csr_path))


def _add_check(group: click.Group) -> None:
    @command(group, "check")
    def check(terminal: Terminal) -> int:
        """Check everything that can be checked from here; exit code 0 only if all is well.

        The configuration with every fault, owners and modes of files, the database, free space, the dates of
        your certificates, what of the file security agreed with each partner is weak or lacks a certificate, the definitions
        of credential sets with their profiles and secrets, and whether the ports are free (or held by the running daemon).
        """
        from oftp2d import inspection  # noqa: PLC0415 - see the top of the module

        findings = inspection.inspect(terminal.home)
        good = all(finding.ok for finding in findings)
        document = {
            "ok": good,
            "findings": [
                {"subject": each.subject, "ok": each.ok, "what": each.what, "advice": each.advice} for each in findings
            ],
        }
        terminal.show(document, lambda: Group(*(_finding(each) for each in findings)))
        return Exit.DONE if good else Exit.FAILED


def _finding(finding: Finding) -> RenderableType:
    mark = Text("ok    " if finding.ok else "FAULT ", style="green" if finding.ok else "red")
    advice = f"; {finding.advice}" if finding.advice else ""
    return Text.assemble(mark, " ", words(f"{finding.subject}: {finding.what}{advice}"))


def _next_steps(home: Path, code: str, fingerprint: str, csr_path: Path | None) -> RenderableType:
    made = properties({"station": code, "home folder": str(home), "certificate (SHA-256)": fingerprint})
    steps = [
        "",
        "Keep a copy of master.key in a safe place: without it the database is useless.",
        "",
        "Next:",
        "  oftp2d check                               everything in order?",
        "  oftp2d run                                 start the station, in its own terminal",
        "  oftp2d partner add CODE --host NAME        your first partner",
        "  oftp2d partner test CODE                   does the connection work?",
        "  oftp2d send CODE FILE --as DATASET --wait  your first file",
    ]
    if csr_path is not None:
        steps.insert(4, f"  send {csr_path} to your authority (CA); then: oftp2d cert import ANSWER --own")
    return Group(made, Text("\n".join(steps)))
