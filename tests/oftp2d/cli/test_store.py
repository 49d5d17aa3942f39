"""The certificate store from the command line: every form in and out, roll-overs, explanations, history, announcements."""

from __future__ import annotations

import shlex
import stat
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7, pkcs12

from oftp2d.cli.terminal import Exit
from oftp2d.ledger import (
    Conclusion,
    ExchangeMessage,
    ExchangeState,
    Kind,
    NewIncoming,
    NewReceipt,
    ReceiptKind,
    Transfer,
)
from oftp2d.metrics import Gauge
from tests import pki
from tests.oftp2d.cli.test_with_daemon import add_partner, good, seen
from tests.oftp2d.desk import OURS, THEIRS, Office, open_office

SECRET = "correct horse"


@pytest_twisted.async_yield_fixture
async def office(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Office]:
    for name, value in (
        ("HOME", str(tmp_path)),
        ("PASSWORD_OURS", ""),
        ("PASSWORD_THEIRS", ""),
        ("KEY_PASSPHRASE", SECRET),
    ):
        monkeypatch.setenv(f"OFTP2D_{name}", value)
    async with open_office(tmp_path) as opened:
        yield opened


async def bring(office: Office, folder: Path, content: bytes, *options: str) -> dict[str, Any]:
    """Import it from a file."""
    path = folder / "material"
    path.write_bytes(content)
    return await good(office, "cert", "import", str(path), *options)


async def refused(office: Office, *arguments: str) -> str:
    """What is said of a command that fails."""
    code, out, err = await office.run(*arguments)
    assert code != Exit.DONE
    return " ".join((out + err).split())


def bundle(*issued: pki.Issued) -> bytes:
    return pkcs7.serialize_certificates([each.certificate for each in issued], Encoding.DER)


def moment(days: float) -> str:
    return f"{datetime.now(UTC) + timedelta(days=days):%Y-%m-%dT%H:%M:%SZ}"


# --- in and out ----------------------------------------------------------------------------------------


@pytest_twisted.ensureDeferred
async def test_a_certificate_of_ours_comes_in_every_form_with_its_key(office: Office, tmp_path: Path) -> None:
    for index, form in enumerate(("pem", "encrypted", "p12")):
        made = pki.make(subject=f"CN=host{index}.test", issuer=pki.issuing("A"), station=OURS)
        content = {
            "pem": made.pem + made.key_pem,
            "encrypted": made.pem + made.encrypted_key_pem(SECRET.encode()),
            "p12": made.pkcs12(SECRET.encode()),
        }[form]
        document = await bring(office, tmp_path, content, "--own", "--alias", form)
        assert (document["private_key"], document["origin"], document["station"]) == (True, "imported", OURS)


@pytest_twisted.ensureDeferred
async def test_a_request_is_shown_again_and_answered_with_a_chain_in_pkcs7(office: Office, tmp_path: Path) -> None:
    made = ["--alias", "ours", "--csr", "--bits", "2048", "--host", "oftp.test", "--email", "edi@company.test"]
    await good(office, "cert", "generate", *made)
    shown = await seen(office, "cert", "request", "OURS")
    request = x509.load_pem_x509_csr(shown.encode())
    names = request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.RFC822Name) == ["edi@company.test"]
    assert names.get_values_for_type(x509.DNSName) == ["oftp.test"]
    await seen(office, "cert", "request", "ours", "-o", str(tmp_path / "again.csr"))
    assert (tmp_path / "again.csr").read_text().strip() == shown.strip()
    answer = pki.Issued(pki.sign_request(shown.encode(), issuer=pki.issuing("A")), pki.new_key())
    document = await bring(office, tmp_path, bundle(pki.root("A"), pki.issuing("A"), answer), "--own")
    assert (document["alias"], document["private_key"]) == ("ours", True)
    listed = (await good(office, "cert", "list", "--holder", "intermediate"))["certificates"]
    assert [each["holder"] for each in listed] == ["intermediate", "intermediate"]
    assert "no request is called" in await refused(office, "cert", "request", "ours")


