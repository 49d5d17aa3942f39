"""A plugin that says what a test tells it to say, and writes down what it was asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import EntryPoint
from typing import Any

import attrs
from twisted.internet.defer import Deferred

from oftp2d.renewal.interface import GROUP, Answer, Case, House, Plugin, Refusal, Trial
from oftp2d.renewal.material import Material
from oftp2d.renewal.plugins import Registry
from oftp2d.renewal.rules import Demands
from oftp2d.settings import IN_STORE, secret_reference
from oftp2d.vault import Secret
from tests.pki import Issued


@attrs.frozen(kw_only=True)
class Options:
    """What a test needs to know."""

    password: str = secret_reference(IN_STORE, "Where the password is.")
    other: str = secret_reference("", "Where another secret is, which nobody reads.")


@dataclass(frozen=True)
class Asked:
    """What one attempt was given."""

    set_name: str
    password: str
    tan: str | None


class Scripted(Plugin):
    """Answers from a list."""

    summary = "says what a test tells it to say"
    options = Options
    secrets = ("password", "other")
    demands = Demands(chain=False)

    def __init__(self, house: House) -> None:
        super().__init__(house)
        self.says: list[Answer | Refusal | Deferred[Answer | Refusal]] = []
        self.asked: list[Asked] = []
        self.trial = Trial(ok=True, text="it answers")

    async def fetch(self, case: Case, now: datetime, tan: Secret[str] | None = None) -> Answer | Refusal:  # noqa: ARG002
        """The next answer of the list."""
        password = await case.secrets.get("password")
        self.asked.append(Asked(case.name, password.reveal(), tan.reveal() if tan else None))
        said = self.says.pop(0)
        return await said if isinstance(said, Deferred) else said

    async def probe(self, case: Case, new: Material, now: datetime) -> Trial:  # noqa: ARG002
        """As the test says."""
        return self.trial

    async def status(self, case: Case, now: datetime) -> Mapping[str, str]:  # noqa: ARG002
        """A word of its own."""
        return {"mood": f"of {case.name}: good"}


def credential(issued: Issued, passphrase: str = "Q&A<\"'>-Open-7") -> Answer:  # noqa: S107 - of a test
    """A credential as a source sends it."""
    sealed = passphrase.encode()
    return Answer(
        content=Secret(issued.pkcs12(sealed)),
        passphrase=Secret(sealed),
        transaction=f"T-{issued.certificate.serial_number}",
    )


def scripted_registry(house: Any) -> Registry:
    """The plugins of a station that has only this one."""
    return Registry(house, [EntryPoint(name="scripted", value="tests.oftp2d.scripted:Scripted", group=GROUP)])
