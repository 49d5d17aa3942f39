"""Whether a certificate a partner brought is accepted, for what, and what it displaces (acx.md 4.2 to 4.4).

One pure decision over everything that is known when the file has arrived. The checks come in the order of
acx.md 4.2; the first that fails decides, and its text names the figures, because it travels to the partner
as the text of a NERP.

Where this is stricter than the sources: in the bootstrap (authentication prepared but not yet on) a
description that merely names a predecessor does not heal a changed subject, because issuer and serial
number are public, nor does a REPLACE withdraw anything that only repeats a certificate, which is public too; and a
certificate that was withdrawn never comes back.

Where an operator has the last word (acx.md 12.20), :func:`overrulable` says whether there is anything to decide, and an
:class:`Approval` is the decision: it overrules what speaks against the certificate's place, never what speaks against the
certificate itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from oftp2.certs.clid import Clid, Identification
from oftp2.certs.facts import CertificateFacts
from oftp2.certs.matching import Held, Match, Means, Place, find_predecessor, near_misses
from oftp2.certs.usages import FILE_USAGES, TLS_USAGES, Usage, listed
from oftp2.values import clip


class Mode(StrEnum):
    """What a partner may bring by itself (acx.md 4.2, 5.2)."""

    OFF = "off"
    KNOWN = "known"
    """Renewals of what is held; announced ones too, but not in the bootstrap."""
    ANNOUNCED = "announced"
    """Also what was announced by identification data, in the bootstrap as well."""
    TRUSTED = "trusted"
    """Also a first certificate that merely has a trusted issuer."""


class Message(StrEnum):
    """The three messages of the certificate exchange (acx.md 3)."""

    REQUEST = "REQUEST"
    DELIVER = "DELIVER"
    REPLACE = "REPLACE"


class Scope(StrEnum):
    """What a REPLACE withdraws of a partner's station (acx.md 12.12)."""

    SLOTS = "slots"
    """What stands, or stood, where the new one comes to stand."""
    ALL = "all"
    """Everything given before, for whatever usage."""


class Rule(StrEnum):
    """The row that decided, with its place in acx.md."""

    SWITCHED_OFF = "4.2.1 switched off"
    UNREADABLE = "4.2.2 unreadable"
    UNFIT = "4.2.3 unfit"
    PERIOD = "4.2.4 period"
    WITHDRAWN = "6 withdrawn"
    BARRED = "4.2.7b barred"
    UNTRUSTED = "4.2.7b untrusted"
    NOT_ANNOUNCED = "4.2.7c not as announced"
    UNKNOWN = "4.2.7c unknown"
    OCCUPIED = "12.8 occupied"
    USAGES = "4.4 usages"
    DUPLICATE = "4.2.8 duplicate"
    RENEWAL = "4.4 rule A"
    FIRST = "4.4 rule B"
    ANNOUNCEMENT = "4.4 rule C"
    APPROVED = "12.20 approved"
    REJECTED = "12.20 rejected"
    CROWDED = "12.20 too many held"


FINAL: Final = frozenset(
    {Rule.SWITCHED_OFF, Rule.UNREADABLE, Rule.UNFIT, Rule.PERIOD, Rule.WITHDRAWN, Rule.BARRED, Rule.DUPLICATE}
)
"""The rows behind which nobody is asked: the certificate cannot be used, or it is here already."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Announced:
    """Identification data entered by an operator and not fulfilled yet; ``key`` is the holder's own name."""

    key: int
    identification: Identification
    usages: frozenset[Usage]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustVerdict:
    """Whether the chain ends at an anchor, why not, and at which (SHA-256 of its DER)."""

    trusted: bool
    text: str
    anchor: str | None = None
    barred: bool = False
    """Whether that is for good: it, or an authority above it, was revoked, or nobody can tell any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Assurance:
    """How the session that brought the certificate was proven to be the partner's."""

    authenticated: bool = False
    """Session authentication took place (SSIDAUTH=Y)."""
    mutual_tls: bool = False
    """The partner showed a TLS client or server certificate that is bound to it."""
    bootstrap: bool = False
    """Authentication is prepared, has not latched, and was bypassed."""

    @property
    def proven(self) -> bool:
        """Good enough for a renewal that proves nothing by itself."""
        return (self.authenticated or self.mutual_tls) and not self.bootstrap


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The administrator's floor."""

    min_rsa_bits: int = 2048
    weak_hashes: frozenset[str] = frozenset({"md2", "md5", "sha1"})
    clock_tolerance: timedelta = timedelta(minutes=5)
    """How far notBefore may lie ahead of our clock."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    """An operator accepts what was held: for these usages, or for those that follow from what is known."""

    usages: frozenset[Usage] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Retirement:
    """The held entry ``key`` leaves its place in these usages: kept for files under way, or withdrawn."""

    key: int
    usages: frozenset[Usage]
    place: Place


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Accepted means EERP, refused means NERP with ``text``, which has at most 999 octets."""

    accepted: bool
    rule: Rule
    text: str
    usages: frozenset[Usage] = frozenset()
    """The slots it takes; none when it was there already or is refused."""
    retire: tuple[Retirement, ...] = ()
    predecessor: Match | None = None
    announcement: int | None = None
    """The announcement it fulfils."""

    @property
    def stores(self) -> bool:
        """Whether a new entry is to be stored."""
        return self.accepted and bool(self.usages)


