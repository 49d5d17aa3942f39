"""The command line: one module per group of commands, all put together in :mod:`oftp2d.cli.app`."""
