"""NSS opens what we secure, and we open what it secures, as far as it knows the cipher suites."""

from __future__ import annotations

from dataclasses import replace

import pytest

from oftp2.cms.challenge import make_challenge, open_challenge
from oftp2.cms.errors import DecryptionError, SignatureError
from oftp2.cms.receipts import sign, signed_content
from oftp2.cms.suites import SUITES, CipherSuite
from tests import pki
from tests.others.nss import Nss, RefusedError
from tests.others.ours import CONTENT, EERP, ENCRYPTED, OTHER, OURS, SIGNED, THEIRS, count, open_, secure
from tests.signatures import detached

# It makes no signature by PSS, and has no SHA-3.
SIGNS = [SUITES[number] for number in range(1, 7)]
VERIFIES = [suite for suite in SUITES.values() if suite.number not in {7, 10}]
# It knows OAEP, but not in CMS.
DECRYPTS = [suite for suite in SUITES.values() if not suite.probabilistic]


@pytest.mark.rfc("6.2", "10.2")
@pytest.mark.parametrize("suite", VERIFIES, ids=str)
def test_it_verifies_what_we_sign(nss: Nss, suite: CipherSuite) -> None:
    for known, certificates in ((True, False), (False, True)):
        octets = secure(CONTENT, SIGNED, suite, known=known, certificates=certificates)
        assert nss.verify(octets) == CONTENT
        with pytest.raises(RefusedError, match="DigestMismatch"):
            nss.verify(octets.replace(CONTENT[:20], CONTENT[1:21], 1))


@pytest.mark.rfc("6.2", "10.2")
@pytest.mark.interop(14)
@pytest.mark.parametrize("suite", SIGNS, ids=str)
def test_we_verify_what_it_signs(nss: Nss, suite: CipherSuite) -> None:
    octets = nss.sign(CONTENT, THEIRS, suite)
    assert open_(octets, SIGNED, suite) == (CONTENT, [THEIRS.fingerprint])
    with pytest.raises(SignatureError, match="is over another content"):
        open_(octets.replace(CONTENT[:20], CONTENT[1:21], 1), SIGNED, suite)


@pytest.mark.rfc("6.3", "10.2")
@pytest.mark.parametrize("suite", DECRYPTS, ids=str)
def test_it_decrypts_what_we_encrypt(nss: Nss, suite: CipherSuite) -> None:
    for known, named in ((True, "by issuer"), (False, "by key")):
        octets = secure(CONTENT, ENCRYPTED, suite, recipients=[OTHER, THEIRS], known=known, named=named)
        assert nss.decrypt(octets) == CONTENT
    with pytest.raises(RefusedError, match="SEC_ERROR_NOT_A_RECIPIENT"):
        nss.decrypt(secure(CONTENT, ENCRYPTED, suite, recipients=[OTHER]))


@pytest.mark.rfc("6.3")
@pytest.mark.interop(14)
def test_we_decrypt_what_it_encrypts(nss: Nss) -> None:
    # It takes AES-128, which is enough for a suite with 3DES and no other.
    octets = nss.encrypt(CONTENT, [OTHER, OURS])
    assert open_(octets, ENCRYPTED, SUITES[3])[0] == CONTENT
    with pytest.raises(DecryptionError, match="no key here opens"):
        open_(octets, ENCRYPTED, SUITES[3], owners=[THEIRS])


@pytest.mark.rfc("5.3.13")
@pytest.mark.interop(4)
def test_signed_end_responses_are_verified_both_ways(nss: Nss) -> None:
    suite, content = SUITES[6], signed_content(EERP)
    ours = sign(EERP, [OURS.signer], suite, at=pki.NOW)
    assert nss.verify(ours) == content
    nss.verify(detached(ours), content=content)
    with pytest.raises(RefusedError, match="DigestMismatch"):
        nss.verify(detached(ours), content=content + b"?")
    for attached in (True, False):
        count(replace(EERP, signature=nss.sign(content, THEIRS, suite, attached=attached)), suite)


@pytest.mark.rfc("4.2.3", "5.3.17", "5.3.18")
@pytest.mark.interop(10)
def test_challenges_are_answered_both_ways(nss: Nss) -> None:
    envelope, secret = make_challenge(THEIRS.certificate)
    assert nss.decrypt(envelope) == secret
    assert open_challenge(nss.encrypt(secret, [OURS]), [OURS.owner]) == secret
