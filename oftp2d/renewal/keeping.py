"""What is kept of credential sets, opened: the ledger's sealed octets go in and come out as secrets, containers and material.

Everything that a source gave and every secret is sealed by the vault before it reaches the database. Sealing, and opening a
container, is done in the crypto worker. What needs no vault (claims, attempts, what was validated and tried, who is to be
told) is asked of the ledger itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from oftp2d.errors import OperatorError
from oftp2d.ledger import AttemptOutcome, Candidate, CandidateFacts, Contents, Ledger
from oftp2d.renewal.interface import Answer, Held
from oftp2d.renewal.material import Container, Material, opened
from oftp2d.vault import Secret, Vault
from oftp2d.workers import Workers

MAX_ANSWER = 16 << 20
"""Octets of an answer; plugins are to take less, for a container has at most ``material.MAX_OCTETS``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Keeping:
    """The ledger's credentials and secrets, sealed there and opened here."""

    ledger: Ledger
    vault: Vault
    workers: Workers

    # --- credentials -----------------------------------------------------------------------------------

    async def keep(self, name: str, answer: Answer, now: datetime, *, imported: bool = False) -> Candidate:
        """Keep what came, as it came: on disk when this returns. Raises OperatorError where it is larger than ``MAX_ANSWER``."""
        octets = len(answer.content.reveal())
        if octets > MAX_ANSWER:
            raise OperatorError(
                f"the answer of the source has {octets} octets, more than {MAX_ANSWER}",
                "ask those who run the source what it sends",
            )
        content, passphrase = await self.workers.crypto(self._sealed, answer.content, answer.passphrase)
        return await self.workers.database(
            self.ledger.credential_sets.keep_answer,
            name,
            content,
            passphrase,
            now,
            transaction_id=answer.transaction,
            imported=imported,
        )

    async def answer(self, candidate: Candidate) -> Answer:
        """What came, as long as nobody has read it. Raises OperatorError where it is not there any more."""
        contents = await self._contents(candidate)
        if contents.answer is None:
            raise OperatorError(
                f"the answer that brought credential {candidate.id} is not kept any more",
                "see 'oftp2d renew history' of its set for what became of it",
            )
        content, passphrase = await self.workers.crypto(self._opened, contents.answer, contents.passphrase)
        return Answer(content=content, passphrase=passphrase, transaction=candidate.transaction_id)

    async def stage(
        self, candidate: Candidate, container: Container, now: datetime, outcome: AttemptOutcome | None = None
    ) -> tuple[Candidate, Material]:
        """The answer held this container: open it, and keep it instead of the answer, with the outcome of the attempt.

        Raises OperatorError, and changes nothing, where the container does not open.
        """
        facts, material, contents = await self.workers.crypto(self._examined, container)
        staged = await self.workers.database(
            self.ledger.credential_sets.stage, candidate.id, facts, contents, now, outcome
        )
        return staged, material

    async def container(self, candidate: Candidate) -> Container:
        """A staged credential in its container. Raises OperatorError where it is not there any more."""
        contents = await self._contents(candidate)
        if contents.container is None:
            raise _gone(candidate)
        content, passphrase = await self.workers.crypto(self._opened, contents.container, contents.passphrase)
        return Container(content=content, passphrase=passphrase)

    async def material(self, candidate: Candidate) -> Material:
        """A staged credential, opened. Raises OperatorError where it is not there any more."""
        contents = await self._contents(candidate)
        if contents.container is None:
            raise _gone(candidate)
        return await self.workers.crypto(self._material, contents.container, contents.passphrase)

    async def _contents(self, candidate: Candidate) -> Contents:
        return await self.workers.database(self.ledger.credential_sets.contents, candidate.id)

    # --- secrets ---------------------------------------------------------------------------------------

    async def secret(self, set_name: str, name: str) -> Secret[str] | None:
        """A secret that is kept here; None where there is none of that name."""
        found = await self.workers.database(self.ledger.credential_secrets.get, set_name, name)
        return None if found is None else self._text(found.value)

    async def proposed_secret(self, set_name: str, name: str) -> Secret[str] | None:
        """The value that waits beside it to be settled; None where none does."""
        found = await self.workers.database(self.ledger.credential_secrets.get, set_name, name)
        return None if found is None or found.proposed is None else self._text(found.proposed)

    async def held(self, set_name: str, name: str) -> Held | None:
        """What is known of a secret that is kept here; None where there is none of that name."""
        found = await self.workers.database(self.ledger.credential_secrets.get, set_name, name)
        return None if found is None else Held(changed_at=found.changed_at, proposed_at=found.proposed_at)

    async def keep_secret(self, set_name: str, name: str, value: Secret[str], now: datetime) -> None:
        """This value counts from now on; one that was proposed is forgotten."""
        sealed = self.vault.seal(value.reveal().encode())
        await self.workers.database(self.ledger.credential_secrets.put, set_name, name, sealed, now)

    async def propose_secret(self, set_name: str, name: str, value: Secret[str], now: datetime) -> None:
        """Keep a new value beside the one that counts: on disk when this returns. Raises OperatorError where none counts."""
        sealed = self.vault.seal(value.reveal().encode())
        await self.workers.database(self.ledger.credential_secrets.propose, set_name, name, sealed, now)

    async def settle_secret(self, set_name: str, name: str, now: datetime, *, accepted: bool) -> None:
        """The proposed value counts from now on, or is forgotten."""
        await self.workers.database(self.ledger.credential_secrets.settle, set_name, name, now, accepted=accepted)

    def digest(self, value: Secret[str]) -> str:
        """What tells one value of a secret from another, without telling the value to who has not the master key."""
        return self.vault.digest(value.reveal().encode())

    # --- in the crypto worker --------------------------------------------------------------------------

    def _sealed(self, content: Secret[bytes], passphrase: Secret[bytes] | None) -> tuple[bytes, bytes | None]:
        # An empty passphrase is one: there are containers that do not open without it.
        kept = None if passphrase is None else self.vault.seal(passphrase.reveal())
        return self.vault.seal(content.reveal()), kept

    def _opened(self, content: bytes, passphrase: bytes | None) -> tuple[Secret[bytes], Secret[bytes] | None]:
        kept = None if passphrase is None else Secret(self.vault.open_sealed(passphrase))
        return Secret(self.vault.open_sealed(content)), kept

    def _material(self, content: bytes, passphrase: bytes | None) -> Material:
        secret, kept = self._opened(content, passphrase)
        return opened(Container(content=secret, passphrase=kept))

    def _examined(self, container: Container) -> tuple[CandidateFacts, Material, Contents]:
        material = opened(container)
        found = material.facts
        facts = CandidateFacts(
            fingerprint=found.fingerprint,
            serial=f"{material.certificate.serial_number:x}",
            subject=str(found.subject),
            valid_from=material.valid_from,
            valid_until=material.valid_until,
        )
        content, passphrase = self._sealed(container.content, container.passphrase)
        return facts, material, Contents(container=content, passphrase=passphrase)

    def _text(self, sealed: bytes) -> Secret[str]:
        return Secret(self.vault.open_sealed(sealed).decode())


def _gone(candidate: Candidate) -> OperatorError:
    return OperatorError(
        f"credential {candidate.id} of credential set {candidate.set_name} is {candidate.state}: its content is not kept",
        "import it again if you still have it, or wait for the next one",
    )