def judge(
    *,
    mode: Mode,
    message: Message,
    facts: CertificateFacts,
    clid: Clid | None,
    held: Sequence[Held],
    announced: Sequence[Announced],
    trust: TrustVerdict,
    session: Assurance,
    now: datetime,
    limits: Limits | None = None,
    scope: Scope = Scope.SLOTS,
    approval: Approval | None = None,
) -> Verdict:
    """Decide. ``held`` and ``announced`` are those of this partner and the station in SFIDORIG.

    With an ``approval`` what an operator may overrule is overruled; a refusal then says why that is not enough.
    """
    case = _Case(
        mode=mode,
        message=message,
        facts=facts,
        clid=clid,
        held=held,
        announced=announced,
        trust=trust,
        session=session,
        now=now,
        limits=limits or Limits(),
        scope=scope,
    )
    final = case.switched_off() or case.unfit() or case.outside_period() or case.withdrawn() or case.barred()
    if approval is not None:
        return final or case.approved(approval.usages)
    return final or case.untrusted() or case.duplicate() or case.renewal() or case.as_announced() or case.first()


def unreadable(mode: Mode, error: Exception) -> Verdict:
    """The verdict on content that is no certificate; switched off comes first (acx.md 4.2 rows 1 and 2)."""
    if mode is Mode.OFF:
        return _refused(Rule.SWITCHED_OFF, _OFF)
    return _refused(Rule.UNREADABLE, str(error))


def rejected(text: str = "") -> Verdict:
    """An operator refuses what was held."""
    return _refused(Rule.REJECTED, text or "refused by an administrator")


def crowded(count: int) -> Verdict:
    """So many of the partner are held that no more are."""
    text = f"{count} certificates of yours wait for an administrator already; send it again when they are decided on"
    return _refused(Rule.CROWDED, text)


def repeated() -> Verdict:
    """The same certificate is held so often that it is not once more."""
    return _refused(Rule.CROWDED, "this certificate waits for an administrator already; it need not be sent again")


def overrulable(verdict: Verdict) -> bool:
    """Whether an operator may decide otherwise, and so is asked where that is set for the partner.

    What is here already is no question, unless others would be withdrawn by it.
    """
    return verdict.rule not in FINAL or bool(verdict.retire)


def deliver_ours(mode: Mode, message: Message) -> bool:
    """Whether our certificates go back: to any REQUEST, even a refused one (acx.md 12.4)."""
    return message is Message.REQUEST and mode is not Mode.OFF


_OFF = "certificate exchange is switched off for this partner"


def _refused(rule: Rule, text: str) -> Verdict:
    return Verdict(accepted=False, rule=rule, text=clip(text))


