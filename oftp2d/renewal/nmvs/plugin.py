"""The plugin: what a profile says of an interface and an account of a site, put together for each step (nmvs.md 8.2)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import ClassVar, Final

from oftp2d.errors import OperatorError
from oftp2d.renewal.interface import Answer, Case, Fetched, House, Plugin, Refusal, SourceRefusedError, Trial, Verdict
from oftp2d.renewal.material import Container, Material
from oftp2d.renewal.nmvs import answer as answers
from oftp2d.renewal.nmvs import passwords
from oftp2d.renewal.nmvs.account import PASSPHRASE, PASSWORD, PROXY_PASSWORD, Account, new_transaction
from oftp2d.renewal.nmvs.answer import RefusedError, Said
from oftp2d.renewal.nmvs.calls import Caller, CallError, Line
from oftp2d.renewal.nmvs.contract import Contract, Message, ProfileError, Profiles, shipped
from oftp2d.renewal.nmvs.markup import MarkupError
from oftp2d.renewal.nmvs.profile import PassphraseFrom, TanMode
from oftp2d.renewal.nmvs.reply import NoReplyError, Reply
from oftp2d.renewal.rules import Demands
from oftp2d.renewal.timetable import Blocked, NotDue, Plan, Terms
from oftp2d.vault import Secret

CLIENT_AUTH: Final = "1.3.6.1.5.5.7.3.2"
CLOCK_MARGIN: Final = timedelta(minutes=5)
"""A certificate that ends within it is taken for ended: the server's clock may be ahead."""

_REFUSALS: Final = frozenset({Verdict.AUTH_FAILED, Verdict.LOCKED, Verdict.FATAL})
"""What says that a new password was not taken."""
_BY_TAN: Final = (
    "ask the help desk of your national medicines verification organisation for a TAN, then 'oftp2d renew run {name} --tan'; or"
    " bring a certificate that you have with 'oftp2d renew import {name}'"
)


