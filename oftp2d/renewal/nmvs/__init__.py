"""The plugin for NMVS, the national medicines verification systems as supplied by Arvato (nmvs.md).

Nothing of the contract between a site and its NMVS stands in this code: names of elements, namespaces, codes, places in an
answer and addresses come from a *profile*. The one that is shipped (``profile.toml``) holds what is publicly known, unverified;
a site lays its own over it, with what FD-002 says, and says that it is verified.
"""
