"""What a consumer is: somebody who is told when another credential of a set is used from now on.

Whoever is told may be told again, such as after a crash between what it did and the note that it knows: a consumer does what
is missing, and nothing twice. Who could not be told is told again later, always of the last change only.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from oftp2d.ledger import Telling, TellingEvent, TellingState
from oftp2d.renewal.definitions import CredentialSet
from oftp2d.renewal.material import Material
from oftp2d.renewal.rules import Problem

STORE: Final = "store"
EXPORT: Final = "export"
HOOK: Final = "hook"
SOURCE: Final = "source"
"""Told like the consumers: the source itself, by the steps ``activate`` and ``rollback`` of its plugin."""

BEHIND: Final[Mapping[str, frozenset[str]]] = {HOOK: frozenset({STORE, EXPORT})}
"""Who is told only when these know, where the set has them: it may use what they make."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Activation:
    """Another credential of a set is in use."""

    definition: CredentialSet
    event: TellingEvent
    current: Material
    """The one in use from now on; after a rollback the former one, again."""
    former: str = ""
    """SHA-256 of the certificate in use before, lower-case hexadecimal; after a rollback that of the one taken back. Empty
    where there was none."""


class Consumer(ABC):
    """One way of telling of an activation."""

    async def problems(self, definition: CredentialSet, new: Material) -> Sequence[Problem]:  # noqa: ARG002
        """Why this consumer could not use a new credential: asked for before it is activated, beside the plugin's own rules."""
        return ()

    @abstractmethod
    async def tell(self, telling: Activation) -> str:
        """Tell it. Returns a sentence for the audit trail. Raises OperatorError where it must be told again."""


def tellable(tellings: Iterable[Telling]) -> Sequence[Telling]:
    """Those that may be told: not the ones that know, nor those behind one that does not."""
    given = list(tellings)
    lacking = {each.consumer for each in given if each.state is not TellingState.DONE}
    return [each for each in given if each.consumer in lacking and not BEHIND.get(each.consumer, frozenset()) & lacking]
