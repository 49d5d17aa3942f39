"""``exchange``: the automatic exchange of certificates with a partner (ACX)."""

from __future__ import annotations

from collections.abc import Callable

import click

from oftp2d.client import path_of

from .forms import items, moment, state, table, words
from .options import CODE, Command, Section, command, complete_partner, complete_station, partner_argument
from .terminal import Terminal


def _chosen(function: Command) -> Command:
    for decorate in (
        click.option(
            "--previous",
            metavar="CERT",
            help="The certificate it follows, if the station should not find out itself.",
        ),
        click.option(
            "--to",
            type=CODE,
            help="The partner's station it is for: a sub-station of theirs. Without it: the partner's main code.",
        ),
        click.option(
            "--station",
            type=CODE,
            shell_complete=complete_station,
            help="Your station it belongs to. Without it: that of the certificate, or the one the partner knows.",
        ),
        click.option(
            "--certificate",
            metavar="CERT",
            help="Which of yours: alias or beginning of the fingerprint. Without it: those in use.",
        ),
    ):
        function = decorate(function)
    return function


def _exchange(path: str) -> Callable[..., None]:
    def carry_out(terminal: Terminal, partner: str, **chosen: str | None) -> None:
        body = {"partner": partner, **chosen}
        with terminal.client() as client:
            document = client.post(
                path_of("exchange", path), {name: value for name, value in body.items() if value is not None}
            )
        count = len(items(document, "exchanges"))
        terminal.show(
            document,
            lambda: words(f"{count} message(s) queued for {partner}; see 'oftp2d exchange list {partner}'"),
        )

    return carry_out


def add_to(group: click.Group) -> None:
    """Add the group ``exchange``."""

    @group.group("exchange", cls=Section)
    def exchange() -> None:
        """Exchange certificates with a partner automatically (ACX).

        Both companies must have it switched on: ask the partner for "automatic certificate exchange" (ACX;
        some products call it ACE or SCX). At our end it is 'oftp2d partner change PARTNER --acx announced'.

        The partner answers each message with EERP (accepted) or NERP (refused, with the reason). A new
        certificate of yours is used towards a partner once that partner has accepted it.
        """

    @command(exchange, "deliver")
    @partner_argument
    @_chosen
    def deliver(terminal: Terminal, partner: str, **chosen: str | None) -> None:
        """Give a partner your certificate; earlier ones stay valid until they expire.

        Use it some weeks before a certificate ends.
        """
        _exchange("deliver")(terminal, partner, **chosen)

    @command(exchange, "request")
    @partner_argument
    @_chosen
    def request(terminal: Terminal, partner: str, **chosen: str | None) -> None:
        """Give a partner your certificate and ask for theirs in return.

        Use it for the first exchange. Announce the certificate you expect before: see 'oftp2d cert announce'.
        """
        _exchange("request")(terminal, partner, **chosen)

    @command(exchange, "recall")
    @partner_argument
    @_chosen
    def recall(terminal: Terminal, partner: str, **chosen: str | None) -> None:
        """Replace your certificate with a partner at once; earlier ones become invalid.

        Use it when a private key may be known to others, or when a wrong certificate was given out.
        """
        _exchange("recall")(terminal, partner, **chosen)

    _add_listing(exchange)


def _add_listing(exchange: click.Group) -> None:
    @command(exchange, "list")
    @click.argument("partner", type=CODE, required=False, shell_complete=complete_partner)
    @click.option("--limit", type=click.IntRange(1, 1000), default=100, show_default=True, help="How many.")
    def listing(terminal: Terminal, partner: str | None, limit: int) -> None:
        """List the messages exchanged, both ways, newest first."""
        with terminal.client() as client:
            document = client.get("/v1/exchange", partner=partner, limit=limit)
        rows = [
            [
                moment(each.get("created_at")),
                each.get("partner"),
                each.get("direction"),
                each.get("message"),
                str(each.get("fingerprint") or "")[:16],
                state(str(each.get("state"))),
                each.get("text"),
            ]
            for each in items(document, "exchanges")
        ]
        columns = ["time", "partner", "way", "message", "certificate", "state", "text~"]
        terminal.show(document, lambda: table(columns, rows, empty="no messages yet"))
