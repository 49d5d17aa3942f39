"""The certificate store as a consumer: a new credential becomes a certificate of ours, and is offered to partners.

It is imported with its chain, for each station that the definition names, beside the one that it follows; in the same database
job its renewal begins (:mod:`oftp2d.renewals`), so that no file goes out under a certificate that its receiver does not know.
After a rollback the certificate is switched off and offered to nobody else, and the former one is used again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Final, Protocol

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from oftp2.certs.acceptance import Limits
from oftp2.certs.facts import CertificateFacts
from oftp2.certs.usages import listed
from oftp2d import credentials
from oftp2d.context import Context
from oftp2d.errors import OperatorError
from oftp2d.ledger import Holder, Origin, Slot, StoredCertificate, TellingEvent
from oftp2d.renewal.definitions import CredentialSet, Store
from oftp2d.renewal.material import Material
from oftp2d.renewal.rules import Problem
from oftp2d.renewal.telling import Activation, Consumer

_LONGEST_ALIAS: Final = 64


class Offering(Protocol):
    """Who offers our certificates to partners: :class:`oftp2d.renewals.Renewals`. Both in the database worker."""

    def successor_came(self, old: StoredCertificate, new: StoredCertificate) -> None:
        """A certificate of ours was imported that follows another."""

    def taken_back(self, fingerprint: str, why: str) -> int:
        """A certificate of ours is not offered any more; how many renewals ended by that."""


class Storing(Consumer):
    """Keeps the credential in use in the certificate store."""

    def __init__(self, context: Context, offering: Offering, *, changed: Callable[[], None]) -> None:
        self._context = context
        self._offering = offering
        self._changed = changed

    async def problems(self, definition: CredentialSet, new: Material) -> Sequence[Problem]:
        """Whether OFTP2 can use it: its key must be RSA and long enough, its key usage and the stations must be there."""
        return await self._context.workers.database(self._problems, definition, new)

    async def tell(self, telling: Activation) -> str:
        """Bring the store to where the credential in use is used. Raises OperatorError."""
        text = await self._context.workers.database(self._told, telling)
        self._changed()
        return text

    # --- in the database worker --------------------------------------------------------------------------------

    def _problems(self, definition: CredentialSet, new: Material) -> Sequence[Problem]:
        return list(self._found_wrong(_section(definition), new))

    def _found_wrong(self, section: Store, new: Material) -> Iterator[Problem]:
        facts = new.facts
        if not isinstance(new.key, RSAPrivateKey):
            text = f"its key is {facts.key_type}, and OFTP2 needs RSA; take [set.store] out, or ask the source for an RSA key"
            yield Problem(key="store: key", text=text, may_be_overruled=False)
        elif (facts.key_bits or 0) < Limits().min_rsa_bits:
            text = f"its key has {facts.key_bits} bits, and OFTP2 needs {Limits().min_rsa_bits}"
            yield Problem(key="store: key", text=text, may_be_overruled=False)
        if facts.is_ca:
            text = "it is the certificate of an authority, and no station can use it"
            yield Problem(key="store: authority", text=text, may_be_overruled=False)
        if not section.usages & facts.allowed:
            text = f"its key usage allows {listed(facts.allowed) or 'nothing'}, and [set.store] wants {listed(section.usages)}"
            yield Problem(key="store: usage", text=text, may_be_overruled=False)
        for code in section.stations:
            if self._context.ledger.stations.get(code) is None:
                text = f"{code} is no station of yours; add it with 'oftp2d station add', or correct [set.store]"
                yield Problem(key=f"store: station {code}", text=text, may_be_overruled=False)

    def _told(self, telling: Activation) -> str:
        wrong = self._problems(telling.definition, telling.current)
        if wrong:
            raise OperatorError(
                f"the certificate store cannot take it: {wrong[0].text}",
                "correct that, it is tried again by itself; or go back with 'oftp2d renew rollback'",
            )
        if telling.event is TellingEvent.ROLLED_BACK:
            return self._back(telling)
        entries = [self._brought_in(telling, station) for station in self._stations(telling)]
        follows = [(self._context.certificates.predecessor(entry), entry) for entry in entries]
        for former, entry in follows:
            if former is not None and not self._is_offered(entry):
                self._offering.successor_came(former, entry)
        names = ", ".join(sorted({former.alias for former, _ in follows if former is not None}))
        return f"in the certificate store as {entries[0].alias}" + (f", following {names}" if names else "")

    def _stations(self, telling: Activation) -> Sequence[str | None]:
        """The stations it is for; None is all of ours, or the one that the subject names."""
        return _section(telling.definition).stations or (None,)

    def _brought_in(self, telling: Activation, station: str | None) -> StoredCertificate:
        """The entry of a station, made where it is missing."""
        context, now = self._context, self._context.now()
        section, material = _section(telling.definition), telling.current
        known = [entry for entry in self._entries(material.fingerprint) if station in {None, entry.station}]
        wanted = section.usages & material.facts.allowed
        for entry in known:
            if entry.slot is Slot.CURRENT and entry.active and entry.usages >= wanted:
                return entry
        assert isinstance(material.key, RSAPrivateKey)  # noqa: S101 - another one was a problem
        content = credentials.Material(
            certificates=tuple(map(CertificateFacts.of, (material.certificate, *material.chain))), key=material.key
        )
        added = context.certificates.import_own(
            content,
            now=now,
            alias=known[0].alias if known else self._alias(telling),
            station=station or (known[0].station if known else None),
            usages=section.usages,
            origin=Origin.RENEWED,
        )
        self._note("certificate imported", telling, added, now)
        return added

    def _alias(self, telling: Activation) -> str:
        """A name that no other certificate of ours has."""
        material = telling.current
        base = _section(telling.definition).alias or telling.definition.name
        alias = f"{base[: _LONGEST_ALIAS - 11]}-{material.valid_from:%Y-%m-%d}"
        taken = {entry.alias.lower() for entry in self._context.certificates.own_entries()}
        return alias if alias.lower() not in taken else f"{base[: _LONGEST_ALIAS - 20]}-{material.fingerprint[:16]}"

    def _is_offered(self, entry: StoredCertificate) -> bool:
        running = self._context.ledger.renewals.running()
        return any((each.fingerprint, each.station) == (entry.fingerprint, entry.station or "*") for each in running)

    def _back(self, telling: Activation) -> str:
        """The former one is used again, the one that is taken back is not."""
        now = self._context.now()
        # First what is used: at no time there is none.
        entries = [self._brought_in(telling, station) for station in self._stations(telling)]
        for entry in self._entries(telling.current.fingerprint):
            if entry.slice_until is not None and entry.slice_until <= now:
                self._context.ledger.certificates.set_slice(entry.id, entry.slice_from, None)
        taken_back = self._entries(telling.former) if telling.former else []
        for entry in taken_back:
            if entry.active:
                self._context.ledger.certificates.set_active(entry.id, active=False)
                self._note("certificate deactivated", telling, entry, now)
        ended = self._offering.taken_back(telling.former, f"{entries[0].alias} is used again")
        names = ", ".join(sorted({entry.alias for entry in taken_back}))
        text = f"{entries[0].alias} is used again" + (f", {names} is switched off" if names else "")
        return text + (", and offered to nobody else" if ended else "")

    def _entries(self, fingerprint: str) -> Sequence[StoredCertificate]:
        every = self._context.ledger.certificates.every(Holder.OWN)
        return [entry for entry in every if entry.fingerprint == fingerprint]

    def _note(self, event: str, telling: Activation, entry: StoredCertificate, now: datetime) -> None:
        detail = {"alias": entry.alias, "fingerprint": entry.fingerprint, "set": telling.definition.name}
        self._context.ledger.audit.record(now, None, event, {**detail, "holder": entry.holder.value})


def _section(definition: CredentialSet) -> Store:
    assert definition.store is not None  # noqa: S101 - who has no such section is not told
    return definition.store