@dataclass(frozen=True, kw_only=True)
class _Case:
    """Everything that is known, and one method per row of acx.md 4.2; ``None`` passes on to the next."""

    mode: Mode
    message: Message
    facts: CertificateFacts
    clid: Clid | None
    held: Sequence[Held]
    announced: Sequence[Announced]
    trust: TrustVerdict
    session: Assurance
    now: datetime
    limits: Limits
    scope: Scope

    @property
    def predecessor(self) -> Match | None:
        return find_predecessor(self.facts, self.clid, self.held)

    @property
    def announcement(self) -> Announced | None:
        return next((entry for entry in self.announced if entry.identification.matches(self.facts).matches), None)

    @property
    def identical(self) -> list[Held]:
        return [entry for entry in self.held if entry.facts.fingerprint == self.facts.fingerprint]

    def switched_off(self) -> Verdict | None:
        return _refused(Rule.SWITCHED_OFF, _OFF) if self.mode is Mode.OFF else None

    def unfit(self) -> Verdict | None:
        facts, floor = self.facts, self.limits.min_rsa_bits
        if facts.is_ca:
            return _refused(Rule.UNFIT, "it is the certificate of a certification authority, not of a station")
        if facts.key_type != "RSA":
            return _refused(Rule.UNFIT, f"its key is of kind {facts.key_type}, required is RSA")
        if facts.key_bits is None or facts.key_bits < floor:
            return _refused(Rule.UNFIT, f"its RSA key has {facts.key_bits} bits, required are at least {floor}")
        if facts.signature_hash in self.limits.weak_hashes:
            return _refused(Rule.UNFIT, f"it is signed with {facts.signature_hash}, which is not accepted")
        return None

    def outside_period(self) -> Verdict | None:
        facts = self.facts
        period = f"valid from {_instant(facts.not_before)} to {_instant(facts.not_after)}"
        if self.now + self.limits.clock_tolerance < facts.not_before:
            return _refused(Rule.PERIOD, f"not valid yet: {period}, now is {_instant(self.now)}")
        if self.now > facts.not_after:
            return _refused(Rule.PERIOD, f"expired: {period}, now is {_instant(self.now)}")
        return None

    def withdrawn(self) -> Verdict | None:
        if self.identical and all(entry.place is Place.WITHDRAWN for entry in self.identical):
            return _refused(Rule.WITHDRAWN, "this certificate was withdrawn earlier and is not accepted again")
        return None

    def barred(self) -> Verdict | None:
        return _refused(Rule.BARRED, f"not trusted: {self.trust.text}") if self.trust.barred else None

    def untrusted(self) -> Verdict | None:
        if self.trust.trusted or self._unchanged():
            return None
        if not self.facts.self_signed:
            return _refused(Rule.UNTRUSTED, _sentences(f"not trusted: {self.trust.text}", self._misses()))
        if self.predecessor is None:
            text = "a self-signed certificate is accepted only as the renewal of a known one"
            return _refused(Rule.UNTRUSTED, _sentences(text, self._misses()))
        if not self.session.proven:
            text = "a self-signed renewal needs a session with authentication or a TLS client certificate"
            return _refused(Rule.UNTRUSTED, text)
        return None

    def duplicate(self) -> Verdict | None:
        """It is held already: nothing changes, except that a REPLACE still withdraws what stood beside it."""
        if not self.identical or (self.message is Message.REPLACE and not self._stands()):
            return None
        slots = _union(entry.usages for entry in self.identical if entry.place is Place.CURRENT)
        retire = self._displaced(slots) if self.message is Message.REPLACE else ()
        if retire and self.session.bootstrap:
            text = "it is here already, and to withdraw others by it needs a session with authentication"
            return _refused(Rule.UNTRUSTED, text)
        return Verdict(
            accepted=True,
            rule=Rule.DUPLICATE,
            text=f"already configured ({listed(slots)})" if slots else "already configured as a previous one",
            retire=retire,
        )

    def renewal(self) -> Verdict | None:
        match = self.predecessor
        if match is None or (self.announcement is None and self._merely_named(match)):
            return None
        also = self.announcement if self.trust.trusted else None
        slots = match.usages | (also.usages if also else frozenset())
        text = match.text if also is None else f"{match.text}; as announced"
        return self._takes(Rule.RENEWAL, slots, text, match, also)

    def as_announced(self) -> Verdict | None:
        found = self.announcement
        if found is None:
            if misses := self._announcement_misses():
                return _refused(Rule.NOT_ANNOUNCED, misses)
            return None
        if self.mode is Mode.KNOWN and self.session.bootstrap:
            text = "an announced certificate is not accepted in a session without authentication (mode known)"
            return _refused(Rule.UNKNOWN, text)
        return self._takes(Rule.ANNOUNCEMENT, found.usages, "as announced", None, found)

    def first(self) -> Verdict:
        """Rule B with its caution: empty slots that the key usage allows, and no occupied one."""
        if self.mode is not Mode.TRUSTED:
            text = "it is not announced and replaces no known certificate; an administrator must assign it"
            return _refused(Rule.UNKNOWN, _sentences(text, self._misses()))
        wanted, occupied = self._meant(), self._occupied()
        free = wanted - occupied
        # The extended key usage alone is no reason to take TLS slots beside a certificate nobody replaced.
        if wanted and not (free & FILE_USAGES if wanted & FILE_USAGES else free):
            text = f"other certificates serve {listed(wanted & occupied)}, and it replaces none of them"
            return _refused(Rule.OCCUPIED, _sentences(text, self._misses()))
        return self._takes(Rule.FIRST, free, f"first certificate, its issuer is trusted ({self.trust.text})")

    def approved(self, usages: frozenset[Usage] | None) -> Verdict:
        """An operator's word stands for trust, for an announcement and for the proof of the session."""
        if usages is None and (duplicate := self.duplicate()):
            return duplicate
        match, announcement = self.predecessor, self.announcement
        if announcement is None and match is None and len(self.announced) == 1:
            announcement = self.announced[0]
        if usages is None:
            known = (match.usages if match else frozenset()) | (announcement.usages if announcement else frozenset())
            usages = known or self._meant() - self._occupied()
        if not usages and self._meant():
            text = (
                f"other certificates serve {listed(self._meant() & self._occupied())}: say for which usages it is taken"
            )
            return _refused(Rule.OCCUPIED, text)
        text = "accepted by an administrator" + (f"; {match.text}" if match else "")
        if announcement is not None and not announcement.usages & self.facts.allowed <= usages:
            announcement = None
        return self._takes(Rule.APPROVED, usages, text, match, announcement)

    def _meant(self) -> frozenset[Usage]:
        """What it may serve. Without the extension TLS is possible, but nothing says that it is meant."""
        return self.facts.allowed - (TLS_USAGES if self.facts.extended is None else frozenset())

    def _occupied(self) -> frozenset[Usage]:
        return _union(entry.usages for entry in self.held if entry.place is Place.CURRENT)

    def _takes(
        self,
        rule: Rule,
        slots: frozenset[Usage],
        text: str,
        match: Match | None = None,
        announcement: Announced | None = None,
    ) -> Verdict:
        taken = slots & self.facts.allowed
        if not taken:
            return _refused(
                Rule.USAGES,
                f"key usage does not allow {listed(slots)}; it allows {listed(self.facts.allowed)}",
            )
        left = f"; its key usage does not allow {listed(slots - taken)}" if slots - taken else ""
        return Verdict(
            accepted=True,
            rule=rule,
            text=clip(f"{text}; takes {listed(taken)}{left}"),
            usages=taken,
            retire=self._displaced(slots if self.message is Message.REPLACE else taken),
            predecessor=match,
            announcement=announcement.key if announcement else None,
        )

    def _displaced(self, slots: frozenset[Usage]) -> tuple[Retirement, ...]:
        """DELIVER moves the current one down; REPLACE withdraws it and the previous ones (acx.md 6)."""
        recalls = self.message is Message.REPLACE
        if recalls and self.scope is Scope.ALL:
            slots = frozenset(Usage)
        standing = {Place.CURRENT, Place.PREVIOUS} if recalls else {Place.CURRENT}
        return tuple(
            Retirement(
                key=entry.key,
                usages=entry.usages & slots,
                place=Place.WITHDRAWN if recalls else Place.PREVIOUS,
            )
            for entry in self.held
            if entry.place in standing and entry.usages & slots and not (self._stands() and self._same(entry))
        )

    def _same(self, entry: Held) -> bool:
        return entry.facts.fingerprint == self.facts.fingerprint

    def _stands(self) -> bool:
        """Whether this very certificate is in use already."""
        return any(entry.place is Place.CURRENT for entry in self.identical)

    def _unchanged(self) -> bool:
        """A self-signed one that is in use already and is only sent again: nothing changes."""
        return self.facts.self_signed and self._stands() and self.message is not Message.REPLACE

    def _merely_named(self, match: Match) -> bool:
        """Whether in the bootstrap only the description, which anyone can write, ties it to another."""
        return self.session.bootstrap and self.mode is not Mode.TRUSTED and match.means is not Means.EQUAL

    def _announcement_misses(self) -> str:
        differences = (entry.identification.matches(self.facts).text for entry in self.announced)
        return "; or ".join(f"not as announced: {text}" for text in differences)

    def _misses(self) -> str:
        """In what it differs from each announced one, or else from each held one."""
        return self._announcement_misses() or "; ".join(near_misses(self.facts, self.held))


def _union(usages: Iterable[frozenset[Usage]]) -> frozenset[Usage]:
    return frozenset().union(*usages)


def _sentences(first: str, second: str) -> str:
    return f"{first}; {second}" if second else first


def _instant(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M:%SZ")
