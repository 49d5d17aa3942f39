"""OFTP2 (RFC 5024) as a library without I/O: ``oftp2.session`` is the way in.

``commands`` and ``events`` are its words, ``tables`` its state machine as data; ``certs`` and ``cms`` stand beside the
session, which knows neither.
"""
