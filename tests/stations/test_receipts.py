"""Signed end responses: those of a partner that answers rightly or wrongly, and what becomes of the file; ours; evidence."""

from __future__ import annotations

import io
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

import pytest

from oftp2 import commands as c
from oftp2.certs.facts import CertificateFacts
from oftp2.certs.usages import Usage
from oftp2.cms import receipts
from oftp2.cms.attached import content_of
from oftp2.cms.suites import SUITES
from oftp2.reasons import NegativeResponseReason
from oftp2.values import Level
from oftp2d.certificates import Certificates
from oftp2d.evidence import Verification, verify_evidence
from oftp2d.ledger import AcxMode, Direction, Holder, Kind, NewOutgoing, ReceiptKind, TransferState
from oftp2d.spool import Spool
from oftp2d.vault import Vault
from tests import pki
from tests.signatures import detached
from tests.stations.house import House, Station, noise, wait_for
from tests.stations.peer import Peer, Talk, eerp

ASKED: Final = 6
"""The cipher suite under which signed end responses are asked for."""

CONTENT: Final = noise(100_000, 4)

S = TransferState
Answer = Callable[[c.Sfid, bytes], c.EndResponse]
"""What a partner says to a file."""


def signed(response: c.EndResponse, by: str = "CB01", *, suite: int = ASKED, certificates: bool = False) -> bytes:
    """A signature by the key of a certificate of the test PKI."""
    issued = pki.certificate(by)
    signer = issued.signer
    return receipts.sign(response, [signer], SUITES[suite], at=datetime.now(UTC), certificates=certificates)


def hashed(response: c.EndResponse, content: bytes, suite: int = ASKED) -> c.EndResponse:
    digest = SUITES[suite].new_hash()
    digest.update(content)
    return replace(response, hash=digest.digest())


def right(sfid: c.Sfid, content: bytes, **how: Any) -> c.EndResponse:
    """As it should be."""
    response = hashed(eerp(sfid), content, how.get("suite", ASKED))
    return replace(response, signature=signed(response, **how))


def refusal(sfid: c.Sfid) -> c.Nerp:
    return c.Nerp(
        dataset=sfid.dataset,
        date=sfid.date,
        time=sfid.time,
        destination=sfid.originator,
        originator=sfid.destination,
        creator=sfid.destination,
        reason=NegativeResponseReason.PROCESSING_FAILED,
        text="no such article",
    )


def refused(sfid: c.Sfid, content: bytes) -> c.EndResponse:
    response = hashed(refusal(sfid), content)
    return replace(response, signature=signed(response))


def nameless(sfid: c.Sfid, content: bytes) -> c.EndResponse:
    """A refusal that leaves blank who made it, signed so."""
    response = hashed(replace(refusal(sfid), creator=""), content)
    return replace(response, signature=signed(response))


def streamed(sfid: c.Sfid, content: bytes) -> c.EndResponse:
    """BER with indefinite lengths, and with the certificate, as openssl writes it."""
    response = hashed(eerp(sfid), content)
    issued = pki.certificate("CB01")
    made = _openssl(issued.key_pem + issued.pem, receipts.signed_content(response))
    assert made[1] == 0x80
    return replace(response, signature=made)


def _openssl(signer: bytes, content: bytes) -> bytes:
    with tempfile.NamedTemporaryFile(suffix=".pem") as file:
        file.write(signer)
        file.flush()
        command = ["openssl", "cms", "-sign", "-binary", "-nodetach", "-stream", "-md", "sha512", "-outform", "DER"]
        return subprocess.run([*command, "-signer", file.name], input=content, capture_output=True, check=True).stdout


def bare(sfid: c.Sfid, content: bytes) -> c.EndResponse:
    """Without what is signed inside."""
    response = right(sfid, content)
    return replace(response, signature=detached(response.signature))


def altered(sfid: c.Sfid, content: bytes) -> c.EndResponse:
    """Signed for another file."""
    other = right(replace(sfid, dataset="ANOTHER"), content)
    return replace(hashed(eerp(sfid), content), signature=other.signature)


def other_file(sfid: c.Sfid, content: bytes) -> c.EndResponse:
    """Signed, over what we did not send."""
    return right(sfid, content + b"x")


