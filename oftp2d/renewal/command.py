"""The plugin ``command``: a program of the site's own gets the credential, and prints it.

How the program and the station talk stands in :class:`Options`, for those who write one.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import attrs

from oftp2d.renewal.definitions import absolute_program
from oftp2d.renewal.interface import Answer, Case, Plugin, Refusal, Verdict
from oftp2d.renewal.material import MAX_OCTETS
from oftp2d.renewal.processes import Ended, how, run, said, surrounding
from oftp2d.settings import LONGEST_PATH, REQUIRED, secret_reference, texts, whole
from oftp2d.vault import Secret

VERDICTS: Final[Mapping[int, Verdict]] = {
    10: Verdict.NOT_YET,
    11: Verdict.ALREADY,
    12: Verdict.AUTH_FAILED,
    13: Verdict.LOCKED,
    75: Verdict.RETRY,
}
"""What an exit code says; 0 is a credential, 75 is EX_TEMPFAIL of sysexits.h, and any other one is FATAL."""

_PASSPHRASE: Final = b"passphrase: "
_LONGEST_LINE: Final = 1024


@attrs.frozen(kw_only=True)
class Options:
    """A program of yours that prints a credential: PKCS#12, or PEM with the certificate, its key and its chain.

    Before them it may print one line "passphrase: ..." with what opens them. It prints nothing else, at most 1 MiB.

    Its exit code says how it went: 0 here it is, 10 there is none yet (asked again the next day), 11 it was fetched already,
    12 the password is wrong (never tried again before the secret was changed), 13 the account is locked (never tried again
    before 'oftp2d renew unblock'), 75 trouble that passes (tried again soon), any other one: a person must look. The first
    line on its standard error output says why, in a sentence without a secret.

    It runs as the user of the station, in its home folder. From its standard input it reads the line "password: ..." where
    one is given here, and the line "tan: ..." where an operator gave a one-time number. In its environment are PATH, HOME,
    LANG and these alone: OFTP2D_SET (the name of the set), OFTP2D_FINGERPRINT, OFTP2D_SERIAL, OFTP2D_SUBJECT and
    OFTP2D_VALID_UNTIL (like 2027-01-31T12:00:00Z) of the credential in use, empty where there is none.
    """

    command: tuple[str, ...] = texts(
        LONGEST_PATH,
        50,
        REQUIRED,
        "The program with its arguments; the first is an absolute path. No shell reads it. Put no secret here.",
        fewest=1,
        example=("/usr/local/bin/get-credential", "--site", "1"),
    )
    seconds: int = whole(1, 540, 60, "After so long the program is killed with all that it has started, in seconds.")
    password: str = secret_reference(
        "", "Where the secret is that it reads from its standard input. Left out: it is given none."
    )
    passphrase: str = secret_reference(
        "", "Where the passphrase is that opens what it prints, unless it prints that too. Left out: there is none."
    )

    def __attrs_post_init__(self) -> None:
        absolute_program(self.command)


class Command(Plugin):
    """Runs a program that prints a credential."""

    summary = "a program of yours gets the credential and prints it, as PKCS#12 or PEM"
    options = Options
    secrets = ("password", "passphrase")

    def check(self, options: Any) -> Iterable[str]:
        """Whether there is a program."""
        program = options.command[0]
        if not (Path(program).is_file() and os.access(program, os.X_OK)):
            yield f"{program} is no program that the station can run; correct the path, or say 'chmod +x {program}'"

    async def fetch(self, case: Case, now: datetime, tan: Secret[str] | None = None) -> Answer | Refusal:  # noqa: ARG002
        """Run it once. Raises OperatorError where a secret is missing, or no process can be made."""
        options = case.options
        password = await case.secrets.get("password") if options.password else None
        passphrase = await case.secrets.get("passphrase") if options.passphrase else None
        ended = await run(
            self.house.reactor,
            options.command,
            environment=surrounding(self.house.home, **_known(case)),
            folder=self.house.home,
            seconds=options.seconds,
            most=MAX_OCTETS + _LONGEST_LINE,
            given=_lines(password=password, tan=tan),
        )
        content, printed = _taken(ended.out.reveal())
        if ended.code == 0 and content:
            known = Secret(passphrase.reveal().encode()) if passphrase else None
            return Answer(content=Secret(content), passphrase=printed or known)
        return _refused(ended, options, said(ended, [password, passphrase, tan, printed]))


def _refused(ended: Ended, options: Options, text: str) -> Refusal:
    program = Path(options.command[0]).name
    code = "" if ended.code is None else f"exit {ended.code}"
    if ended.code == 0:
        return Refusal(
            verdict=Verdict.FATAL,
            code=code,
            text=f"{program} printed nothing",
            advice="let it end with 10 where there is no credential yet",
        )
    # What hangs once may answer the next time; what floods or crashes wants to be looked at.
    usual = Verdict.RETRY if ended.too_late else Verdict.FATAL
    verdict = usual if ended.code is None else VERDICTS.get(ended.code, usual)
    what = f"{program} {how(ended, options.seconds)}"
    known = ended.code in VERDICTS
    return Refusal(
        verdict=verdict,
        code=code,
        text=text if known and text else f"{what}: {text}" if text else what,
        advice="" if known or ended.too_late else f"run {program} by hand as the user of the station, and correct it",
    )


def _taken(out: bytes) -> tuple[bytes, Secret[bytes] | None]:
    """What was printed, apart from the line with its passphrase."""
    if not out.startswith(_PASSPHRASE):
        return out, None
    line, _, rest = out.partition(b"\n")
    return rest, Secret(line.removeprefix(_PASSPHRASE).removesuffix(b"\r"))


def _lines(**secrets: Secret[str] | None) -> bytes:
    return "".join(f"{name}: {secret.reveal()}\n" for name, secret in secrets.items() if secret is not None).encode()


def _known(case: Case) -> dict[str, str]:
    current = case.current
    return {
        "OFTP2D_SET": case.name,
        "OFTP2D_FINGERPRINT": current.fingerprint if current else "",
        "OFTP2D_SERIAL": f"{current.certificate.serial_number:x}" if current else "",
        "OFTP2D_SUBJECT": str(current.facts.subject) if current else "",
        "OFTP2D_VALID_UNTIL": f"{current.valid_until:%Y-%m-%dT%H:%M:%SZ}" if current else "",
    }
