"""A stand-in for the credential service of an NMVS: loopback only, made from what is public about it (nmvs.md 8.3).

It is an independent reading of the same public facts as the plugin's, and shares no code with it. It proves that the two agree,
not that either agrees with the real contract (FD-002), which is not public.
"""
