"""What ``renew run`` and ``renew import`` do: ask, show progress while the station works, and say how it ended."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from rich.console import Group
from rich.text import Text

from oftp2d.client import AdminClient, path_of
from oftp2d.errors import OperatorError

from . import credentialviews as views
from .forms import items, words
from .terminal import Exit, Terminal

POLL_SECONDS: Final = 0.5

_CODES: Final = {"done": Exit.DONE, "later": Exit.TIMEOUT, "failed": Exit.FAILED, "refused": Exit.REFUSED}
_WORST: Final = (Exit.REFUSED, Exit.FAILED, Exit.UNREACHABLE, Exit.TIMEOUT)
"""Of several sets the exit code is the first of these that one of them had."""

Document = Mapping[str, Any]


def run(terminal: Terminal, names: Sequence[str], tan: str | None, wait: int | None) -> int:
    """Let the station ask for these sets, or without names for all that are due; the exit code."""
    with terminal.client() as client:
        chosen = list(names) or _due(client)
        body = {} if tan is None else {"tan": tan}
        ended = [_one(terminal, client, (name, "run"), body, wait) for name in chosen]
    document = {"results": ended}
    terminal.show(document, lambda: Group(*_closing(ended)))
    return next((code for code in _WORST if code in map(_code, ended)), Exit.DONE)


def bring(terminal: Terminal, name: str, body: Document) -> int:
    """Import a credential; the exit code."""
    with terminal.client() as client:
        ended = _one(terminal, client, (name, "import"), body, None)
    terminal.show(ended, lambda: Group(*_closing([ended])))
    return _code(ended)


def judged(before: Document, after: Document, error: OperatorError | None = None) -> dict[str, Any]:
    """How an attempt ended: done, later, refused or failed, and in words."""
    name = after.get("name") or before.get("name")
    candidate = after.get("candidate") or {}
    if candidate == before.get("candidate") and candidate.get("state") == "unreadable":
        # It was there before: what the source says now is something else.
        candidate = {}
    new = (after.get("current") or {}).get("fingerprint")
    ready = candidate.get("state") in {"validated", "probed"}
    if error is not None:
        found = ("failed", error.what, error.advice)
    elif new and new != (before.get("current") or {}).get("fingerprint"):
        until = str((after.get("current") or {}).get("valid_until"))[:10]
        found = ("done", f"the new credential is active, until {until}", "")
    elif ready and not after.get("auto_activate") and candidate.get("trial_ok") is not False:
        found = ("done", "the new credential is ready", f"'oftp2d renew activate {name}' puts it into use")
    elif candidate.get("problems") or candidate.get("trial_ok") is False or candidate.get("state") == "unreadable":
        found = ("failed", _why(candidate), f"see 'oftp2d renew status {name}'")
    else:
        later = after.get("verdict") in {"not yet", "retry"} and not after.get("blocked")
        found = ("later" if later else "refused", _answer(after), str(after.get("advice") or ""))
    outcome, told, advice = found
    return {"name": name, "outcome": outcome, "told": told, "advice": advice, "credential_set": dict(after)}


def _answer(after: Document) -> str:
    code = f" ({after['code']})" if after.get("code") else ""
    return f"{after.get('last_answer') or after.get('blocked') or 'the source gave nothing'}{code}"


def _why(candidate: Document) -> str:
    problems = [str(each.get("text")) for each in items(candidate, "problems")]
    told = "; ".join(problems) or str(candidate.get("trial") or "it does not open")
    return f"what came is kept and not activated: {told}"


def _code(ended: Document) -> Exit:
    return _CODES[str(ended["outcome"])]


def _closing(ended: Iterable[Document]) -> list[Text]:
    lines = []
    for each in ended:
        lines.append(views.ended(each))
        if each.get("advice"):
            lines.append(Text(f"  {words(each['advice']).plain}", style="yellow"))
    return lines or [Text("nothing is due", style="dim")]


def _due(client: AdminClient) -> list[str]:
    found = items(client.get("/v1/credential-sets"), "credential_sets")
    return [str(each.get("name")) for each in found if each.get("due")]


def _one(
    terminal: Terminal, client: AdminClient, what: tuple[str, str], body: Document, wait: int | None
) -> dict[str, Any]:
    """Let the station do it, an action for one set, show where it is meanwhile, and judge the end."""
    name, action = what
    before = client.get(path_of("credential-sets", name))
    end = None if wait is None else time.monotonic() + wait
    with terminal.err.status(f"{name}: begun") as status:
        job = _Job(terminal, name, action, body)
        after: Document = before
        try:
            while not job.over(POLL_SECONDS):
                after = client.get(path_of("credential-sets", name))
                status.update(f"{name}: {words(after.get('doing') or 'working').plain}")
            after = client.get(path_of("credential-sets", name))
            while end is not None and job.error is None and not _settled(before, after) and time.monotonic() < end:
                status.update(f"{name}: {words(_waiting_for(after)).plain}")
                time.sleep(POLL_SECONDS)
                after = client.get(path_of("credential-sets", name))
        except KeyboardInterrupt:
            terminal.hint(f"it goes on: see 'oftp2d renew status {name}'")
            raise
    ended = judged(before, after, job.error)
    if end is not None and ended["outcome"] == "done" and not _told(after):
        ended |= {"outcome": "later", "told": f"{ended['told']}; not every consumer was told yet"}
    return ended


def _settled(before: Document, after: Document) -> bool:
    ended = judged(before, after)
    return ended["outcome"] != "later" and (ended["outcome"] != "done" or _told(after))


def _told(document: Document) -> bool:
    return all(each.get("state") == "done" for each in items(document, "consumers"))


def _waiting_for(document: Document) -> str:
    open_ = [str(each.get("name")) for each in items(document, "consumers") if each.get("state") != "done"]
    return f"telling {', '.join(open_)}" if open_ else f"waits for the source: {document.get('last_answer')}"


class _Job(threading.Thread):
    """The request that does the work, beside the one that shows where it is; the station goes on when this is left."""

    def __init__(self, terminal: Terminal, name: str, action: str, body: Document) -> None:
        super().__init__(daemon=True)
        self._finished = threading.Event()
        self.error: OperatorError | None = None
        self._open: Callable[[], AdminClient] = terminal.client
        self._ask = (path_of("credential-sets", name, action), body)
        self.start()

    def run(self) -> None:
        """Ask, and keep what went wrong."""
        try:
            with self._open() as client:
                client.post(*self._ask, calls=True)
        except OperatorError as error:
            self.error = error
        finally:
            self._finished.set()

    def over(self, seconds: float) -> bool:
        """Whether it is over, after at most so long."""
        return self._finished.wait(seconds)
