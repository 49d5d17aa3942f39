"""The consumers of the station: the certificate store, files for other programs, and a program that is run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from oftp2d.context import Context
from oftp2d.errors import OperatorError
from oftp2d.renewal.definitions import CredentialSet
from oftp2d.renewal.exporting import Exporter
from oftp2d.renewal.hooks import Hooks
from oftp2d.renewal.material import Material
from oftp2d.renewal.rules import Problem
from oftp2d.renewal.storing import Offering, Storing
from oftp2d.renewal.telling import EXPORT, HOOK, STORE, Activation, Consumer


class Consumers:
    """All consumers there are, by the names of their sections in a definition."""

    def __init__(self, context: Context, offering: Offering, *, changed: Callable[[], None]) -> None:
        self._known: Mapping[str, Consumer] = {
            STORE: Storing(context, offering, changed=changed),
            EXPORT: Exporter(context),
            HOOK: Hooks(context),
        }

    async def problems(self, definition: CredentialSet, new: Material) -> Sequence[Problem]:
        """Why consumers of this set could not use a new credential: these count like those that the plugin's rules find."""
        return [
            problem for name in definition.consumers for problem in await self._known[name].problems(definition, new)
        ]

    async def tell(self, consumer: str, telling: Activation) -> str:
        """Tell one of them; those of a set in the order of ``CredentialSet.consumers``, as the later use what the earlier do.

        Returns a sentence for the audit trail. Raises OperatorError where it must be told again.
        """
        if consumer not in telling.definition.consumers:
            raise OperatorError(
                f"credential set {telling.definition.name} has no section {consumer} any more", "nothing is to be done"
            )
        return await self._known[consumer].tell(telling)
