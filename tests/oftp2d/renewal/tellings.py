"""Activations as consumers are told of them, with certificates of the test PKI."""

from __future__ import annotations

from typing import Any

from oftp2d.ledger import TellingEvent
from oftp2d.renewal.definitions import CredentialSet
from oftp2d.renewal.interface import Nothing
from oftp2d.renewal.material import Material
from oftp2d.renewal.telling import Activation
from tests import pki
from tests.pki import Issued


def issued(*, begins: float = -1, ends: float = 365, **more: Any) -> Issued:
    """A certificate with a chain up to its root."""
    usual = {"subject": "CN=site.test,O=Site", "issuer": pki.issuing("A"), "days": (begins, ends)}
    return pki.make(**(usual | more))


def material(found: Issued) -> Material:
    return Material(certificate=found.certificate, key=found.key, chain=tuple(each.certificate for each in found.chain))


def defined(**sections: Any) -> CredentialSet:
    return CredentialSet(name="site", plugin="none", options=Nothing(), **sections)


def activation(
    definition: CredentialSet,
    current: Issued,
    former: Issued | None = None,
    event: TellingEvent = TellingEvent.ACTIVATED,
) -> Activation:
    return Activation(
        definition=definition,
        event=event,
        current=material(current),
        former=former.fingerprint if former else "",
    )


def rollback(definition: CredentialSet, current: Issued, former: Issued) -> Activation:
    return activation(definition, current, former, TellingEvent.ROLLED_BACK)
