"""An OFTP2 (RFC 5024) station: a daemon that faces trading partners, and its command line."""