def hash_exchanged(sfid: c.Sfid, content: bytes) -> c.EndResponse:
    """Signed over what we did not send, with the hash of what we did."""
    return replace(hashed(eerp(sfid), content), signature=other_file(sfid, content).signature)


def plain(sfid: c.Sfid, content: bytes) -> c.EndResponse:
    return eerp(sfid)


def nonsense(sfid: c.Sfid, content: bytes) -> c.EndResponse:
    return replace(hashed(eerp(sfid), content), signature=b"0\x80" * 20_000)


def own_hash(sfid: c.Sfid, content: bytes) -> c.EndResponse:
    """A digest of its own, and that a weaker one."""
    return right(sfid, content, suite=4)


def introduce(station: Station, peer: Peer, *, certificate: str | None = "CB01", **more: Any) -> None:
    """Let a station know the peer, and the certificate with which it signs."""
    peer.introduce(station, **more)
    if certificate is not None:
        station.hold(peer.code, pki.certificate(certificate))


def queue(station: Station, peer: Peer, datasets: Mapping[str, object], *, suite: int = ASKED) -> dict[str, str]:
    """Files for which a signed end response is asked, ready to go; without a suite, none is asked for."""
    queued = {}
    spool = Spool(station.home / "spool")
    with station.ledger() as ledger:
        partner = ledger.partners.by_code(peer.code)
        assert partner is not None
        for dataset in datasets:
            content = f"the content of {dataset}".encode("ascii")
            staged = spool.stage(io.BytesIO(content))
            new = NewOutgoing(
                kind=Kind.FILE,
                partner_id=partner.id,
                dataset=dataset,
                originator=station.code,
                destination=peer.code,
                octets=staged.octets,
                spool_name=staged.name,
                sha256=staged.sha256,
                cipher=suite,
                signed_response=bool(suite),
            )
            now = datetime.now(UTC)
            transfer = ledger.transfers.queue(new, now)
            if suite:
                digest = SUITES[suite].new_hash()
                digest.update(content)
                ledger.transfers.secured(
                    transfer.id,
                    now,
                    octets=staged.octets,
                    spool_name=staged.name,
                    virtual_hash=digest.digest(),
                )
            queued[dataset] = transfer.id
    return queued


@contextmanager
def answering(station: Station, peer: Peer, answers: Mapping[str, Answer]) -> Iterator[Talk]:
    """Fetch all that is queued, and answer each file; each answer gets its RTR, whatever it is worth."""
    with peer.call(station) as talk:
        talk.say(c.Cd())
        came = {}
        for _ in answers:
            sfid, content = talk.receive()
            came[sfid.dataset] = (sfid, content)
            talk.say(c.Efpa())
        talk.hear(c.Cd)
        for dataset, answer in answers.items():
            talk.say(answer(*came[dataset]))
            talk.hear(c.Rtr)
        yield talk
        talk.leave()


def states(station: Station) -> dict[str, TransferState]:
    return {each.dataset: each.state for each in station.stored(Direction.OUT)}


def look(station: Station, transfer: str, content: bytes | None = None) -> Verification:
    """What the evidence file of a transfer proves, with the authorities of the test PKI as those to trust."""
    document = station.get(f"/v1/transfers/{transfer}/evidence")
    found = verify_evidence(
        document["evidence"].encode("utf-8"),
        virtual_file=None if content is None else io.BytesIO(content),
        anchors=[CertificateFacts.of(pki.issuing(hierarchy).der) for hierarchy in ("A", "B")],
    )
    assert found.signed["File"] == document["dataset"]
    return found


@pytest.fixture
def peer() -> Iterator[Peer]:
    with Peer() as peer:
        yield peer


