"""Cryptographic messages of OFTP2 (RFC 5024 sections 6 and 10, RFC 5652): the octets, and no policy.

Files that are signed, compressed and encrypted, signed end responses, session challenges. Which certificate or key is used is
decided in :mod:`oftp2.certs.selection`.
"""