class Nmvs(Plugin):
    """Certificates of a national medicines verification system."""

    summary: ClassVar[str] = "a national medicines verification system (NMVS, Arvato), by a profile of its interface"
    options = Account
    secrets: ClassVar[tuple[str, ...]] = (PASSWORD, PASSPHRASE, PROXY_PASSWORD)
    demands: ClassVar[Demands] = Demands(extended_usages=(CLIENT_AUTH,), chain=True)

    def __init__(self, house: House) -> None:
        super().__init__(house)
        self._profiles = Profiles(house.home)
        self._caller = Caller(house)

    def usual(self, options: Account) -> Terms:
        """The numbers of the profile; those of the house where it cannot be read, which ``check`` tells."""
        try:
            return self._profiles.contract(options.profile).profile.terms
        except OperatorError:
            return self.terms

    def check(self, options: Account) -> Iterable[str]:
        """Faults of the profile, and what of the account does not fit it."""
        try:
            contract = self._profiles.contract(options.profile)
        except ProfileError as error:
            return [f"{error.path}: {fault}" for fault in error.faults]
        except OperatorError as error:
            return [str(error)]
        return list(_misfits(contract, options))

    def profile(self) -> str:
        """The shipped profile, to be compared with FD-002 line by line."""
        return shipped()

    async def plan(self, case: Case, now: datetime) -> Plan:
        """As usual while there is a certificate to show; otherwise only a TAN helps."""
        advice = _BY_TAN.format(name=case.name)
        if case.current is None:
            return Blocked("there is no certificate yet", advice)
        if _has_ended(case.current, now):
            return Blocked(
                f"the certificate ended on {case.current.valid_until:%Y-%m-%d}, so it cannot renew itself", advice
            )
        if (await self._contract(case)).profile.request.tan_mode is TanMode.TAN:
            found = await super().plan(case, now)
            return (
                found if isinstance(found, NotDue) else Blocked("the profile wants a TAN each time (tan_mode)", advice)
            )
        return await super().plan(case, now)

    async def fetch(self, case: Case, now: datetime, tan: Secret[str] | None = None) -> Answer | Refusal:
        """Ask for a new certificate: with the one in use, or with a TAN and without a certificate."""
        contract = await self._contract(case)
        identity = None if tan else case.current
        message = contract.tan if tan else contract.renew
        if message is None:
            raise OperatorError("the profile has no address for a TAN", "write tan.url into the profile")
        if tan is None and (identity is None or _has_ended(identity, now)):
            advice = _BY_TAN.format(name=case.name)
            return Refusal(verdict=Verdict.FATAL, text="there is no valid certificate to ask with", advice=advice)
        if (await case.secrets.held(PASSWORD)).proposed_at is not None:
            return _named(case, passwords.unsettled())
        sent = tan.reveal() if tan else _instead_of_tan(contract)
        transaction = new_transaction(contract.profile.request.client_trx_id_length)
        try:
            reply = await self._post(contract, message, case, identity, transaction, tan=sent)
        except CallError as error:
            return _named(case, error.refusal, transaction)
        return Answer(
            content=Secret(reply.kept()),
            # Not always the passphrase of what came, but what reading it may need: it is kept nowhere else.
            passphrase=Secret(sent.encode()) if sent else None,
            transaction=transaction,
        )

    async def read(self, case: Case, answer: Answer, now: datetime) -> Fetched | Refusal:  # noqa: ARG002
        """What the answer says."""
        contract = await self._contract(case)
        tan = answer.passphrase
        try:
            reply = Reply.of(answer.content.reveal())
            secrets = [await self._password_or_nothing(case), tan.reveal().decode("utf-8", "replace") if tan else ""]
            said = await self.house.workers.crypto(
                answers.understood, contract, contract.renew.response, reply, secrets
            )
            said = replace(said, transaction=said.transaction or answer.transaction)
            if said.verdict is not Verdict.FETCHED:
                refusal = _named(case, answers.brings_nothing(contract, said))
                return _of_tan(case, refusal) if _is_tan(contract, tan) else refusal
            agreed = None
            if contract.profile.response.passphrase_from is PassphraseFrom.SECRET and case.options.passphrase:
                agreed = await case.secrets.get(PASSPHRASE)
            found = await self.house.workers.crypto(answers.certificate, contract, said, tan, agreed)
        except NoReplyError:
            return Refusal(verdict=Verdict.FATAL, text="what is kept is no answer", transaction=answer.transaction)
        except RefusedError as error:
            return _named(case, error.refusal, answer.transaction)
        return Fetched(
            container=Container(content=found.content, passphrase=found.passphrase),
            code=said.code,
            transaction=said.transaction,
            notifications=said.notifications,
        )

    async def probe(self, case: Case, new: Material, now: datetime) -> Trial:  # noqa: ARG002
        """A ping with the new certificate: no login goes along, so it can lock nothing."""
        contract = await self._contract(case)
        if contract.probe is None:
            return Trial(ok=None, text="the profile has no address to try it at (probe.url)")
        try:
            reply = await self._post(contract, contract.probe, case, new, new_transaction(16))
            await self.house.workers.crypto(answers.answered, contract, contract.probe.response, reply)
        except (CallError, RefusedError) as error:
            refusal = _named(case, error.refusal)
            return Trial(ok=False, text=refusal.text, advice=refusal.advice)
        return Trial(ok=True, text="the server answered a ping with it")

    async def activate(self, case: Case, new: Material, now: datetime) -> str:  # noqa: ARG002
        """Confirm the installation, where the profile says that this is done."""
        contract = await self._contract(case)
        if contract.confirm is None:
            return ""
        if (await case.secrets.held(PASSWORD)).proposed_at is not None:
            raise SourceRefusedError(_named(case, passwords.unsettled()))
        transaction = new_transaction(contract.profile.request.client_trx_id_length)
        try:
            said = await self._said(contract, contract.confirm, case, new, transaction)
        except (CallError, RefusedError) as error:
            raise _unconfirmed("could not be confirmed", _named(case, error.refusal, transaction)) from None
        if said.verdict not in {Verdict.FETCHED, Verdict.ALREADY}:
            raise _unconfirmed(f"was not confirmed ({said.code})", _named(case, said.refusal, transaction))
        return f"its installation was confirmed ({said.code}, transaction {said.transaction})"

    async def tend(self, case: Case, now: datetime) -> Refusal | None:
        """Change the password before it ends, where the account wants that."""
        if not case.options.password_rotation:
            return None
        held = await case.secrets.held(PASSWORD)
        if held.proposed_at is not None:
            return _named(case, passwords.unsettled())
        contract = await self._contract(case)
        if contract.password is None or case.current is None or _has_ended(case.current, now):
            return None
        if not passwords.is_due(contract.profile.password, held, now):
            return None
        return await self._changed(contract, contract.password, case, case.current)

    async def status(self, case: Case, now: datetime) -> Mapping[str, str]:  # noqa: ARG002
        """The profile, and where it leads."""
        contract = await self._contract(case)
        profile = contract.profile
        return {
            "profile": f"{contract.name} ({profile.description})" if profile.description else contract.name,
            "verified": "yes" if profile.verified else "no, so only this machine itself is called",
            "hosts": ", ".join(profile.hosts),
            "login": f"{case.options.client_login_id}/{case.options.user_id}",
            "password rotation": "on" if case.options.password_rotation else "off",
        }

    # --- the change of a password ---------------------------------------------------------------------------------------

    async def _changed(self, contract: Contract, message: Message, case: Case, identity: Material) -> Refusal | None:
        new = passwords.made(contract.profile.password)
        transaction = new_transaction(contract.profile.request.client_trx_id_length)
        await case.secrets.propose(PASSWORD, new)
        try:
            said = await self._said(contract, message, case, identity, transaction, new_password=new)
        except OperatorError:
            await case.secrets.settle(PASSWORD, accepted=False)
            raise
        except CallError as error:
            if error.sent:
                return _named(case, passwords.unsettled(), transaction)
            await case.secrets.settle(PASSWORD, accepted=False)
            return _named(case, error.refusal, transaction)
        except RefusedError:
            # Whatever that was, it does not say that nothing was changed.
            return _named(case, passwords.unsettled(), transaction)
        if said.verdict is not Verdict.FETCHED and not (said.known and said.verdict in _REFUSALS):
            # The server broke off somewhere, perhaps behind the change; or it says what nobody here knows.
            return _named(case, passwords.unsettled(), said.transaction or transaction)
        await case.secrets.settle(PASSWORD, accepted=said.verdict is Verdict.FETCHED)
        return None if said.verdict is Verdict.FETCHED else _named(case, said.refusal, transaction)

    # --- calls ----------------------------------------------------------------------------------------------------------

    async def _contract(self, case: Case) -> Contract:
        return await self.house.workers.disk(self._profiles.contract, case.options.profile)

    async def _said(
        self,
        contract: Contract,
        message: Message,
        case: Case,
        identity: Material,
        transaction: str,
        *,
        new_password: Secret[str] | None = None,
    ) -> Said:
        reply = await self._post(contract, message, case, identity, transaction, new_password=new_password)
        secrets = [await self._password_or_nothing(case), new_password.reveal() if new_password else ""]
        return await self.house.workers.crypto(answers.understood, contract, message.response, reply, secrets)

    async def _post(
        self,
        contract: Contract,
        message: Message,
        case: Case,
        identity: Material | None,
        transaction: str,
        *,
        tan: str | None = None,
        new_password: Secret[str] | None = None,
    ) -> Reply:
        account: Account = case.options
        values = account.values(message.operation)
        values |= {
            "client_trx_id": transaction,
            "tan": tan,
            "new_password": new_password.reveal() if new_password else None,
        }
        if "password" in message.layout.names:
            values["password"] = (await case.secrets.get(PASSWORD)).reveal()
        login = (account.proxy_user, await case.secrets.get(PROXY_PASSWORD)) if account.proxy_user else None
        line = Line(tls=contract.profile.tls, limits=contract.profile.limits, proxy_login=login)
        return await self._caller.post(message, _written(message, values), line, identity)

    async def _password_or_nothing(self, case: Case) -> str:
        """The password, so that no text of the server is shown in which it is repeated."""
        try:
            return (await case.secrets.get(PASSWORD)).reveal()
        except OperatorError:
            return ""