@pytest_twisted.ensureDeferred
async def test_an_e_mail_address_that_is_none_is_refused(office: Office) -> None:
    for address in ("nobody", "a@b", "two words@company.test", "ä@company.test"):
        said = await refused(office, "cert", "generate", "--alias", "x", "--bits", "2048", "--email", address)
        assert "is no e-mail address" in said


@pytest_twisted.ensureDeferred
async def test_authorities_are_imported_for_all_for_one_partner_or_for_chains_alone(
    office: Office, tmp_path: Path
) -> None:
    await add_partner(office)
    await bring(office, tmp_path, pki.issuing("A").der, "--anchor", "--partner", THEIRS, "--alias", "private")
    document = await bring(office, tmp_path, pki.issuing("B").pem, "--intermediate", "--alias", "between")
    assert (document["holder"], document["partner"], document["alias"]) == ("intermediate", None, "between")
    (anchor,) = (await good(office, "cert", "list", "--holder", "anchor"))["certificates"]
    assert (anchor["alias"], anchor["partner"]) == ("private", THEIRS)
    path = tmp_path / "material"
    path.write_bytes(pki.certificate("CA01").pem)
    assert "is not the certificate of an authority" in await refused(
        office, "cert", "import", str(path), "--intermediate"
    )
    assert "is not the certificate of an authority" in await refused(office, "cert", "import", str(path), "--anchor")
    for whose in ([], ["--own", "--anchor"], ["--own", "--partner", THEIRS], ["--intermediate", "--partner", THEIRS]):
        assert "Say whose it is" in await refused(office, "cert", "import", str(path), *whose)


@pytest_twisted.ensureDeferred
async def test_an_anchor_of_all_and_the_same_one_of_a_partner_are_brought_and_removed_apart(
    office: Office, tmp_path: Path
) -> None:
    await add_partner(office)
    authority = pki.issuing("A")
    assert (await bring(office, tmp_path, authority.der, "--anchor", "--alias", "all"))["partner"] is None
    document = await bring(office, tmp_path, authority.der, "--anchor", "--partner", THEIRS, "--alias", "one")
    assert (document["alias"], document["partner"]) == ("one", THEIRS), (
        "what was imported is shown, not the other entry"
    )
    assert not (await good(office, "cert", "deactivate", "all"))["active"]
    anchors = (await good(office, "cert", "list", "--holder", "anchor"))["certificates"]
    assert {each["alias"]: each["active"] for each in anchors} == {"all": False, "one": True}
    await good(office, "cert", "remove", "all", "--yes")
    (left,) = (await good(office, "cert", "list", "--holder", "anchor"))["certificates"]
    assert left["alias"] == "one"


@pytest_twisted.ensureDeferred
async def test_no_two_of_ours_are_made_with_one_alias(office: Office) -> None:
    await good(office, "cert", "generate", "--alias", "next", "--bits", "2048", "--csr")
    for options in ([], ["--csr"]):
        assert "one of yours is called 'NEXT' already" in await refused(
            office, "cert", "generate", "--alias", "NEXT", "--bits", "2048", *options
        )


@pytest_twisted.ensureDeferred
async def test_a_certificate_goes_out_in_every_form_to_a_file_of_its_own(office: Office, tmp_path: Path) -> None:
    made = pki.make(subject="CN=oftp.test", issuer=pki.issuing("A"), station=OURS)
    await bring(office, tmp_path, made.pkcs12(SECRET.encode()), "--own", "--alias", "ours")
    await bring(office, tmp_path, pki.issuing("A").pem + pki.root("A").pem, "--anchor")
    chain = [made.certificate, pki.issuing("A").certificate, pki.root("A").certificate]
    files = {form: tmp_path / f"out.{form}" for form in ("pem", "der", "p7b", "p12")}
    for form, path in files.items():
        told = await seen(office, "cert", "export", "ours", "--form", form, "-o", str(path))
        assert "ours written to" in told
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert files["pem"].read_bytes() == made.pem
    assert files["der"].read_bytes() == made.der
    assert set(pkcs7.load_der_pkcs7_certificates(files["p7b"].read_bytes())) == set(chain)
    opened = pkcs12.load_pkcs12(files["p12"].read_bytes(), SECRET.encode())
    assert opened.key is not None
    assert opened.cert is not None
    assert [opened.cert.certificate, *(each.certificate for each in opened.additional_certs)] == chain
    assert opened.key.private_numbers() == made.key.private_numbers()  # type: ignore[union-attr]  # it is RSA
    await seen(office, "cert", "export", "ours", "--chain", "-o", str(tmp_path / "chain.pem"))
    assert x509.load_pem_x509_certificates((tmp_path / "chain.pem").read_bytes()) == chain
    (exported,) = [each for each in (await good(office, "audit"))["entries"] if each["event"] == "private key exported"]
    assert exported["detail"]["alias"] == "ours"


