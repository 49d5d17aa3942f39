"""What a certificate is, whose it is, whether it is accepted and when it is used: pure functions.

The vocabulary is that of RFC 5280 and of the Odette certificate exchange (``acx.md`` sections 2 to 5).
Nothing here knows of sessions, files or storage: clocks, held certificates and trust verdicts are
arguments.
"""