def _named(case: Case, refusal: Refusal, transaction: str = "") -> Refusal:
    """A refusal whose advice names the credential set, with the number of the call where the server gave none."""
    advice = refusal.advice.replace("{name}", case.name)
    return replace(refusal, advice=advice, transaction=refusal.transaction or transaction)


def _unconfirmed(what: str, refusal: Refusal) -> SourceRefusedError:
    return SourceRefusedError(replace(refusal, text=f"its installation {what}: {refusal.text}"))


def _misfits(contract: Contract, account: Account) -> Iterable[str]:
    profile = contract.profile
    for name, value in account.values("").items():
        if fault := _too_long(contract.renew, name, value):
            yield fault
    if profile.response.passphrase_from is PassphraseFrom.SECRET and not account.passphrase:
        yield 'the profile says passphrase_from = "secret": write where the passphrase is, such as passphrase = "store"'
    if account.password_rotation and contract.password is None:
        yield "password_rotation needs the address in [password] of the profile: write it, or password_rotation = false"


def _written(message: Message, values: Mapping[str, str | None]) -> bytes:
    for name, value in values.items():
        if fault := _too_long(message, name, value):
            raise OperatorError(fault, "compare it with what you were given")
    try:
        return message.layout.filled(values)
    except MarkupError as error:
        raise OperatorError(f"the request cannot be written: {error}", "correct that value") from None


def _too_long(message: Message, name: str, value: str | None) -> str:
    longest = message.longest.get(name)
    if longest is None or value is None or len(value) <= longest:
        return ""
    return f"{name} has {len(value)} characters, and the profile allows {longest}"


def _is_tan(contract: Contract, sent: Secret[bytes] | None) -> bool:
    """Whether what was sent in the place of a TAN was one."""
    request = contract.profile.request
    fixed = request.tan if request.tan_mode is TanMode.FIXED else None
    return sent is not None and sent.reveal().decode("utf-8", "replace") != fixed


def _of_tan(case: Case, refusal: Refusal) -> Refusal:
    """Where the login was refused with a TAN it may be the TAN that is wrong: the server does not say."""
    if refusal.verdict is not Verdict.AUTH_FAILED:
        return refusal
    by_tan = f"or it was the TAN: say 'oftp2d renew unblock {case.name}' before you give another one"
    return replace(refusal, advice=f"{refusal.advice}; {by_tan}" if refusal.advice else by_tan)


def _instead_of_tan(contract: Contract) -> str | None:
    match contract.profile.request.tan_mode:
        case TanMode.EMPTY:
            return ""
        case TanMode.FIXED:
            return contract.profile.request.tan
        case TanMode.TAN:
            raise OperatorError(
                "the profile says that each fetch needs a TAN (tan_mode)", "give one with 'oftp2d renew run NAME --tan'"
            )
    return None


def _has_ended(material: Material, now: datetime) -> bool:
    return material.valid_until <= now + CLOCK_MARGIN
