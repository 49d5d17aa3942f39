"""What a certificate may be used for in OFTP2 (RFC 5024 section 1.4; the five usages of the Odette policy).

TLS is split into server and client, because X.509 tells the two apart.
"""

from __future__ import annotations

from enum import StrEnum


class Usage(StrEnum):
    """One use of a certificate."""

    SIGNATURE = "signature"
    ENCRYPTION = "encryption"
    EERP_SIGNATURE = "eerp_signature"
    AUTHENTICATION = "authentication"
    TLS_SERVER = "tls_server"
    TLS_CLIENT = "tls_client"