@pytest.mark.rfc("5.3.13", "5.3.14")
@pytest.mark.interop(4)
def test_what_a_partner_has_rightly_signed_counts_and_is_kept_as_evidence(house: House, peer: Peer) -> None:
    station = house.station()
    introduce(station, peer)
    answers: dict[str, Answer] = {
        "RIGHT": right,
        "CERTIFICATE": lambda sfid, content: right(sfid, content, certificates=True),
        "STREAMED": streamed,
        "DETACHED": bare,
        "REFUSED": refused,
        "NAMELESS": nameless,
    }
    queued = queue(station, peer, answers)
    station.start()
    with answering(station, peer, answers):
        pass
    refusals = {"REFUSED": S.REFUSED, "NAMELESS": S.REFUSED}
    assert states(station) == dict.fromkeys(answers, S.ACKNOWLEDGED) | refusals
    for dataset, transfer in queued.items():
        assert look(station, transfer, f"the content of {dataset}".encode("ascii")).ok, dataset
    station.line("EERP received for RIGHT", "signed by serialNumber=")
    station.line("NERP received for REFUSED", "signed by serialNumber=", "no such article")
    # What is signed is in each of the files, even where it came without; the ledger has it as it came.
    with station.ledger() as ledger:
        kept = ledger.evidence.get(queued["DETACHED"])
    assert kept is not None
    assert kept.kind is ReceiptKind.EERP
    assert content_of(kept.signature) is None


@pytest.mark.rfc("5.3.13", "5.3.14")
def test_what_is_not_rightly_signed_changes_nothing_and_gets_rtr(house: House, peer: Peer) -> None:
    station = house.station()
    introduce(station, peer)
    wrong: dict[str, tuple[Answer, str]] = {
        "UNSIGNED": (plain, "it is not signed, which was asked for"),
        "UNSIGNED-NERP": (lambda sfid, _: refusal(sfid), "it is not signed, which was asked for"),
        "OTHER-FILE": (other_file, "its hash is that of another file"),
        "OTHER-HASH": (own_hash, "its hash is that of another file"),
        "HASH-EXCHANGED": (hash_exchanged, "the signature is over another EERPHSH"),
        "ALTERED": (altered, "the signature is over another EERPDSN"),
        "FOREIGN": (lambda sfid, content: right(sfid, content, by="CA01"), "whose certificate is not known here"),
        "NO-HASH": (lambda sfid, content: replace(right(sfid, content), hash=b""), "holds no hash of SHA-512"),
        "NONSENSE": (nonsense, "cannot be read"),
        "UNREQUESTED": (lambda sfid, _: replace(eerp(sfid), hash=bytes(64)), "its hash is that of another file"),
    }
    queued = queue(station, peer, wrong)
    station.start()
    answers = {dataset: answer for dataset, (answer, _) in wrong.items()}
    with answering(station, peer, answers):
        pass
    assert states(station) == dict.fromkeys(wrong, S.SENT)
    for dataset, (_, why) in wrong.items():
        line = station.line(f"for {dataset} does not count, transfer {queued[dataset]}", why)
        assert " error " in line
        assert why in str(station.transfer(queued[dataset])["text"])
    with station.ledger() as ledger:
        noted = {str(entry.detail["transfer"]) for entry in ledger.audit.list(event="end response not accepted")}
        assert noted == set(queued.values())
        assert not any(ledger.evidence.get(transfer) for transfer in queued.values())
    # It is never too late for the right one.
    stored = {each.dataset: each for each in station.stored(Direction.OUT)}
    with peer.call(station) as talk:
        for dataset, transfer in stored.items():
            sfid = c.Sfid(
                dataset=dataset,
                date=transfer.date,
                time=transfer.time,
                originator=station.code,
                destination=peer.code,
                size=1,
                original_size=1,
            )
            talk.say(right(sfid, f"the content of {dataset}".encode("ascii")))
            talk.hear(c.Rtr)
        talk.leave()
    assert states(station) == dict.fromkeys(wrong, S.ACKNOWLEDGED)
    assert not any(each.text for each in station.stored(Direction.OUT))


