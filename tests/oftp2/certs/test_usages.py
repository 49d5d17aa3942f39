"""What key usages allow."""

from __future__ import annotations

import pytest

from oftp2.certs.usages import ANY_EXTENDED, CLIENT_AUTH, SERVER_AUTH, Usage, allowed_usages, listed

SIGNS = {Usage.SIGNATURE, Usage.EERP_SIGNATURE}
ENCIPHERS = {Usage.ENCRYPTION, Usage.AUTHENTICATION}
TLS = {Usage.TLS_SERVER, Usage.TLS_CLIENT}


@pytest.mark.parametrize(
    ("key_usage", "extended", "expected"),
    [
        (None, None, SIGNS | ENCIPHERS | TLS),
        ({"digitalSignature"}, {"1.2.3"}, SIGNS),
        ({"keyEncipherment"}, {"1.2.3"}, ENCIPHERS),
        ({"keyEncipherment"}, {SERVER_AUTH, CLIENT_AUTH}, ENCIPHERS | {Usage.TLS_SERVER}),
        ({"digitalSignature"}, {CLIENT_AUTH}, SIGNS | {Usage.TLS_CLIENT}),
        ({"digitalSignature"}, {ANY_EXTENDED}, SIGNS | TLS),
        ({"keyAgreement"}, None, set()),
    ],
)
def test_key_usages_allow(key_usage: set[str] | None, extended: set[str] | None, expected: set[Usage]) -> None:
    assert allowed_usages(key_usage, extended) == expected


def test_a_tls_purpose_takes_no_file_usage_away() -> None:
    both = {"digitalSignature", "keyEncipherment"}
    assert allowed_usages(both, {SERVER_AUTH, CLIENT_AUTH}) == set(Usage)


def test_usages_are_listed_in_one_order() -> None:
    assert listed({Usage.EERP_SIGNATURE, Usage.SIGNATURE}) == "signature, eerp signature"
    assert listed(()) == "none"
