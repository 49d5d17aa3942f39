"""``station``: our own codes."""

# ruff: noqa: D301 - \b is how click is told not to wrap a paragraph

from __future__ import annotations

import click

from oftp2d.client import path_of

from .forms import items, table
from .options import CODE, Section, command, complete_station, confirmed, hint_about
from .terminal import Terminal


def add_to(group: click.Group) -> None:
    """Add the group ``station``."""

    @group.group("station", cls=Section)
    def station() -> None:
        """Your own codes: the main station, and further ones for plants or companies you serve.

        The main station's code is the one you identify yourself with (SSID code). Give it to every partner.
        Further stations only address files (SFID codes); a partner needs those it sends files to.
        """

    @command(station, "list")
    def listing(terminal: Terminal) -> None:
        """List your stations."""
        with terminal.client() as client:
            document = client.get("/v1/stations")
        rows = [[each.get("code"), each.get("name"), bool(each.get("main"))] for each in items(document, "stations")]
        terminal.show(document, lambda: table(["code", "name", "main"], rows, empty="no station"))

    @command(station, "add")
    @click.argument("code", type=CODE)
    @click.option("--name", required=True, help="What it is called, for people.")
    @click.option("--main", is_flag=True, help="Make it the main station in place of the present one.")
    def add(terminal: Terminal, code: str, name: str, main: bool) -> None:
        """Add a station of yours.

        \b
        Example:
          oftp2d station add O0013000001ACMEPLANT2 --name "Acme, plant 2"
        """
        hint_about(terminal, code)
        with terminal.client() as client:
            document = client.post("/v1/stations", {"code": code, "name": name, "main": main})
        terminal.show(document, lambda: f"station {code} added")

    @command(station, "main")
    @click.argument("code", type=CODE, shell_complete=complete_station)
    def main_station(terminal: Terminal, code: str) -> None:
        """Make a station the main one in place of the present one.

        New partners are given its code. Those you have stay with the station they were given: see
        'oftp2d partner change PARTNER --station'.
        """
        with terminal.client() as client:
            document = client.post(path_of("stations", code, "main"))
        terminal.show(document, lambda: f"{code} is the main station")

    @command(station, "remove")
    @click.argument("code", type=CODE, shell_complete=complete_station)
    @click.option("--yes", is_flag=True, help="Don't ask.")
    def remove(terminal: Terminal, code: str, yes: bool) -> None:
        """Remove a station of yours.

        Refused for the main station, and as long as something needs it: a partner, a certificate, or a file on its
        way. Files for it are then refused with SFNA 02.
        """
        if not yes:
            confirmed(f"Remove the station {code}?")
        with terminal.client() as client:
            document = client.delete(path_of("stations", code))
        terminal.show(document, lambda: f"station {code} removed")