@pytest_twisted.ensureDeferred
async def test_what_can_not_be_exported_is_said_and_nothing_is_overwritten(
    office: Office, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await add_partner(office)
    await bring(office, tmp_path, pki.certificate("CA01").pem, "--partner", THEIRS, "--alias", "../theirs")
    monkeypatch.chdir(tmp_path)
    assert (await good(office, "cert", "export", "../theirs"))["path"] == str(tmp_path / "---theirs.pem")
    assert "is there already" in await refused(office, "cert", "export", "../theirs")
    assert "no private key of ../theirs here" in await refused(office, "cert", "export", "../theirs", "--form", "p12")
    assert "can't be written" in await refused(office, "cert", "export", "../theirs", "-o", str(tmp_path / "no" / "x"))
    made = pki.make(subject="CN=oftp.test", station=OURS)
    await bring(office, tmp_path, made.pkcs12(SECRET.encode()), "--own", "--alias", "ours")
    monkeypatch.setenv("OFTP2D_KEY_PASSPHRASE", "short")
    assert "too short for a private key" in await refused(office, "cert", "export", "ours", "--form", "p12")
    assert not (tmp_path / "ours.p12").exists()


# --- planning ------------------------------------------------------------------------------------------


async def roll(office: Office, folder: Path) -> tuple[pki.Issued, pki.Issued]:
    """Two certificates of ours that overlap by two weeks."""
    old = pki.make(subject="CN=oftp.test", station=OURS, days=(-300, 14))
    new = pki.make(subject="CN=oftp.test", station=OURS, days=(-1, 365))
    for issued, alias in ((old, "old"), (new, "new")):
        await bring(office, folder, issued.pkcs12(SECRET.encode()), "--own", "--alias", alias)
    return old, new


@pytest_twisted.ensureDeferred
async def test_a_successor_that_is_imported_is_told_to_the_house(office: Office, tmp_path: Path) -> None:
    await roll(office, tmp_path)
    assert office.house.successors == [("old", "new")]
    path = tmp_path / "material"
    again = (await office.run("cert", "import", str(path), "--own"))[2]
    assert "it follows old: partners need it" in again
    overlap = "the own certificate old and new may both be used from"
    assert overlap in again
    await good(office, "cert", "rollover", "old", "new")
    assert overlap not in (await office.run("cert", "import", str(path), "--own"))[2]


@pytest_twisted.ensureDeferred
async def test_a_rollover_is_planned_without_a_gap_and_explained_at_any_time(office: Office, tmp_path: Path) -> None:
    await add_partner(office)
    old, new = await roll(office, tmp_path)
    await good(office, "cert", "confirm", THEIRS, "old")
    at = moment(7)
    planned = await good(office, "cert", "rollover", "old", "new", "--at", at)
    assert (planned["from"], planned["to"], planned["not_confirmed_by"]) == (old.fingerprint, new.fingerprint, [THEIRS])
    assert planned["at"] == at.replace("Z", ".000Z")
    assert f"until {at[:10]}" in await seen(office, "cert", "show", "old")

    async def signer(at: str, *whose: str) -> list[str]:
        document = await good(office, "cert", "explain", *whose, "--for", "signature", "--at", at)
        return list(document["taken"])

    for whose in (["--station", OURS], ["--partner", THEIRS]):
        assert await signer(moment(6.99), *whose) == [old.fingerprint]
        assert await signer(moment(7.01), *whose) == [new.fingerprint]
    told = await seen(office, "cert", "explain", "--station", OURS, "--for", "eerp-signature", "--at", moment(7.01))
    assert "signed end response we send" in told
    assert "outside its timeslice" in told
    both = await good(office, "cert", "explain", "--for", "decryption", "--at", moment(8))
    assert set(both["taken"]) == {old.fingerprint, new.fingerprint}
    events = [each["event"] for each in (await good(office, "cert", "history", "new"))["entries"]]
    assert events == ["certificate roll-over planned", "certificate imported"]
    assert THEIRS in await seen(office, "cert", "rollover", "old", "new")
    assert "not inside of the overlap" in await refused(office, "cert", "rollover", "old", "new", "--at", moment(15))


@pytest_twisted.ensureDeferred
async def test_a_timeslice_is_set_and_cleared(office: Office, tmp_path: Path) -> None:
    await roll(office, tmp_path)
    until = moment(5)
    assert f"new is used until {until[:10]}" in await seen(office, "cert", "timeslice", "new", "--until", until)
    document = await good(office, "cert", "timeslice", "new", "--from", moment(1))
    assert document["slice_until"] == until.replace("Z", ".000Z")
    assert "would end before it begins" in await refused(office, "cert", "timeslice", "new", "--from", moment(6))
    assert "new is used as long as it is valid" in await seen(office, "cert", "timeslice", "new", "--clear")
    for wrong in ([], ["--clear", "--until", until]):
        assert "Give --from, --until or both, or --clear" in await refused(office, "cert", "timeslice", "new", *wrong)


@pytest.mark.parametrize(
    ("purpose", "taken"),
    [("encryption", True), ("verification", True), ("eerp-verification", True), ("challenge", True),
     ("tls-server", False), ("tls-client", False)],
)  # fmt: skip
@pytest_twisted.ensureDeferred
async def test_each_purpose_is_explained_by_the_certificates_of_whom_it_needs(
    office: Office, tmp_path: Path, purpose: str, taken: bool
) -> None:
    await add_partner(office)
    await bring(office, tmp_path, pki.certificate("CA01").pem, "--partner", THEIRS)
    document = await good(office, "cert", "explain", "--partner", THEIRS, "--for", purpose)
    assert (document["taken"] == [pki.certificate("CA01").fingerprint]) is taken
    assert taken or document["considered"] == []


@pytest_twisted.ensureDeferred
async def test_an_explanation_asks_for_what_it_needs(office: Office) -> None:
    assert "name the partner" in await refused(office, "cert", "explain", "--for", "encryption")
    assert "one of our stations, or a partner" in await refused(office, "cert", "explain", "--for", "signature")
    assert "there is no certificate at all" in await seen(office, "cert", "explain", "--for", "decryption")


@pytest_twisted.ensureDeferred
async def test_a_removed_certificate_keeps_its_history(office: Office, tmp_path: Path) -> None:
    old, _ = await roll(office, tmp_path)
    await good(office, "cert", "remove", "old", "--yes")
    assert "certificate removed" in await seen(office, "cert", "history", old.fingerprint)
    assert "no certificate is called" in await refused(office, "cert", "history", "old")


# --- announcements -------------------------------------------------------------------------------------


def refuse(office: Office, der: bytes) -> None:
    """A certificate that came and was refused, as the exchange leaves it."""
    ledger, now = office.ledger, datetime.now(UTC)
    partner = ledger.partners.by_code(THEIRS)
    assert partner is not None
    new = NewIncoming(
        kind=Kind.EXCHANGE,
        partner_id=partner.id,
        dataset="ODETTE_CERTIFICATE_DELIVER",
        date="20260102",
        time="0304050001",
        originator=THEIRS,
        destination=OURS,
    )
    opened = ledger.transfers.open_incoming(new, now, "session", timedelta(minutes=5))
    assert isinstance(opened, Transfer)
    ledger.transfers.received(opened.id, len(der), "0" * 64, "name", now)
    ledger.exchanges.conclude(
        Conclusion(
            transfer_id=opened.id,
            message=ExchangeMessage.DELIVER,
            state=ExchangeState.REFUSED,
            receipt=NewReceipt(kind=ReceiptKind.NERP, reason=99, text="not as announced"),
            fingerprint=pki.certificate("CA01").fingerprint,
            der=der,
        ),
        now,
    )


@pytest_twisted.ensureDeferred
async def test_what_was_announced_stands_beside_what_arrived_or_was_refused(office: Office) -> None:
    await add_partner(office)
    await good(office, "partner", "change", THEIRS, "--acx", "off")
    out = await seen(office, "cert", "announce", THEIRS, "--host", "other.test", "--key-usage", "digitalSignature")
    assert f"the exchange is off: 'oftp2d partner change {THEIRS} --acx announced'" in out
    await good(office, "partner", "change", THEIRS, "--acx", "announced")
    assert "is off" not in await seen(office, "cert", "announce", THEIRS, "--cn", "another.test")
    await good(office, "cert", "unannounce", "2")
    (announced,) = (await good(office, "cert", "announcements"))["announcements"]
    number = str(announced["id"])
    assert announced["host"] == "other.test"
    assert "other.test" in await seen(office, "cert", "announcements")
    assert "nothing has arrived yet" in await seen(office, "cert", "announcement", number)
    arrived = pki.certificate("CA01")
    refuse(office, arrived.der)
    document = await good(office, "cert", "announcement", number)
    assert (document["accepted"], document["arrived"]["fingerprint"]) == (False, arrived.fingerprint)
    parts = {each["name"]: (each["announced"], each["equal"]) for each in document["parts"]}
    assert parts["host name"] == ("other.test", False)
    assert parts["key usage"] == ("digitalSignature", True)
    assert "(anything)" in await seen(office, "cert", "announcement", number)
    assert "there is no announcement 99" in await refused(office, "cert", "announcement", "99")
    assert "Give --cn, --host or --subject" in await refused(office, "cert", "announce", THEIRS)


@pytest_twisted.ensureDeferred
async def test_the_numbers_for_monitoring_are_printed_as_they_are(office: Office) -> None:
    office.metrics.add(lambda _now: [Gauge(name="oftp2d_warnings", help="To look after", values={(): 2})])
    assert "\noftp2d_warnings 2.0\n" in await seen(office, "status", "--metrics")


# --- the document --------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest_twisted.ensureDeferred
async def test_every_command_of_the_document_about_certificates_does_what_it_says(
    office: Office, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    document = (Path(__file__).parents[3] / "docs" / "certificates.rst").read_text()
    document = document.replace("2027-03-01", moment(30)[:10])
    commands = [shlex.split(line.strip()[2:]) for line in document.splitlines() if line.strip().startswith("$ ")]
    partner = "O0013000002PARTNER"
    old = pki.make(subject="CN=oftp.acme.example", station=OURS, days=(-300, 60))
    files = {
        "odette-ca.pem": pki.issuing("A").pem,
        "private-ca.pem": pki.issuing("B").pem,
        "between.pem": pki.root("B").pem,
        "partner.cer": pki.certificate("CA01").der,
        "station.p12": pki.make(issuer=pki.issuing("A"), station=OURS).pkcs12(SECRET.encode()),
        "old.p12": old.pkcs12(SECRET.encode()),
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    await good(office, "partner", "add", partner)
    await good(office, "cert", "import", "old.p12", "--own", "--alias", "acme-2024")
    for command in commands:
        if command[-2:] == ["acme-2027.pem", "--own"]:
            answer = pki.sign_request((tmp_path / "acme-2027.csr").read_bytes(), issuer=pki.issuing("A"))
            (tmp_path / "acme-2027.pem").write_bytes(answer.public_bytes(Encoding.PEM))
        code, out, err = await office.run(*command[1:])
        assert code == Exit.DONE, f"{command}: {out}{err}"
    assert len(commands) > 25
