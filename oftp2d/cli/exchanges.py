"""``exchange``: the automatic exchange of certificates with a partner (ACX)."""

# ruff: noqa: D301 - \b is how click is told not to wrap a paragraph

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import click
from rich.console import Group

from oftp2d.client import AdminClient, path_of

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


def _waiting(function: Command) -> Command:
    for decorate in (
        click.option(
            "--timeout",
            type=DURATION,
            default="1h",
            show_default=True,
            help="With --wait: leave after so long. It goes on.",
        ),
        click.option("--wait", is_flag=True, help="Stay until the partner, or with --all every partner, has answered."),
    ):
        function = decorate(function)
    return function


POLL_SECONDS: Final = 0.5
_GONE: Final = frozenset({"failed", "cancelled"})
"""States of a transfer in which its message gets no answer any more."""


def _exchange(
    terminal: Terminal, kind: str, partner: str, chosen: Mapping[str, str | None], *, wait: bool, timeout: int
) -> int:
    """Queue messages for a partner, and stay until they are answered if that is wished; the exit code."""
    body = {"partner": partner} | {name: value for name, value in chosen.items() if value is not None}
    with terminal.client() as client:
        document = client.post(path_of("exchange", kind), body)
        queued = items(document, "exchanges")
        if not wait:
            told = f"{len(queued)} message(s) queued for {partner}; see 'oftp2d exchange list {partner}'"
            terminal.show(document, lambda: words(told))
            return Exit.DONE
        answered = _answered(terminal, client, [int(each["id"]) for each in queued], timeout)
    terminal.show({"exchanges": answered}, lambda: Group(*map(words, _outcomes(answered))))
    states = {str(each.get("state")) for each in answered}
    if states == {"accepted"}:
        return Exit.DONE
    gone = any(each.get("transfer_state") in _GONE for each in answered)
    return Exit.REFUSED if gone or "refused" in states else Exit.TIMEOUT


def _answered(terminal: Terminal, client: AdminClient, numbers: list[int], timeout: int) -> Sequence[Mapping[str, Any]]:
    """The messages once each has its answer or gets none any more, or as they stand when the time is over."""
    end = time.monotonic() + timeout
    try:
        while True:
            found = [client.get(path_of("exchange", str(number))) for number in numbers]
            open_ones = [
                each
                for each in found
                if each.get("state") in {"queued", "sent"} and each.get("transfer_state") not in _GONE
            ]
            if not open_ones or time.monotonic() >= end:
                return found
            time.sleep(POLL_SECONDS)
    except KeyboardInterrupt:
        terminal.hint("it goes on: see 'oftp2d exchange list'")
        raise


def _outcomes(answered: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for each in answered:
        partner, number = each.get("partner"), each.get("id")
        named = f"{each.get('message')} {number} of {(each.get('certificate') or {}).get('subject')}"
        match each.get("state"), each.get("transfer_state"):
            case "accepted", _:
                yield f"{named}: accepted by {partner}"
            case "refused", _:
                yield f"{named}: refused by {partner}: {each.get('text') or 'without a reason'}"
            case _, ("failed" | "cancelled") as what:
                yield f"{named}: {what}; see 'oftp2d transfer show {each.get('transfer_id')}'"
            case _:
                yield f"{named}: no answer yet; see 'oftp2d exchange show {number}'"


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
    @_waiting
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
            if until is not None:
                raise click.UsageError("--until goes with --all.")
            return _exchange(terminal, "deliver", partner, chosen, wait=wait, timeout=timeout)
        if chosen["station"] or chosen["to"]:
            raise click.UsageError("--station and --to go with one partner.")
        if chosen["certificate"] is None:
            raise click.UsageError("Name the new certificate with --certificate.")
        return deliver_to_all(terminal, chosen["certificate"], chosen["previous"], until, wait=wait, timeout=timeout)

    @command(exchange, "request")
    @partner_argument
    @_chosen
    @_waiting
    def request(terminal: Terminal, partner: str, *, wait: bool, timeout: int, **chosen: str | None) -> int:
        """Give a partner your certificate and ask for theirs in return.

        Use it for the first exchange. Announce the certificate you expect before: see 'oftp2d cert announce'.
        """
        return _exchange(terminal, "request", partner, chosen, wait=wait, timeout=timeout)

    @command(exchange, "recall")
    @partner_argument
    @_chosen
    @_waiting
    def recall(terminal: Terminal, partner: str, *, wait: bool, timeout: int, **chosen: str | None) -> int:
        """Replace your certificate with a partner at once; earlier ones become invalid.

        Use it when a private key may be known to others, or when a wrong certificate was given out.
        """
        return _exchange(terminal, "recall", partner, chosen, wait=wait, timeout=timeout)

    exchanged.add_to(exchange)
    renewals.add_to(exchange)
