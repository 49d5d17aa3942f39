"""Session authentication: when it is required, its challenges, and the bootstrap latch (acx.md 5.2).

A partner's setting is off, prepared or on. Prepared means that only identification data are known yet: sessions go
without authentication until the partner's certificate is active here *and* the partner has confirmed ours. Then the
latch closes: the setting becomes on, once and for good, and is in the ledger and in the audit trail. Only an
administrator opens it again. What is never bypassed: code, password, the trust of TLS, and the checks of the
certificates themselves.
"""

from __future__ import annotations

from collections.abc import Sequence

from cryptography import x509
from twisted.logger import Logger

from oftp2.certs import selection
from oftp2.certs.selection import Selection
from oftp2.cms.challenge import Answered, ChallengeError, RepeatedError, make_challenge, open_challenge
from oftp2.cms.keys import Owner
from oftp2d.context import Context
from oftp2d.errors import OperatorError
from oftp2d.ledger import Authentication as Setting
from oftp2d.ledger import Partner


class Authentication:
    """Decides on session authentication, partner by partner."""

    log = Logger(namespace="authentication")

    def __init__(self, context: Context) -> None:
        self._context = context
        self._answered = Answered()

    def password(self, partner: Partner) -> str:
        """The password by which this partner knows us (SSIDPSWD); empty when none was agreed."""
        if not partner.password_ours:
            return ""
        return self._context.vault.open_sealed(partner.password_ours).decode("ascii")

    async def current(self, partner: Partner) -> Partner:
        """The partner as a session that begins now has to see it.

        Closes a latch whose halves came together without it: the station was stopped just between.
        """
        if partner.authentication is not Setting.PREPARED:
            return partner
        await self.latch(partner)
        return await self._context.workers.database(self._context.ledger.partners.get, partner.id)

    def required(self, partner: Partner) -> bool:
        """Whether we, as Initiator, ask for authentication. Prepared asks for none: when it could, it is on."""
        return partner.authentication is Setting.ON

    async def answer(self, partner: Partner, *, asked: bool) -> bool:
        """What we, as Responder, say to an Initiator that asks for authentication or does not.

        Any answer but its own ends the session with ESID 12. Prepared follows the Initiator where it can: yes only when we
        hold its certificate and have a key.
        """
        if partner.authentication is Setting.PREPARED and asked:
            return await self.possible(partner)
        return partner.authentication is Setting.ON

    async def possible(self, partner: Partner) -> bool:
        """Whether both challenges could be made and answered now."""
        theirs = await self._their_certificate(partner)
        return theirs is not None and bool(await self._owners())

    async def make_challenge(self, partner: Partner) -> tuple[bytes, bytes]:
        """The envelope for the partner, and the 20 octets in it."""
        certificate = await self._their_certificate(partner)
        if certificate is None:
            barred = (await self._context.workers.database(self._theirs, partner)).barred
            why = f" ({barred})" if barred else ""
            raise OperatorError(
                f"there is no certificate of {partner.code} for session authentication{why}",
                f"import it, or say 'oftp2d exchange request {partner.code}' with authentication prepared",
            )
        return await self._context.workers.crypto(make_challenge, certificate)

    async def open_challenge(self, partner: Partner, envelope: bytes) -> bytes:
        """The 20 octets that only our private key reveals."""
        try:
            return await self._context.workers.crypto(open_challenge, envelope, await self._owners(), self._answered)
        except RepeatedError as error:
            raise OperatorError(
                f"the challenge of {partner.code} is not answered: {error}",
                "ask the partner: its station makes none anew for each session, or somebody repeats what it said",
            ) from None
        except ChallengeError as error:
            chosen = await self._context.workers.database(
                self._context.certificates.explain_decryption, self._context.now()
            )
            why = f" ({chosen.barred})" if chosen.barred else ""
            raise OperatorError(
                f"the challenge of {partner.code} cannot be answered: {error}{why}",
                "most likely it holds an old certificate of ours, and no exchange reaches it while no session stands: send it"
                " the one in use by other means ('oftp2d cert show --pem'), or say 'oftp2d cert activate' for the old one until"
                " it has it",
            ) from None

    async def proven(self, partner: Partner) -> None:
        """A session with authentication stands: each side has shown that it holds the other's certificate.

        Closes the latch of a prepared partner, where the end response that should have done so was lost.
        """
        if partner.authentication is Setting.PREPARED:
            await self._close(partner, "an authenticated session")

    async def latch(self, partner: Partner) -> None:
        """Close the latch if both halves are there now: their certificate active here, ours confirmed by them."""
        if partner.authentication is not Setting.PREPARED:
            return
        theirs, ours = await self._context.workers.database(self._halves, partner)
        if theirs and ours:
            await self._close(partner, "both certificates exchanged")
        else:
            self.log.info(
                "{partner}: authentication stays prepared, still missing: {missing}",
                partner=partner.code,
                missing=" and ".join(
                    what for what, there in (("its certificate", theirs), ("its EERP for ours", ours)) if not there
                ),
            )

    def _halves(self, partner: Partner) -> tuple[bool, bool]:
        return self._context.certificates.authentication_ready(
            partner_id=partner.id, code=partner.code, now=self._context.now()
        )

    async def _close(self, partner: Partner, why: str) -> None:
        now = self._context.now()
        if not await self._context.workers.database(self._context.ledger.partners.latch, partner.id, now):
            return
        await self._context.workers.database(
            self._context.ledger.audit.record,
            now,
            partner.code,
            "authentication latched",
            {"setting": "on", "because": why},
        )
        self.log.info("{partner}: session authentication is on from now on ({why})", partner=partner.code, why=why)

    async def _their_certificate(self, partner: Partner) -> x509.Certificate | None:
        taken = (await self._context.workers.database(self._theirs, partner)).taken
        return None if taken is None else taken.facts.certificate

    def _theirs(self, partner: Partner) -> Selection:
        """In the database worker."""
        return self._context.certificates.explain_partner(
            selection.CHALLENGE, partner_id=partner.id, station=partner.code, now=self._context.now()
        )

    async def _owners(self) -> Sequence[Owner]:
        return await self._context.workers.database(self._context.certificates.owners, self._context.now())