@pytest.mark.rfc("5.3.14")
def test_a_signed_refusal_of_what_was_never_sent_is_a_refusal_and_says_so(house: House, peer: Peer) -> None:
    station = house.station()
    introduce(station, peer)
    answers: dict[str, Answer] = {
        "DAMAGED": lambda sfid, content: refused(sfid, content + b"x"),
        "EXCHANGED": lambda sfid, content: replace(
            refused(sfid, content + b"x"), signature=refused(sfid, content).signature
        ),
        "UNSIGNED": lambda sfid, content: hashed(refusal(sfid), content + b"x"),
        "EERP": other_file,
    }
    queued = queue(station, peer, answers)
    station.start()
    with answering(station, peer, answers):
        pass
    assert states(station) == dict.fromkeys(answers, S.SENT) | {"DAMAGED": S.REFUSED}
    line = station.line(
        "the NERP for DAMAGED is signed for another hash",
        "what arrived at the partner is another content than was sent",
        f"'oftp2d transfer retry {queued['DAMAGED']}'",
    )
    assert " error " in line
    told = str(station.transfer(queued["DAMAGED"])["text"])
    assert told.startswith(
        "no such article; what arrived at the partner is another content than was sent; send it again"
    )
    assert station.transfer(queued["DAMAGED"])["summary"].count("transfer retry") == 1
    unproven = "; what it says is not proven: NERP 34, no such article; "
    assert unproven in station.line("the NERP for EXCHANGED does not count")
    assert unproven in str(station.transfer(queued["UNSIGNED"])["text"])
    assert "not proven" not in str(station.transfer(queued["EERP"])["text"])
    # It is evidence, of what arrived.
    assert look(station, queued["DAMAGED"]).ok
    assert look(station, queued["DAMAGED"], b"the content of DAMAGEDx").ok
    assert not look(station, queued["DAMAGED"], b"the content of DAMAGED").ok


def test_a_signature_nobody_asked_for_counts_if_it_is_right_or_cannot_be_told(house: House, peer: Peer) -> None:
    station = house.station()
    introduce(station, peer)
    answers: dict[str, Answer] = {
        "PLAIN": plain,
        "SIGNED": right,
        "SIGNED-OTHERWISE": own_hash,
        "HASHED": lambda sfid, content: hashed(eerp(sfid), content),
        "FOREIGN": lambda sfid, content: right(sfid, content, by="CA01"),
        "ALTERED": altered,
    }
    queued = queue(station, peer, answers, suite=0)
    station.start()
    with answering(station, peer, answers):
        pass
    expected = dict.fromkeys(answers, S.ACKNOWLEDGED) | {"FOREIGN": S.SENT, "ALTERED": S.SENT}
    assert states(station) == expected
    assert look(station, queued["SIGNED"], b"the content of SIGNED").ok
    assert look(station, queued["SIGNED-OTHERWISE"], b"the content of SIGNED-OTHERWISE").ok


def test_without_a_certificate_a_signature_counts_only_where_none_was_asked_for(house: House, peer: Peer) -> None:
    station = house.station()
    introduce(station, peer, certificate=None)
    asked = queue(station, peer, {"ASKED": right})
    queue(station, peer, {"FREE": right}, suite=0)
    station.start()
    with answering(station, peer, {"ASKED": right, "FREE": right}):
        pass
    assert states(station) == {"ASKED": S.SENT, "FREE": S.ACKNOWLEDGED}
    line = station.line("EERP for FREE counts as unsigned", f"no certificate of {peer.code} can verify its signature")
    assert " info " in line
    station.line(
        "EERP for ASKED does not count",
        "there is no certificate at all",
        f"'oftp2d cert import FILE --partner {peer.code}'",
    )
    assert asked


@pytest.mark.parametrize(
    ("before", "brought"),
    [(None, "import"), ("CA01", "import"), (None, "exchange")],
    ids=["none", "another", "exchange"],
)
def test_what_waited_for_a_certificate_counts_once_that_is_there(
    house: House, peer: Peer, before: str | None, brought: str
) -> None:
    """With none before nothing can be told of it; with another one only that it is not by that."""
    station = house.station()
    introduce(station, peer, certificate=before, acx=AcxMode.TRUSTED)
    answers: dict[str, Answer] = {
        "RIGHT": right,
        "REFUSED": refused,
        "NAMELESS": nameless,
        "OTHER-CONTENT": lambda sfid, content: refused(sfid, content + b"x"),
        "FOREIGN": lambda sfid, content: right(sfid, content, by="CA02"),
        "OTHER-FILE": other_file,
    }
    queued = queue(station, peer, answers)
    station.start()
    with answering(station, peer, answers):
        pass
    assert states(station) == dict.fromkeys(answers, S.SENT)
    if brought == "import":
        station.post("/v1/certificates", holder="partner", partner=peer.code, pem=pki.pem("CB01").decode("ascii"))
    else:
        content = pki.certificate("CB01").der
        with peer.call(station) as talk:
            assert isinstance(
                answered(talk, peer.sfid(station, "ODETTE_CERTIFICATE_DELIVER", content), content), c.Eerp
            )
    expected = {"RIGHT": S.ACKNOWLEDGED} | dict.fromkeys(("REFUSED", "NAMELESS", "OTHER-CONTENT"), S.REFUSED)
    assert states(station) == dict.fromkeys(answers, S.SENT) | expected
    for dataset in ("RIGHT", "REFUSED", "NAMELESS"):
        assert look(station, queued[dataset], f"the content of {dataset}".encode("ascii")).ok
        station.line(f"for {dataset} that did not count before counts now", "signed by serialNumber=")
    told = station.transfer(queued["OTHER-CONTENT"])
    assert (told["reason"], told["text"][:50]) == ("NERP 34", "no such article; what arrived at the partner is an")
    assert station.transfer(queued["RIGHT"])["text"] is None
    kept = {each.spool_name for each in station.stored(Direction.OUT) if each.state is not S.ACKNOWLEDGED}
    assert {path.name for path in (station.home / "spool" / "outgoing").iterdir()} == kept
    with station.ledger() as ledger:
        partner = ledger.partners.by_code(peer.code)
        assert partner is not None
        held = [each.transfer_id for each in ledger.evidence.held(partner.id)]
    assert held == [queued["FOREIGN"]]


