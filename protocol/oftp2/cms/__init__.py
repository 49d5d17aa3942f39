"""Cryptographic messages of OFTP2 (RFC 5024 sections 6 and 10, RFC 5652): the octets, and no policy.

So far the session challenge. Which certificate or key is used is decided in :mod:`oftp2.certs.selection`.
"""
