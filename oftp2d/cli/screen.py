"""What people look at: a console that keeps codes and names whole, also where nobody looks but a file."""

from __future__ import annotations

from rich.console import Console, RenderableType
from rich.measure import Measurement
from rich.text import Text

UNWRAPPED = 10_000
"""Columns of what is no terminal: a line for a script or a file is never broken."""


class Screen(Console):
    """A console, and how things are put on it."""

    def remark(self, text: str, style: str) -> None:
        """Print prose beside the result, in this colour; it is broken where the terminal ends, and is no markup."""
        self.print(Text(text), style=style)

    def say(self, line: str) -> None:
        """Print one line of the result, which is no markup."""
        self.display(Text(line))

    def display(self, view: RenderableType) -> None:
        """Print it, wider than the terminal where codes and names would be torn apart otherwise."""
        if not self.is_terminal:
            with self.capture() as captured:
                self.print(view)
            self.file.write("".join(f"{line.rstrip()}\n" for line in captured.get().splitlines()))
            return
        options = self.options
        needed = Measurement.get(self, options.update(width=UNWRAPPED), view).minimum
        if needed > options.max_width:
            # Broken by the terminal itself a code can still be copied; broken by us it could not.
            usual, self.width = self.width, needed
            try:
                self.print(view, crop=False)
            finally:
                self.width = usual
        else:
            self.print(view)