def test_what_the_settings_of_the_partner_allow_counts(house: House, peer: Peer) -> None:
    strict, mild = house.station("CA01"), house.station("CA02")
    introduce(strict, peer, least_rsa_bits=3072)
    introduce(mild, peer, unsigned_receipts=True)
    answers: dict[str, Answer] = {"UNSIGNED": plain, "RIGHT": right, "FALSE": altered}
    for station in (strict, mild):
        queue(station, peer, answers)
    house.start()
    for station in (strict, mild):
        with answering(station, peer, answers):
            pass
    assert states(strict) == dict.fromkeys(answers, S.SENT)
    strict.line("EERP for RIGHT does not count", "its key has 2048 bits, fewer than 3072")
    assert states(mild) == {"UNSIGNED": S.ACKNOWLEDGED, "RIGHT": S.ACKNOWLEDGED, "FALSE": S.SENT}
    assert " warn " in mild.line("EERP for UNSIGNED is not signed, which was asked for, and counts all the same")


# --- ours ------------------------------------------------------------------------------------------------------------


def answered(talk: Talk, sfid: c.Sfid, content: bytes) -> c.EndResponse:
    """Send a file and pass the turn; the end response for it."""
    assert isinstance(talk.send(sfid, content), c.Efpa)
    talk.say(c.Cd())
    response = talk.next()
    assert isinstance(response, c.Eerp | c.Nerp)
    talk.say(c.Rtr())
    return response


@pytest.mark.rfc("5.3.13", "5.3.14")
@pytest.mark.parametrize("acx", [AcxMode.TRUSTED, AcxMode.OFF])
def test_a_certificate_is_answered_signed_where_that_is_asked_for(house: House, peer: Peer, acx: AcxMode) -> None:
    station = house.station()
    peer.introduce(station, acx=acx, cipher_suite=6, signer_certificate=True)
    station.start()
    content = pki.certificate("CB01").der
    certificate = station.credential.certificate
    for number, cipher in enumerate((8, 0)):
        sfid = peer.sfid(station, "ODETTE_CERTIFICATE_DELIVER", content, signed_response=True, cipher=cipher)
        with peer.call(station) as talk:
            response = answered(talk, sfid, content)
        used = SUITES[cipher or 6]
        verified = receipts.verify(response, [certificate], used)
        assert isinstance(response, c.Eerp if acx is AcxMode.TRUSTED else c.Nerp)
        assert response.hash == hashed(response, content, used.number).hash
        assert response.identity == sfid.identity
        assert verified.content == receipts.signed_content(response)
        transfers = station.stored(Direction.IN)
        assert len(transfers) == number + 1
        assert look(station, transfers[-1].id, content).ok


