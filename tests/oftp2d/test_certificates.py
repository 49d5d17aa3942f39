"""The certificate store on a real ledger: own keys, partners, anchors, announcements."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from oftp2.certs import selection
from oftp2.certs.acceptance import Assurance, Message, Mode, Verdict, judge
from oftp2.certs.clid import Clid
from oftp2.certs.facts import CertificateFacts
from oftp2.certs.matching import Place
from oftp2.certs.usages import FILE_USAGES, Usage
from oftp2.cms.challenge import make_challenge, open_challenge
from oftp2.cms.keys import fingerprint
from oftp2d.acx import DATASETS
from oftp2d.certificates import Certificates
from oftp2d.credentials import Profile
from oftp2d.errors import OperatorError
from oftp2d.ledger import (
    ExchangeMessage,
    Holder,
    Kind,
    Ledger,
    NewOutgoing,
    NewPartner,
    NewRenewal,
    Origin,
    Reply,
    Slot,
    Station,
    StoredCertificate,
)
from oftp2d.vault import Vault
from tests import pki
from tests.pki import Issued

OURS = "O0013000002TESTB"
THEIRS = "O0013000001TESTA0"
NOW = pki.NOW
SIGNS = frozenset({Usage.SIGNATURE, Usage.EERP_SIGNATURE})


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    ledger = Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}")
    ledger.stations.add(Station(code=OURS, name="us", main=True))
    yield ledger
    ledger.close()


@pytest.fixture
def store(ledger: Ledger) -> Certificates:
    return Certificates(ledger, Vault(bytes(32)))


@pytest.fixture
def partner(ledger: Ledger) -> int:
    return ledger.partners.add(NewPartner(code=THEIRS, name="A", station=OURS), NOW).id


def put(store: Certificates, issued: Issued, alias: str = "ours", **options: object) -> StoredCertificate:
    return store.adopt(issued.key, issued.certificate, alias=alias, now=NOW, **options)  # type: ignore[arg-type]


def facts(issued: Issued) -> CertificateFacts:
    return CertificateFacts.of(issued.der)


# --- own certificates ----------------------------------------------------------------------------------------


def test_a_generated_certificate_is_ready_at_once(store: Certificates) -> None:
    profile = Profile(common_name="b.test", station=OURS, hosts=("b.test",))
    made = store.generate(profile, alias="main", now=NOW, key_bits=2048, days=30)
    assert (made.holder, made.station, made.alias, made.origin) == (Holder.OWN, OURS, "main", Origin.GENERATED)
    assert made.usages == frozenset(Usage)
    credential = store.own(Usage.SIGNATURE, station=OURS, now=NOW)
    assert credential is not None
    assert credential.stored.fingerprint == made.fingerprint
    assert credential.key.public_key() == credential.certificate.public_key()
    assert "key" not in repr(credential).replace("private_key", "")


def test_private_keys_at_rest_open_with_the_vault_alone(ledger: Ledger, store: Certificates) -> None:
    stored = put(store, pki.certificate("CB01"))
    assert stored.private_key is not None
    assert b"ENCRYPTED" in stored.private_key
    again = Certificates(ledger, Vault(bytes(32))).own(Usage.SIGNATURE, station=OURS, now=NOW)
    assert again is not None
    assert again.key.private_numbers() == pki.key("CB01").private_numbers()
    with pytest.raises(OperatorError, match="does not open"):
        Certificates(ledger, Vault(b"x" * 32)).own(Usage.SIGNATURE, station=OURS, now=NOW)


def test_a_certificate_for_a_pending_key_finds_it_by_its_public_key(ledger: Ledger, store: Certificates) -> None:
    pending = store.request(Profile(common_name="b.test", station=OURS), alias="ca", now=NOW, key_bits=2048)
    assert store.own(Usage.SIGNATURE, station=OURS, now=NOW) is None
    certificate = pki.sign_request(pending.csr_pem, issuer=pki.issuing("B"))
    chain = certificate.public_bytes(Encoding.PEM) + pki.issuing("B").pem + pki.root("B").pem
    stored = store.import_own(chain, now=NOW)
    assert (stored.alias, stored.station) == ("ca", OURS)
    assert ledger.certificates.pending() == []
    credential = store.own(Usage.TLS_SERVER, station=OURS, now=NOW)
    assert credential is not None
    assert credential.chain == (pki.issuing("B").certificate,)
    assert x509.load_pem_x509_certificates(credential.chain_pem) == [certificate, *credential.chain]
    assert store.authorities.anchors() == (), "what comes along builds chains and is not trusted"


@pytest.mark.parametrize("form", ["together", "apart", "encrypted", "pkcs12"])
def test_a_pair_is_imported_in_any_form(store: Certificates, form: str) -> None:
    pair = pki.certificate("CB01")
    if form == "together":
        stored = store.import_own(pair.pem + pair.key_pem, now=NOW)
    elif form == "apart":
        stored = store.import_own(pair.der, now=NOW, private_key=pair.key_pem)
    elif form == "encrypted":
        key = pair.encrypted_key_pem(b"secret")
        stored = store.import_own(pair.pem, now=NOW, private_key=key, passphrase=b"secret")
    else:
        stored = store.import_own(pair.pkcs12(b"secret"), now=NOW, passphrase=b"secret", alias="mine")
    assert stored.fingerprint == pair.fingerprint
    assert stored.station == OURS
    assert stored.alias == ("mine" if form == "pkcs12" else "b.test")
    assert store.own(Usage.SIGNATURE, station=OURS, now=NOW) is not None


def test_a_renewal_of_a_held_key_needs_no_key_file(store: Certificates) -> None:
    put(store, pki.certificate("CB01"))
    renewed = pki.make(key=pki.key("CB01"), issuer=pki.issuing("B"), station=OURS, days=(0, 700))
    assert store.import_own(renewed.pem, now=NOW).fingerprint == renewed.fingerprint


def test_a_certificate_without_its_key_is_refused(store: Certificates) -> None:
    put(store, pki.certificate("CB01"))
    with pytest.raises(OperatorError, match="no private key belongs"):
        store.import_own(pki.pem("CB04"), now=NOW)
    with pytest.raises(OperatorError, match="does not belong"):
        store.import_own(pki.pem("CB04"), now=NOW, private_key=pki.certificate("CA01").key_pem)


def weak() -> Issued:
    return pki.make(key=ec.generate_private_key(ec.SECP256R1()), issuer=pki.issuing("A"))


@pytest.mark.parametrize(
    ("issued", "text"),
    [
        (pki.make(issuer=pki.issuing("A"), days=(-20, -1)), "expired on"),
        (pki.issuing("A"), "import it as an anchor"),
        (weak(), "at least 2048 bits"),
        (pki.make(issuer=pki.issuing("A"), key_usage=("keyAgreement",)), "does not allow"),
    ],
)
def test_what_cannot_be_used_is_not_imported(store: Certificates, partner: int, issued: Issued, text: str) -> None:
    with pytest.raises(OperatorError, match=text):
        store.import_partner(issued.der, partner_id=partner, station=THEIRS, now=NOW)


def test_a_partner_may_be_allowed_a_shorter_key(ledger: Ledger, store: Certificates, partner: int) -> None:
    short = pki.make(key=rsa.generate_private_key(65537, 1024), issuer=pki.issuing("A"))  # noqa: S505 - too short
    with pytest.raises(OperatorError, match="has a key of 1024 bits") as refused:
        store.import_partner(short.der, partner_id=partner, station=THEIRS, now=NOW)
    assert "at least 2048 bits; 'oftp2d partner change --least-rsa-bits' makes an exception" in refused.value.advice
    ledger.partners.change(partner, least_rsa_bits=1024)
    store.import_partner(short.der, partner_id=partner, station=THEIRS, now=NOW)
    found = store.explain_partner(selection.ENCRYPTION, partner_id=partner, station=THEIRS, now=NOW, least_bits=1024)
    assert [entry.facts.fingerprint for entry in found.entries] == [short.fingerprint]
    with pytest.raises(OperatorError, match="has a key of 1024 bits"):
        store.import_own(short.pem, now=NOW, private_key=short.key_pem)


def test_a_file_with_two_stations_is_refused(store: Certificates, partner: int) -> None:
    two = pki.pem("CA01") + pki.pem("CA04")
    with pytest.raises(OperatorError, match="2 certificates of stations"):
        store.import_partner(two, partner_id=partner, station=THEIRS, now=NOW)


def test_the_operator_may_narrow_the_usages(store: Certificates) -> None:
    put(store, pki.certificate("CB01"), usages=SIGNS)
    assert store.own(Usage.SIGNATURE, station=OURS, now=NOW) is not None
    assert store.own(Usage.ENCRYPTION, station=OURS, now=NOW) is None


def test_a_new_certificate_signs_towards_a_partner_once_it_is_confirmed(
    ledger: Ledger, store: Certificates, partner: int
) -> None:
    old, new = put(store, pki.certificate("CB01"), "old"), put(store, pki.certificate("CB04"), "new")
    ledger.certificates.confirm(partner, old.fingerprint, NOW, "EERP")

    def signing() -> str:
        credential = store.own(Usage.SIGNATURE, station=OURS, now=NOW, partner_id=partner)
        assert credential is not None
        return credential.stored.alias

    assert signing() == "old"
    explained = store.explain_own(Usage.SIGNATURE, station=OURS, now=NOW, partner_id=partner)
    assert "not confirmed by the partner yet" in explained.text
    ledger.certificates.confirm(partner, new.fingerprint, NOW, "EERP")
    assert signing() == "new"
    everyone = store.own(Usage.TLS_SERVER, station=OURS, now=NOW)
    assert everyone is not None
    assert everyone.stored.alias == "new"


def renew(ledger: Ledger, new: StoredCertificate) -> None:
    """It is being offered to partners."""
    ledger.renewals.begin(NewRenewal(fingerprint=new.fingerprint, station=OURS), [], NOW)


def test_one_under_renewal_signs_for_nobody_who_has_not_confirmed_it(
    ledger: Ledger, store: Certificates, partner: int
) -> None:
    old, new = put(store, pki.certificate("CB01"), "old"), put(store, pki.certificate("CB04"), "new")
    renew(ledger, new)

    def signing() -> list[str]:
        signers, _ = store.signers(station=OURS, now=NOW, partner_id=partner)
        return [store.find(fingerprint(signer.certificate)).alias for signer in signers]

    assert signing() == ["old"]
    receipts = store.own(Usage.EERP_SIGNATURE, station=OURS, now=NOW, partner_id=partner)
    assert receipts is not None
    assert receipts.stored.alias == "old"
    ledger.certificates.confirm(partner, new.fingerprint, NOW, "EERP")
    assert signing() == ["new"]
    ledger.certificates.set_active(new.id, active=False)
    assert signing() == ["old"]
    ledger.certificates.set_active(old.id, active=False)
    assert signing() == []


@pytest.mark.parametrize("issued", [True, False])
def test_callers_see_no_certificate_under_renewal_before_the_last_day_of_the_former_one(
    ledger: Ledger, store: Certificates, issued: bool
) -> None:
    subject = "CN=shown,O=Station B"
    authority = pki.issuing("B") if issued else None
    put(store, pki.make(subject=subject, issuer=authority, station=OURS, days=(-30, 30)), "old")
    new = put(store, pki.make(subject=subject, issuer=pki.issuing("B"), station=OURS, days=(-1, 365)), "new")
    renew(ledger, new)

    def shown(days: float) -> str:
        found = store.own(Usage.TLS_SERVER, station=OURS, now=NOW + timedelta(days=days))
        assert found is not None
        return found.stored.alias

    assert [shown(days) for days in (0, 28.9, 29.1, 31)] == ["old", "old", "new", "new"]


def test_in_a_roll_over_both_sign_until_the_partner_has_confirmed_one(
    ledger: Ledger, store: Certificates, partner: int
) -> None:
    def signing() -> tuple[list[str], str]:
        signers, chosen = store.signers(station=OURS, now=NOW, partner_id=partner)
        assert [fingerprint(signer.certificate) for signer in signers] == [
            each.facts.fingerprint for each in chosen.entries
        ]
        return [store.find(fingerprint(signer.certificate)).alias for signer in signers], chosen.text

    assert signing() == ([], "outbound signature: there is no certificate at all")
    put(store, pki.certificate("CB01"), "old")
    assert signing()[0] == ["old"]
    new = put(store, pki.certificate("CB04"), "new")
    aliases, told = signing()
    assert aliases == ["new", "old"]
    assert "taken too, the partner may not have the newer one yet" in told
    ledger.certificates.confirm(partner, new.fingerprint, NOW, "EERP")
    assert signing()[0] == ["new"]


def test_a_recall_of_the_newest_goes_back_to_the_one_before_it(
    ledger: Ledger, store: Certificates, partner: int
) -> None:
    old, new = put(store, pki.certificate("CB01"), "old"), put(store, pki.certificate("CB04"), "new")
    for each in (old, new):
        ledger.certificates.confirm(partner, each.fingerprint, NOW, "EERP")
    file = NewOutgoing(
        kind=Kind.EXCHANGE,
        partner_id=partner,
        dataset=DATASETS[Message.REPLACE],
        originator=OURS,
        destination=THEIRS,
        octets=1,
        spool_name="replacement",
    )
    reply = Reply(file=file, message=ExchangeMessage.REPLACE, fingerprint=old.fingerprint)
    transfer, _ = ledger.exchanges.queue(reply, NOW)

    def signing() -> str:
        credential = store.own(Usage.SIGNATURE, station=OURS, now=NOW, partner_id=partner)
        assert credential is not None
        return credential.stored.alias

    assert signing() == "new"
    ledger.transfers.acknowledged(transfer.key, NOW)
    assert signing() == "old"


def test_a_new_certificate_answers_challenges_at_once(store: Certificates) -> None:
    put(store, pki.certificate("CB01"), "old")
    new = put(store, pki.certificate("CB04"), "new")
    for label in ("CB01", "CB04"):
        envelope, secret = make_challenge(pki.certificate(label).certificate)
        assert open_challenge(envelope, store.owners(NOW)) == secret
    first = store.owners(NOW, named=new.fingerprint)[0]
    assert first.certificate == pki.certificate("CB04").certificate


def test_a_staged_certificate_decrypts_but_is_not_offered(ledger: Ledger, store: Certificates) -> None:
    staged = put(store, pki.certificate("CB01"))
    ledger.certificates.set_slot(staged.id, Slot.STAGED, NOW)
    assert store.to_deliver(station=OURS, now=NOW) == ()
    assert len(store.owners(NOW)) == 1


def test_a_request_is_answered_with_the_newest_of_each_usage(store: Certificates) -> None:
    put(store, pki.certificate("CB01"), "old")
    put(store, pki.certificate("CB04"), "new", usages=SIGNS)
    put(store, pki.make(issuer=pki.issuing("B")), "foreign", station="OTHER")
    assert [entry.alias for entry in store.to_deliver(station=OURS, now=NOW)] == ["new", "old"]
    assert [entry.alias for entry in store.own_entries()] == ["old", "new", "foreign"]


def test_a_certificate_without_a_station_serves_them_all(store: Certificates) -> None:
    put(store, pki.make(issuer=pki.issuing("B")), "any")
    assert store.own(Usage.SIGNATURE, station="ANY", now=NOW) is not None


def test_a_serial_number_that_is_no_station_of_ours_binds_to_none(store: Certificates) -> None:
    """Authorities write register numbers there."""
    assert put(store, pki.make(issuer=pki.issuing("B"), station="HRB 12345")).station is None


def test_more_entries_than_a_page_are_all_seen(
    ledger: Ledger, store: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(store, pki.certificate("CB01"), "one")
    put(store, pki.certificate("CB04"), "two")
    whole = ledger.certificates.list
    monkeypatch.setattr(ledger.certificates, "list", lambda *given, after: whole(*given, limit=1, after=after))
    assert [entry.alias for entry in store.own_entries()] == ["one", "two"]


def test_a_removed_certificate_takes_its_key_along_from_memory_too(
    ledger: Ledger, store: Certificates, partner: int
) -> None:
    stored, other = put(store, pki.certificate("CB01")), put(store, pki.certificate("CB04"), "other")
    theirs = store.import_partner(pki.pem("CB01"), partner_id=partner, station=THEIRS, now=NOW)
    assert set(store._keys) == {stored.fingerprint, other.fingerprint}
    ledger.certificates.set_slot(stored.id, Slot.PREVIOUS, NOW)
    put(store, pki.certificate("CB01"), "again", usages=SIGNS)
    store.remove(stored)
    assert set(store._keys) == {other.fingerprint}
    assert [entry.fingerprint for entry in store.own_entries()] == [other.fingerprint]
    put(store, pki.certificate("CB01"))
    store.remove(theirs)
    assert set(store._keys) == {stored.fingerprint, other.fingerprint}, "a partner's is not ours"


def test_an_entry_that_lost_its_key_is_named(ledger: Ledger, store: Certificates, partner: int) -> None:
    stored = store.import_partner(pki.pem("CA01"), partner_id=partner, station=THEIRS, now=NOW)
    with pytest.raises(OperatorError, match="has no private key in the store"):
        store._key(stored)


# --- partners and anchors ------------------------------------------------------------------------------------


def test_an_imported_successor_moves_the_former_one_down(store: Certificates, partner: int) -> None:
    store.import_partner(pki.pem("CA01"), partner_id=partner, station=THEIRS, now=NOW)
    store.import_partner(pki.pem("CA02"), partner_id=partner, station=THEIRS, now=NOW, usages=SIGNS, alias="signs")
    entries = {(entry.alias, entry.slot): entry.usages for entry in store.partner_certificates(partner_id=partner)}
    assert entries == {
        ("a0.test", Slot.CURRENT): frozenset(Usage) - SIGNS,
        ("a0.test", Slot.PREVIOUS): SIGNS,
        ("signs", Slot.CURRENT): SIGNS,
    }
    chosen = store.partner_certificate(Usage.SIGNATURE, partner_id=partner, station=THEIRS, now=NOW)
    assert chosen is not None
    assert chosen.fingerprint == pki.certificate("CA02").fingerprint
    assert store.partner_certificate(Usage.SIGNATURE, partner_id=partner, station="X", now=NOW) is None
    # What its predecessor signed may still be under way; nothing is encrypted for it any more.
    verifying = store.explain_partner(selection.EERP_VERIFICATION, partner_id=partner, station=THEIRS, now=NOW)
    assert [entry.facts.fingerprint for entry in verifying.entries] == [
        pki.certificate(name).fingerprint for name in ("CA02", "CA01")
    ]
    encrypting = store.explain_partner(selection.ENCRYPTION, partner_id=partner, station=THEIRS, now=NOW)
    considered = {item.entry.facts.fingerprint: item.why for item in encrypting.considered}
    assert considered == {
        pki.certificate("CA01").fingerprint: "taken",
        pki.certificate("CA02").fingerprint: "not for encryption",
    }


def test_the_oldest_may_be_preferred_to_sign_and_to_encrypt_but_everything_is_tried_newest_first(
    ledger: Ledger, partner: int
) -> None:
    store = Certificates(ledger, Vault(bytes(32)), oldest=True)
    old, new = (pki.make(station=OURS, days=(begins, 300)) for begins in (-20, -10))
    for issued in (old, new):
        store.adopt(issued.key, issued.certificate, alias="ours", now=NOW)
        store.import_partner(issued.der, partner_id=partner, station=THEIRS, now=NOW)
    chosen = store.own(Usage.SIGNATURE, station=OURS, now=NOW)
    assert chosen is not None
    assert chosen.stored.fingerprint == old.fingerprint
    signers, _ = store.signers(station=OURS, now=NOW, partner_id=partner)
    assert [fingerprint(each.certificate) for each in signers] == [old.fingerprint, new.fingerprint]
    verifying = store.explain_partner(selection.VERIFICATION, partner_id=partner, station=THEIRS, now=NOW)
    assert [entry.facts.fingerprint for entry in verifying.entries] == [new.fingerprint, old.fingerprint]


def test_an_issuing_authority_imported_with_its_root_is_the_anchor(store: Certificates) -> None:
    stored = store.import_anchors(pki.issuing("B").pem + pki.root("B").pem, now=NOW, alias="ignored")
    assert [(entry.alias, entry.holder) for entry in stored] == [
        ("OFTP2 Test Issuing B", Holder.ANCHOR),
        ("OFTP2 Test Root B", Holder.INTERMEDIATE),
    ]
    trust = store.trust()
    assert trust.judge(facts(pki.certificate("CB01")), (), NOW).trusted
    assert not trust.judge(facts(pki.certificate("CB05")), (), NOW).trusted


def test_a_root_imported_alone_is_trusted(store: Certificates) -> None:
    store.import_anchors(pki.issuing("B").pem + pki.root("B").pem, now=NOW)
    store.import_anchors(pki.root("B").pem, now=NOW, alias="root")
    assert store._entries(Holder.INTERMEDIATE) == [], "it is there once"
    assert store.trust().judge(facts(pki.certificate("CB05")), (), NOW).trusted
    assert len(store.authorities.anchors()) == 2


def test_an_anchor_of_one_partner_is_trusted_for_that_one_alone(
    store: Certificates, ledger: Ledger, partner: int
) -> None:
    other = ledger.partners.add(NewPartner(code="O0013000003OTHER", name="other", station=OURS), NOW).id
    store.import_anchors(pki.issuing("A").pem, now=NOW, partner_id=partner)
    store.import_anchors(pki.issuing("B").pem, now=NOW)
    of_a, of_b = facts(pki.certificate("CA01")), facts(pki.certificate("CB01"))

    def trusted(partner_id: int | None) -> tuple[bool, bool]:
        trust = store.trust(partner_id)
        return trust.judge(of_a, (), NOW).trusted, trust.judge(of_b, (), NOW).trusted

    assert (trusted(partner), trusted(other), trusted(None)) == ((True, True), (False, True), (False, True))
    ledger.partners.change(partner, only_own_anchors=True)
    assert trusted(partner) == (True, False)


def test_an_expired_anchor_is_refused(store: Certificates) -> None:
    with pytest.raises(OperatorError, match="expired"):
        store.import_anchors(pki.make(ca=True, days=(-9, -1)).pem, now=NOW)


def test_importing_a_chain_again_trusts_nothing_new(store: Certificates, partner: int) -> None:
    chain = pki.pem("CA01") + pki.issuing("A").pem + pki.root("A").pem
    for _ in range(2):
        store.import_partner(chain, partner_id=partner, station=THEIRS, now=NOW)
    assert store.authorities.anchors() == ()
    assert not store.trust().judge(facts(pki.certificate("CA01")), (), NOW).trusted


def test_a_self_signed_certificate_of_ours_has_no_chain(store: Certificates) -> None:
    put(store, pki.make(station=OURS))
    credential = store.own(Usage.TLS_SERVER, station=OURS, now=NOW)
    assert credential is not None
    assert credential.chain == ()


def test_a_chain_ends_where_an_authority_is_missing(store: Certificates) -> None:
    put(store, pki.certificate("CB01"))
    credential = store.own(Usage.TLS_SERVER, station=OURS, now=NOW)
    assert credential is not None
    assert credential.chain == ()


# --- the exchange --------------------------------------------------------------------------------------------


def arrive(
    store: Certificates, partner: int, label: str, message: Message = Message.DELIVER, replaces: str | None = None
) -> Verdict:
    arrived = facts(pki.certificate(label))
    verdict = judge(
        mode=Mode.ANNOUNCED,
        message=message,
        facts=arrived,
        clid=Clid.of(facts(pki.certificate(replaces))) if replaces else None,
        held=store.held(partner_id=partner, station=THEIRS),
        announced=store.announced(partner_id=partner, station=THEIRS),
        trust=store.trust().judge(arrived, (), NOW),
        session=Assurance(),
        now=NOW,
    )
    new = store.accepted(verdict, arrived, partner_id=partner, station=THEIRS)
    if new is not None:
        store._ledger.certificates.replace_in_slots(
            new, store.retirements(verdict.retire), NOW, announcement_id=verdict.announcement
        )
    return verdict


def test_a_partnership_lives_through_announcement_roll_over_and_recall(store: Certificates, partner: int) -> None:
    store.import_anchors(pki.issuing("A").pem, now=NOW, alias="authority A")
    assert not arrive(store, partner, "CA01").accepted
    store.announce(partner_id=partner, now=NOW, common_name="a0.test", issuer="authority a")
    assert arrive(store, partner, "CA01").announcement is not None
    assert store.announced(partner_id=partner, station=THEIRS) == ()
    assert len(store.identifications(partner_id=partner)) == 1
    assert not arrive(store, partner, "CA01").stores
    assert arrive(store, partner, "CA02").accepted
    assert {(entry.place, entry.facts.fingerprint) for entry in store.held(partner_id=partner, station=THEIRS)} == {
        (Place.PREVIOUS, pki.certificate("CA01").fingerprint),
        (Place.CURRENT, pki.certificate("CA02").fingerprint),
    }
    assert arrive(store, partner, "CA13", Message.REPLACE, replaces="CA02").accepted
    places = [entry.place for entry in store.held(partner_id=partner, station=THEIRS)]
    assert sorted(places) == [Place.CURRENT, Place.WITHDRAWN, Place.WITHDRAWN]
    assert not arrive(store, partner, "CA01").accepted


def test_replace_may_bring_a_previous_certificate_back(store: Certificates, partner: int) -> None:
    store.import_anchors(pki.issuing("A").pem, now=NOW)
    store.import_partner(pki.pem("CA01"), partner_id=partner, station=THEIRS, now=NOW)
    assert arrive(store, partner, "CA02").accepted
    assert arrive(store, partner, "CA01", Message.REPLACE).accepted
    assert {(entry.place, entry.facts.fingerprint) for entry in store.held(partner_id=partner, station=THEIRS)} == {
        (Place.WITHDRAWN, pki.certificate("CA02").fingerprint),
        (Place.CURRENT, pki.certificate("CA01").fingerprint),
    }


def test_a_certificate_that_an_operator_switched_off_does_not_come_back_by_itself(
    ledger: Ledger, store: Certificates, partner: int
) -> None:
    store.import_anchors(pki.issuing("A").pem, now=NOW)
    stored = store.import_partner(pki.pem("CA01"), partner_id=partner, station=THEIRS, now=NOW)
    ledger.certificates.set_active(stored.id, active=False)
    assert not arrive(store, partner, "CA01").accepted
    assert not arrive(store, partner, "CA02").accepted


def test_announcements_are_for_one_station_or_for_all(store: Certificates, partner: int) -> None:
    subject = "CN=a0.test,O=Station A"
    store.announce(partner_id=partner, now=NOW, station="OTHER", subject=subject)
    assert store.announced(partner_id=partner, station=THEIRS) == ()
    entry = store.announce(partner_id=partner, now=NOW, subject=subject, usages=FILE_USAGES)
    (found,) = store.announced(partner_id=partner, station=THEIRS)
    assert (found.key, found.usages) == (entry.id, FILE_USAGES)
    assert found.identification.matches(facts(pki.certificate("CA01"))).matches


def test_an_announcement_whose_anchor_is_gone_matches_nothing(
    ledger: Ledger, store: Certificates, partner: int
) -> None:
    (anchor,) = store.import_anchors(pki.issuing("A").pem, now=NOW)
    store.announce(partner_id=partner, now=NOW, common_name="a0.test", issuer=anchor.fingerprint[:8])
    ledger.certificates.remove(anchor.id)
    assert store.announced(partner_id=partner, station=THEIRS) == ()


@pytest.mark.parametrize(
    "given",
    [{}, {"subject": "no name"}, {"common_name": "x", "key_usages": frozenset({"signing"})}],
)
def test_identification_data_that_identify_nobody_are_refused(
    store: Certificates, partner: int, given: dict[str, object]
) -> None:
    with pytest.raises(OperatorError, match="identification data are not usable"):
        store.announce(partner_id=partner, now=NOW, **given)  # type: ignore[arg-type]


def test_the_latch_needs_their_certificate_and_their_word_for_ours(
    ledger: Ledger, store: Certificates, partner: int
) -> None:
    def ready() -> tuple[bool, bool]:
        return store.authentication_ready(partner_id=partner, code=THEIRS, now=NOW)

    ours = put(store, pki.certificate("CB01"))
    assert ready() == (False, False)
    store.import_partner(pki.pem("CA01"), partner_id=partner, station=THEIRS, now=NOW)
    assert ready() == (True, False)
    ledger.certificates.confirm(partner, ours.fingerprint, NOW, "EERP")
    assert ready() == (True, True)
    later = NOW + timedelta(days=9999)
    assert store.authentication_ready(partner_id=partner, code=THEIRS, now=later) == (False, False)


# --- looking things up ---------------------------------------------------------------------------------------


def test_a_certificate_is_found_by_alias_or_fingerprint(store: Certificates, partner: int) -> None:
    stored = put(store, pki.certificate("CB01"), "Main")
    put(store, pki.certificate("CB04"), "twin")
    put(store, pki.make(issuer=pki.issuing("B")), "twin")
    assert store.find("main").id == stored.id
    colons = ":".join(stored.fingerprint[index : index + 2].upper() for index in range(0, 8, 2))
    assert store.find(colons, Holder.OWN).id == stored.id
    with pytest.raises(OperatorError, match="no certificate is called"):
        store.find(stored.fingerprint[:3])
    with pytest.raises(OperatorError, match="no certificate is called"):
        store.find("main", Holder.PARTNER, partner_id=partner)
    with pytest.raises(OperatorError, match="2 certificates are called 'twin'"):
        store.find("twin")
