"""Renewal of credentials from where they come from: what a plugin is, and what runs it.

A *credential set* is what a site holds at one source: the names it logs in with, its certificate and its key. Each has a
plugin, which knows the source; everything else (when to ask, what is kept, what is checked, who is told) is the same for all.
"""