def test_without_a_key_for_it_a_certificate_is_answered_unsigned_and_the_log_says_what_to_do(
    house: House, peer: Peer
) -> None:
    station = house.station()
    peer.introduce(station)
    with station.ledger() as ledger:
        (own,) = ledger.certificates.list(Holder.OWN)
        ledger.certificates.remove(own.id)
        store = Certificates(ledger, Vault.open(station.home / "master.key"))
        key, usages = station.credential.key, frozenset(Usage) - {Usage.EERP_SIGNATURE}
        store.adopt(key, station.credential.certificate, alias="station", now=datetime.now(UTC), usages=usages)
    station.start()
    content = pki.certificate("CB01").der
    sfid = peer.sfid(station, "ODETTE_CERTIFICATE_DELIVER", content, signed_response=True, cipher=4)
    with peer.call(station) as talk:
        response = answered(talk, sfid, content)
    assert not response.signature
    assert not response.hash
    station.line(" error ", "goes without the signature that was asked for", "oftp2d cert generate")


@pytest.mark.rfc("5.3.13", "5.3.14", "10.2")
def test_two_stations_prove_to_each_other_what_became_of_their_files(house: House) -> None:
    first, second = house.station("CA01"), house.station("CB01")
    settings: dict[str, Any] = {"signed_receipts": True, "cipher_suite": 2}
    first.know(second.code, port=second.tls_port, text_charset="iso8859-1", **settings)
    second.know(first.code, port=None, text_charset="ascii", signer_certificate=True, **settings)
    first.hold(second.code, pki.certificate("CB01"))
    second.hold(first.code, pki.certificate("CA01"))
    house.start()
    secured: dict[str, str | int] = {"sign": "true", "compress": "true", "encrypt": "true"}
    files: list[tuple[Station, Station, str, TransferState]] = []
    for suite in (2, 4, 6, 8):
        for how, name in (({}, "PLAIN"), (secured, "SECURED")):
            for sender, partner in ((first, second), (second, first)):
                transfer = sender.send(partner.code, CONTENT, f"{name}{suite}", suite=suite, **how)
                files.append((sender, partner, transfer, S.ACKNOWLEDGED))
        text = "stra\u00dfe".encode()
        transfer = first.send(second.code, text, f"TEXT{suite}", suite=suite, format="T")
        files.append((first, second, transfer, S.REFUSED))
    for sender, partner, transfer, end in files:
        sender.reaches(transfer, end)
        (sent,) = (each for each in sender.stored(Direction.OUT) if each.id == transfer)
        (came,) = partner.stored(Direction.IN, sent.dataset)
        assert sent.virtual_hash is not None
        theirs, ours = (look(*each) for each in ((sender, transfer), (partner, came.id)))
        assert theirs.ok
        assert ours.ok
        # Each holds the same proof.
        assert theirs.signed == ours.signed
        assert theirs.signed["Hash of the file"] == sent.virtual_hash.hex()
        assert theirs.signed["End response"].startswith("NERP" if end is S.REFUSED else "EERP")
        assert f"{sent.cipher:02} (" in theirs.noted["Cipher suite"]
    assert not first.lines(" error ")
    assert not second.lines(" error ")


def test_what_was_signed_waits_for_a_session_that_can_carry_it(house: House, peer: Peer) -> None:
    station = house.station()
    peer.introduce(station, acx=AcxMode.TRUSTED)
    queued = queue(station, peer, {"ORDERS": plain})
    station.start()
    content = pki.certificate("CB01").der
    sfid = peer.sfid(station, "ODETTE_CERTIFICATE_DELIVER", content, signed_response=True, cipher=4)
    with peer.call(station) as talk:
        talk.say(c.Cd())
        offered, _ = talk.receive()
        talk.say(c.Efpa())
        talk.hear(c.Cd)
        assert isinstance(talk.send(sfid, content), c.Efpa)
    (came,) = station.stored(Direction.IN)
    owed = wait_for("the end response to be owed", lambda: station.receipt(came.id), told=station.tail)
    assert owed.signature
    with peer.call(station, level=Level.REVISION_1_4) as talk:
        # Neither can what was asked of us be said at this level.
        talk.say(eerp(offered))
        talk.hear(c.Rtr)
        talk.say(c.Cd())
        talk.hear(c.Esid)
    station.line("EERP for ODETTE_CERTIFICATE_DELIVER waits for a session of a higher level")
    assert station.state(queued["ORDERS"]) is S.SENT
    with peer.call(station) as talk:
        talk.say(c.Cd())
        response = talk.hear(c.Eerp)
        talk.say(c.Rtr())
    assert (response.hash, response.signature) == (owed.hash, owed.signature)
