"""GnuPG (libksba, libgcrypt) opens what we secure, and we open what it secures, as far as it knows the cipher suites."""

from __future__ import annotations

from dataclasses import replace

import pytest

from oftp2.cms.challenge import make_challenge, open_challenge
from oftp2.cms.errors import DecryptionError, SignatureError
from oftp2.cms.receipts import sign, signed_content
from oftp2.cms.suites import SUITES, CipherSuite
from tests import pki
from tests.others.gpgsm import Gpgsm, RefusedError, fingerprint
from tests.others.ours import CONTENT, EERP, ENCRYPTED, OTHER, OURS, SIGNED, THEIRS, count, open_, secure
from tests.signatures import detached

# It makes no signature by PSS, and has no SHA-3 to sign with.
SIGNS = [SUITES[number] for number in range(1, 7)]
# libgcrypt 1.10 does not know under which identifier PKCS#1 v1.5 has a digest of SHA-3: "Bad signature".
VERIFIES = [suite for suite in SUITES.values() if suite.number != 7]
# It knows no OAEP.
ENCRYPTS = [suite for suite in SUITES.values() if not suite.probabilistic]


@pytest.mark.rfc("6.2", "10.2")
@pytest.mark.parametrize("suite", VERIFIES, ids=str)
def test_it_verifies_what_we_sign(gpgsm: Gpgsm, suite: CipherSuite) -> None:
    for known, certificates in ((True, False), (False, True)):
        octets = secure(CONTENT, SIGNED, suite, signers=[OURS, OTHER], known=known, certificates=certificates)
        assert gpgsm.verify(octets) == (CONTENT, {fingerprint(OURS), fingerprint(OTHER)})
        with pytest.raises(RefusedError, match="message digest attribute does not match"):
            gpgsm.verify(octets.replace(CONTENT[:20], CONTENT[1:21], 1))


@pytest.mark.rfc("6.2", "10.2")
@pytest.mark.interop(14)
@pytest.mark.parametrize("suite", SIGNS, ids=str)
def test_we_verify_what_it_signs(gpgsm: Gpgsm, suite: CipherSuite) -> None:
    for chain in (0, 1, 2):
        octets = gpgsm.sign(CONTENT, THEIRS, suite, chain=chain)
        assert open_(octets, SIGNED, suite) == (CONTENT, [THEIRS.fingerprint])
        with pytest.raises(SignatureError, match="is over another content"):
            open_(octets.replace(CONTENT[:20], CONTENT[1:21], 1), SIGNED, suite)


@pytest.mark.rfc("6.3", "10.2")
@pytest.mark.parametrize("suite", ENCRYPTS, ids=str)
def test_it_decrypts_what_we_encrypt(gpgsm: Gpgsm, suite: CipherSuite) -> None:
    # Recipients that are named by the identifiers of their keys it reads over.
    for known in (True, False):
        octets = secure(CONTENT, ENCRYPTED, suite, recipients=[OTHER, THEIRS], known=known)
        assert gpgsm.decrypt(octets) == CONTENT
    with pytest.raises(RefusedError, match="No secret key"):
        gpgsm.decrypt(secure(CONTENT, ENCRYPTED, suite, recipients=[OTHER]))


@pytest.mark.rfc("6.3", "10.2")
@pytest.mark.interop(14)
@pytest.mark.parametrize("suite", ENCRYPTS, ids=str)
def test_we_decrypt_what_it_encrypts(gpgsm: Gpgsm, suite: CipherSuite) -> None:
    octets = gpgsm.encrypt(CONTENT, [OTHER, OURS], suite)
    assert open_(octets, ENCRYPTED, suite)[0] == CONTENT
    with pytest.raises(DecryptionError, match="no key here opens"):
        open_(octets, ENCRYPTED, suite, owners=[THEIRS])


@pytest.mark.rfc("5.3.13")
@pytest.mark.interop(4)
def test_signed_end_responses_are_verified_both_ways(gpgsm: Gpgsm) -> None:
    suite, content = SUITES[6], signed_content(EERP)
    ours = sign(EERP, [OURS.signer], suite, at=pki.NOW)
    assert gpgsm.verify(ours) == (content, {fingerprint(OURS)})
    assert gpgsm.verify(detached(ours), content=content)[1] == {fingerprint(OURS)}
    with pytest.raises(RefusedError, match="message digest attribute does not match"):
        gpgsm.verify(detached(ours), content=content + b"?")
    for attached in (True, False):
        count(replace(EERP, signature=gpgsm.sign(content, THEIRS, suite, attached=attached)), suite)


@pytest.mark.rfc("4.2.3", "5.3.17", "5.3.18")
@pytest.mark.interop(10)
def test_challenges_are_answered_both_ways(gpgsm: Gpgsm) -> None:
    envelope, secret = make_challenge(THEIRS.certificate)
    assert gpgsm.decrypt(envelope) == secret
    for suite in (SUITES[3], SUITES[4]):
        assert open_challenge(gpgsm.encrypt(secret, [OURS], suite), [OURS.owner]) == secret
