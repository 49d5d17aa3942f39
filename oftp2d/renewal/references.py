"""Where a credential set's secrets are: ``file:/path``, ``env:NAME``, or ``store``, sealed in the ledger.

The definitions name places only. A secret is fetched when it is needed, each time anew, so that a changed file counts at once,
and is handed on as a :class:`~oftp2d.vault.Secret`.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from oftp2d.errors import OperatorError
from oftp2d.renewal.interface import Held
from oftp2d.renewal.keeping import Keeping
from oftp2d.settings import IN_ENVIRONMENT, IN_FILE, IN_STORE
from oftp2d.vault import Secret

MAX_OCTETS: Final = 65_536
"""Of a secret: a private key is the longest that is met."""


class References:
    """The secrets of one credential set, by the names of its options: what :class:`oftp2d.renewal.interface.Secrets` promises.

    Only a secret in the store can be proposed and settled; one in a file or in the environment is the operator's to change.
    """

    def __init__(
        self,
        set_name: str,
        options: Any,
        *,
        keeping: Keeping,
        home: Path,
        now: Callable[[], datetime],
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        self._set_name = set_name
        self._options = options
        self._keeping = keeping
        self._home = home
        self._now = now
        self._environ = environ

    def __repr__(self) -> str:
        return f"<References of {self._set_name}>"

    async def get(self, name: str) -> Secret[str]:
        """The secret that counts. Raises OperatorError where there is none."""
        reference = self._reference(name)
        if reference.startswith(IN_FILE):
            return await self._keeping.workers.disk(self._in_file, name, reference.removeprefix(IN_FILE))
        if reference.startswith(IN_ENVIRONMENT):
            return self._in_environment(name, reference.removeprefix(IN_ENVIRONMENT))
        found = await self._keeping.secret(self._set_name, name)
        if found is None:
            raise OperatorError(
                f"the {name} of credential set {self._set_name} was not told yet",
                f"say 'oftp2d renew secret {self._set_name} {name}'",
            )
        return found

    async def held(self, name: str) -> Held:
        """Since when it counts, and whether a new value waits beside it; nothing of one that is not in the store."""
        stored = self._reference(name) == IN_STORE
        return (await self._keeping.held(self._set_name, name) if stored else None) or Held()

    async def proposed(self, name: str) -> Secret[str] | None:
        """The value that waits beside the one that counts; None where none does."""
        stored = self._reference(name) == IN_STORE
        return await self._keeping.proposed_secret(self._set_name, name) if stored else None

    async def propose(self, name: str, value: Secret[str]) -> None:
        """Keep a new value beside the one that counts, durably. Raises OperatorError, also where none counts."""
        self._must_be_stored(name)
        _check(value)
        await self.get(name)
        await self._keeping.propose_secret(self._set_name, name, value, self._now())

    async def settle(self, name: str, *, accepted: bool) -> None:
        """The proposed value counts from now on, or is forgotten. Raises OperatorError."""
        self._must_be_stored(name)
        await self._keeping.settle_secret(self._set_name, name, self._now(), accepted=accepted)

    async def keep(self, name: str, value: Secret[str]) -> None:
        """This value counts from now on: what 'oftp2d renew secret' does. Raises OperatorError."""
        self._must_be_stored(name)
        _check(value)
        await self._keeping.keep_secret(self._set_name, name, value, self._now())

    # --- where it is -------------------------------------------------------------------------------------------

    def _reference(self, name: str) -> str:
        reference = getattr(self._options, name, None)
        if not isinstance(reference, str) or not reference:
            raise OperatorError(
                f"credential set {self._set_name} does not say where its {name} is",
                f"write {name} = \"store\" into its definition, then say 'oftp2d renew secret {self._set_name} {name}'",
            )
        return reference

    def _must_be_stored(self, name: str) -> None:
        reference = self._reference(name)
        if reference != IN_STORE:
            kind = "a file" if reference.startswith(IN_FILE) else "the environment"
            raise OperatorError(
                f"the {name} of credential set {self._set_name} is in {kind}",
                f'change it there, or write {name} = "store" into the definition of the set',
            )

    def _in_environment(self, name: str, variable: str) -> Secret[str]:
        value = self._environ.get(variable, "")
        if not value:
            raise OperatorError(
                f"the {name} of credential set {self._set_name} is not in the environment ({variable})",
                "set that variable for the station, and start it anew",
            )
        try:
            value.encode()
        except UnicodeEncodeError:
            what = f"the {name} of credential set {self._set_name} in the environment ({variable}) is no UTF-8 text"
            raise OperatorError(what, "set that variable anew, in UTF-8, and start the station anew") from None
        return Secret(value)

    def _in_file(self, name: str, path: str) -> Secret[str]:
        try:
            octets = _read(self._home / path)
        except OSError as error:
            what = f"the {name} of credential set {self._set_name} cannot be read from {path} ({error.strerror})"
            raise OperatorError(what, "check the path, and that the file belongs to the user of the station") from None
        try:
            value = octets.decode().removesuffix("\n").removesuffix("\r")
        except UnicodeDecodeError:
            value = ""
        if not value:
            what = f"the {name} of credential set {self._set_name} is not in {path}: it is empty, or no UTF-8 text"
            raise OperatorError(what, "write the secret there, on one line")
        return Secret(value)


def _check(value: Secret[str]) -> None:
    try:
        octets = len(value.reveal().encode())
    except UnicodeEncodeError:
        raise OperatorError("the secret holds what is no character", "give it in UTF-8") from None
    if not 0 < octets <= MAX_OCTETS:
        raise OperatorError(f"the secret has {octets} octets", f"give one of 1 to {MAX_OCTETS}")


def _read(path: Path) -> bytes:
    """A file that nobody else can read. Raises OSError and OperatorError."""
    # A pipe would keep who opens it waiting.
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        about = os.fstat(file.fileno())
        if not stat.S_ISREG(about.st_mode):
            raise OperatorError(f"{path} is no file", "name the file that holds the secret")
        if about.st_mode & 0o077:
            raise OperatorError(f"others can read the secret in {path}", f"run 'chmod 600 {path}'")
        octets = file.read(MAX_OCTETS + 1)
    if len(octets) > MAX_OCTETS:
        raise OperatorError(f"{path} has more than {MAX_OCTETS} octets", "name the file that holds the secret alone")
    return octets
