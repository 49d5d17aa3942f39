"""``exchange``: the automatic exchange of certificates with a partner (ACX)."""

# ruff: noqa: D301 - \b is how click is told not to wrap a paragraph

from __future__ import annotations

from collections.abc import Callable

import click

from oftp2d.client import path_of

from . import exchanged, renewals
from .forms import items, words
from .options import (
    CODE,
    DURATION,
    MOMENT,
    Command,
    Section,
    command,
    complete_partner,
    complete_station,
    partner_argument,
)
from .renewals import deliver_to_all
from .terminal import Exit, Terminal


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
            "--cert",
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
    @click.argument("partner", type=CODE, required=False, shell_complete=complete_partner, metavar="[PARTNER]")
    @_chosen
    @click.option("--all", "everybody", is_flag=True, help="Give it to every partner, and follow each: a renewal.")
    @click.option("--until", type=MOMENT, help="With --all: the former one stays in use until then at least, in UTC.")
    @click.option(
        "--wait", is_flag=True, help="With --all: stay until every partner has it, and show how they take it up."
    )
    @click.option(
        "--timeout",
        type=DURATION,
        default="1h",
        show_default=True,
        help="With --wait: leave after so long. It goes on.",
    )
    def deliver(
        terminal: Terminal,
        partner: str | None,
        *,
        everybody: bool,
        until: str | None,
        wait: bool,
        timeout: int,
        **chosen: str | None,
    ) -> int:
        """Give a partner your certificate, or all partners; earlier ones stay valid until they expire.

        Use it some weeks before a certificate ends.

        With --all it is a renewal: each partner is sent what it knows until it has confirmed the new one, and when
        all have it the former one is used no longer. See 'oftp2d exchange renewal'.

        \b
        Examples:
          oftp2d exchange deliver O0013000002PARTNER
          oftp2d exchange deliver --all --certificate station-2027 --wait
        """
        if (partner is None) is not everybody:
            raise click.UsageError("It is not clear who is meant: name a partner, or say --all.")
        if partner is not None:
            if until is not None or wait:
                raise click.UsageError("--until and --wait go with --all.")
            _exchange("deliver")(terminal, partner, **chosen)
            return Exit.DONE
        if chosen["station"] or chosen["to"]:
            raise click.UsageError("--station and --to go with one partner.")
        if chosen["certificate"] is None:
            raise click.UsageError("Name the new certificate with --certificate.")
        return deliver_to_all(terminal, chosen["certificate"], chosen["previous"], until, wait=wait, timeout=timeout)

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

    exchanged.add_to(exchange)
    renewals.add_to(exchange)
