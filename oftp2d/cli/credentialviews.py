"""How credential sets look for people: the table of all, everything about one, and what there is to do."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from .forms import Cell, day, items, moment, properties, table, words

_PHASES: Final = {
    "none": "yellow",
    "valid": "green",
    "due": "cyan",
    "alarm": "yellow",
    "critical": "bold red",
    "expired": "bold red",
}
"""The colour of each phase, for those who see it."""
_CREDENTIALS: Final = {
    "current": "In use",
    "candidate": "On its way",
    "former": "Before it",
    "taken_back": "Taken back",
}
"""Under which title each credential of a set stands."""
_TELLINGS: Final = {"done": ("✓", "green"), "pending": ("·", "cyan"), "failed": ("✗", "red")}
_STATES: Final = {
    "active": "green",
    "validated": "cyan",
    "probed": "cyan",
    "refused": "red",
    "unreadable": "red",
    "rolled back": "yellow",
}

Document = Mapping[str, Any]


def overview(document: Document) -> RenderableType:
    """All credential sets: one line each, then what there is to do, then how many there are of each kind."""
    sets = items(document, "credential_sets")
    rows = [
        [
            each.get("name"),
            each.get("plugin"),
            _left(each),
            _phase(each),
            each.get("code"),
            each.get("last_answer"),
            _next(each),
        ]
        for each in sets
    ]
    empty = "no credential sets: 'oftp2d renew example local-ca' prints one to begin with"
    columns = ["set", "plugin", "days left>", "phase", "code", "last answer~", "next try"]
    parts: list[RenderableType] = [table(columns, rows, empty=empty)]
    parts += _advice((str(each.get("name")), line) for each in sets for line in items(each, "to_do"))
    parts += _faults(each for each in items(document, "faults") if not each.get("set"))
    if sets:
        parts += [Text(""), Text(counted(document.get("counts") or {}), style="dim")]
    return Group(*parts)


def counted(counts: Mapping[str, Any]) -> str:
    """How many sets there are, and of what kind."""
    total = counts.get("total") or 0
    kinds = ", ".join(f"{count} {name}" for name, count in counts.items() if count and name != "total")
    return f"{total} credential set{'' if total == 1 else 's'}{kinds and f': {kinds}'}"


def one(document: Document) -> RenderableType:
    """Everything about one credential set."""
    parts: list[RenderableType] = [_head(document)]
    for name, title in _CREDENTIALS.items():
        if document.get(name):
            parts += [Text(""), Text(title, style="bold"), _credential(document[name])]
    consumers = items(document, "consumers")
    if consumers:
        parts += [Text(""), Text("Consumers", style="bold"), _consumers(consumers)]
    for each in items(document, "notifications"):
        parts.append(Text(words(f"! the source says: {_coded(each)}").plain, style="yellow"))
    parts += _advice(("", line) for line in items(document, "to_do"))
    return Group(*parts)


def plans(document: Document) -> RenderableType:
    """What would be done when, and why."""
    sets = items(document, "plans")
    rows = [
        [each.get("name"), _left(each), _phase(each), _next(each), each.get("why")]
        for each in sorted(sets, key=lambda each: (each.get("next_at") or "9", str(each.get("name"))))
    ]
    shown = table(["set", "days left>", "phase", "next try", "why~"], rows, empty="no credential sets")
    return Group(shown, *_faults(items(document, "faults")))


def history(document: Document) -> RenderableType:
    """The audit trail of one set."""
    rows: list[list[Cell]] = []
    for entry in items(document, "entries"):
        detail = entry.get("detail") or {}
        told = [f"{name}: {value}" for name, value in detail.items() if value not in {None, ""} and name != "set"]
        rows.append([moment(entry.get("at")), entry.get("event"), told])
    return table(["time", "event~", "details~"], rows, empty="nothing happened yet")


def ended(document: Document) -> Text:
    """One line about how an attempt ended."""
    good, patient = document.get("outcome") == "done", document.get("outcome") == "later"
    sign, style = ("✓", "green") if good else ("·", "yellow") if patient else ("✗", "red")
    return Text.assemble(Text(sign, style=style), " ", words(f"{document.get('name')}: {document.get('told')}"))


def _head(document: Document) -> Table:
    tries = [f"{document.get('attempts_today') or 0} today"]
    if document.get("failures"):
        tries.append(f"{document.get('failures')} failed in a row")
    pairs: dict[str, Cell] = {
        "credential set": document.get("name"),
        "plugin": document.get("plugin"),
        "contact": document.get("contact"),
        "defined in": document.get("file"),
        "phase": _phase(document),
        "days left": _left(document),
        "next try": _next(document),
        "why": document.get("why"),
        "renews by itself": document.get("auto_renew"),
        "activates by itself": document.get("auto_activate"),
        "last try": moment(document.get("attempted_at")),
        "attempts": tries,
        "last answer": document.get("last_answer"),
        "answered": moment(document.get("answered_at")),
        "code": document.get("code"),
        "transaction": document.get("transaction"),
    }
    if document.get("blocked"):
        pairs["blocked"] = Text(words(str(document["blocked"])).plain, style="bold red")
        pairs["blocked since"] = moment(document.get("blocked_at"))
    pairs |= {str(name): str(value) for name, value in (document.get("extra") or {}).items()}
    return properties(pairs)


def _credential(document: Document) -> RenderableType:
    """A credential: certificate, where it stands, and what is wrong with it."""
    state = str(document.get("state"))
    period = None
    if document.get("valid_until"):
        period = f"{day(document.get('valid_from')).plain} to {day(document.get('valid_until')).plain}"
    pairs: dict[str, Cell] = {
        "candidate": document.get("id"),
        "state": Text(words(state).plain, style=_STATES.get(state, "")),
        "subject": document.get("subject"),
        "serial number": document.get("serial"),
        "fingerprint (SHA-256)": document.get("fingerprint"),
        "valid": period,
        "came": "imported" if document.get("imported") else "from the source",
        "fetched": moment(document.get("fetched_at")),
        "activated": moment(document.get("activated_at")),
        "transaction": document.get("transaction"),
        "tried": document.get("trial"),
    }
    made = properties({name: value for name, value in pairs.items() if words(value).plain != "-"})
    problems = [
        Text(words(f"✗ {each.get('text')}{_overrule(each)}").plain, style="red") for each in items(document, "problems")
    ]
    return Group(made, *problems)


def _overrule(problem: Document) -> str:
    return "" if problem.get("may_be_overruled") else " (cannot be overruled)"


def _consumers(consumers: list[dict[str, Any]]) -> Table:
    grid = Table.grid(padding=(0, 2))
    for _ in range(3):
        grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for each in consumers:
        sign, style = _TELLINGS.get(str(each.get("state")), ("-", "dim"))
        told = str(each.get("text") or "")
        if each.get("state") != "done" and each.get("next_at"):
            told = f"{told and f'{told}; '}next try {moment(each.get('next_at')).plain}"
        state = Text(words(each.get("state")).plain, style=style)
        grid.add_row(Text(f"  {sign}", style=style), words(each.get("name")), state, words(told))
    return grid


def _advice(lines: Iterable[tuple[str, Document]]) -> list[RenderableType]:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for name, line in lines:
        told = f"{line.get('what')}: {line.get('advice')}"
        grid.add_row(Text(f"  {words(name).plain if name else '!'}", style="yellow"), words(told))
    return [Text(""), Text("What to do", style="bold"), grid] if grid.row_count else []


def _faults(faults: Iterable[Document]) -> list[RenderableType]:
    """What is wrong in the definitions."""
    found = []
    for each in faults:
        where = ": ".join(str(each[name]) for name in ("file", "set", "path") if each.get(name))
        told = words(f"! {where and f'{where}: '}{each.get('what')}; {each.get('advice')}")
        found.append(Text(told.plain, style="red"))
    return [Text(""), *found] if found else []


def _left(document: Document) -> Text:
    left = document.get("days_left")
    return words(None) if left is None else Text(str(left), style=_PHASES.get(str(document.get("phase")), ""))


def _phase(document: Document) -> Text:
    phase = str(document.get("phase"))
    told = "no credential" if phase == "none" else words(phase).plain
    if document.get("blocked"):
        return Text(f"{told}, blocked", style="bold red")
    return Text(told, style=_PHASES.get(phase, ""))


def _next(document: Document) -> Text:
    if document.get("blocked"):
        return Text("not before you act", style="red")
    return moment(document.get("next_at"))


def _coded(document: Document) -> str:
    return " ".join(str(each) for each in (document.get("code"), document.get("text")) if each)
