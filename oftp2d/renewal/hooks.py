"""The hook: a program of the site's own that is run when another credential is used."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Final

from twisted.logger import Logger

from oftp2d.context import Context
from oftp2d.errors import OperatorError
from oftp2d.renewal import exporting
from oftp2d.renewal.definitions import Export, Form
from oftp2d.renewal.processes import how, run, said, surrounding
from oftp2d.renewal.telling import Activation, Consumer
from oftp2d.vault import Secret

OUTPUT: Final = 1_048_576
"""Octets that a hook may print; nobody reads them."""


class Hooks(Consumer):
    """Runs programs."""

    log = Logger(namespace="renewal")

    def __init__(self, context: Context) -> None:
        self._context = context

    async def tell(self, telling: Activation) -> str:
        """Run the program, behind the export where there is one. Raises OperatorError where it did not end with 0."""
        hook, name = telling.definition.hook, telling.definition.name
        assert hook is not None  # noqa: S101 - who has no such section is not told
        home = self._context.config.home
        passphrase = await self._exported(telling, home)
        program = Path(hook.command[0]).name
        ended = await run(
            self._context.reactor,
            hook.command,
            environment=surrounding(home, **_known(telling, home)),
            folder=home,
            seconds=hook.seconds,
            most=OUTPUT,
        )
        text = said(ended, [passphrase])
        if ended.code != 0:
            what = f"{program} {how(ended, hook.seconds)}"
            raise OperatorError(f"{what}{f': {text}' if text else ''}", "correct it")
        self.log.info("credential set {set}: the hook {program} is done", set=name, program=program)
        return f"{program} is done"

    async def _exported(self, telling: Activation, home: Path) -> Secret[bytes] | None:
        """Wait for the files that the program may read; their passphrase, that it must not be repeated from its output."""
        export = telling.definition.export
        if export is None:
            return None
        try:
            return await self._context.workers.disk(_files, telling, export, home)
        except OSError:
            what = f"the files of credential set {telling.definition.name} are not exported yet"
            raise OperatorError(what, "see why with 'oftp2d renew status'; the hook is run when they are") from None


def _files(telling: Activation, export: Export, home: Path) -> Secret[bytes] | None:
    """Raises OSError where the files of this credential are not there."""
    folder = exporting.current(home, export)
    if not folder.readlink().name.startswith(exporting.generation(telling.current)):
        raise FileNotFoundError(folder)
    _, secret = exporting.file_names(export)
    return Secret((folder / secret).read_bytes().strip()) if export.form is Form.P12 else None


def _known(telling: Activation, home: Path) -> dict[str, str]:
    """What the program is told. What the certificate says was written by its source: a value, never a part of a command."""
    definition, current = telling.definition, telling.current
    export = {} if definition.export is None else {"OFTP2D_EXPORT": str(exporting.current(home, definition.export))}
    return {
        "OFTP2D_SET": definition.name,
        "OFTP2D_EVENT": telling.event.value,
        "OFTP2D_FINGERPRINT": current.fingerprint,
        "OFTP2D_SERIAL": f"{current.certificate.serial_number:x}",
        "OFTP2D_SUBJECT": str(current.facts.subject),
        "OFTP2D_VALID_FROM": _instant(current.valid_from),
        "OFTP2D_VALID_UNTIL": _instant(current.valid_until),
        "OFTP2D_FORMER_FINGERPRINT": telling.former,
        **export,
    }


def _instant(at: datetime) -> str:
    return f"{at:%Y-%m-%dT%H:%M:%SZ}"
