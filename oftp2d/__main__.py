"""The command line of the station: python -m oftp2d."""
