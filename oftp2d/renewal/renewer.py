"""The renewal of all credential sets: what the daemon starts and stops, and what operators ask for.

Nobody else touches a credential set. Whatever is done with one is done under its lock, which other processes with the same
ledger respect too; what an operator asks for waits for what is under way.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from twisted.logger import Logger

from oftp2d.context import Context
from oftp2d.ledger import Candidate
from oftp2d.metrics import Gauge
from oftp2d.planning import Concern
from oftp2d.renewal.interface import Trial
from oftp2d.renewal.plugins import Registry
from oftp2d.renewal.sets import Definitions
from oftp2d.renewal.standing import Standing
from oftp2d.vault import Secret


class Renewer:
    """Looks after all credential sets of a station.

    Everything that names a set raises OperatorError where there is none of that name, where another process works on it, and
    while the station stops.
    """

    log = Logger(namespace="renewal")

    def __init__(self, context: Context) -> None:
        self._context = context

    async def start(self) -> None:
        """Read the definitions, free what a run before has left claimed, and look from now on."""
        raise NotImplementedError

    async def stop(self) -> None:
        """Begin nothing more, and wait for the step in hand."""
        raise NotImplementedError

    @property
    def definitions(self) -> Definitions:
        """The credential sets as they are defined, and what is wrong in the files."""
        raise NotImplementedError

    @property
    def registry(self) -> Registry:
        """The plugins that are installed; asking it blocks."""
        raise NotImplementedError

    async def reload(self) -> Definitions:
        """Read the definitions again, whether they have changed or not."""
        raise NotImplementedError

    def look(self) -> None:
        """See which sets are due, and begin with them. Never blocks."""
        raise NotImplementedError

    # --- what is shown ------------------------------------------------------------------------------------------

    async def standings(self) -> Sequence[Standing]:
        """How all sets stand, by name; those with faults that never could be read are among them."""
        raise NotImplementedError

    async def standing(self, name: str) -> Standing:
        """How one set stands, with what its plugin knows besides."""
        raise NotImplementedError

    async def candidates(self, name: str) -> Sequence[Candidate]:
        """The credentials of a set, those before too, the youngest first."""
        raise NotImplementedError

    def concerns(self, now: datetime) -> Iterable[Concern]:
        """What an administrator should look after; in the database worker."""
        raise NotImplementedError

    def gauges(self, now: datetime) -> Iterable[Gauge]:
        """The numbers of all sets; in the database worker."""
        raise NotImplementedError

    # --- what an operator asks for ------------------------------------------------------------------------------

    async def run(self, name: str, *, tan: Secret[str] | None = None) -> Standing:
        """Ask the source now, whatever the hour, and go on with what comes; a new credential that is here already comes first.

        ``tan`` is a one-time number of the source. Never against a block: raises OperatorError then, and where the plugin says
        that nothing can be had before a person has done something (other than giving a TAN).
        """
        raise NotImplementedError

    async def run_due(self) -> Sequence[Standing]:
        """Look after every set that is due now, and wait until that is done; returns how those stand."""
        raise NotImplementedError

    async def probe(self, name: str) -> Trial:
        """Try the new credential, or the one in use where there is no new one."""
        raise NotImplementedError

    async def activate(self, name: str, *, anyway: bool = False, candidate: int | None = None) -> Standing:
        """Use a new credential from now on: the youngest, or that of this id.

        ``anyway`` overrules a probe that failed and those of its problems that may be overruled.
        """
        raise NotImplementedError

    async def rollback(self, name: str) -> Standing:
        """Use the former credential again, as long as it is valid; the one in use is taken back."""
        raise NotImplementedError

    async def bring(self, name: str, content: Secret[bytes], passphrase: Secret[bytes] | None = None) -> Standing:
        """Import a credential (PKCS#12 or PEM): it goes the way of one that was fetched.

        The first one of a set becomes the one in use if nothing is wrong with it. Raises OperatorError where it does not open,
        and where it is here already.
        """
        raise NotImplementedError

    async def unblock(self, name: str) -> Standing:
        """A person has done what was to be done: the source may be asked again."""
        raise NotImplementedError

    async def keep_secret(self, name: str, secret: str, value: Secret[str]) -> Standing:
        """Keep the value of a secret whose reference is ``store``; a block that this secret has caused ends."""
        raise NotImplementedError
