"""What tools/docs does: writes docs/reference/ from the code, so that it is true; with --check it only compares."""

from __future__ import annotations

import argparse
import ast
import contextlib
import csv
import inspect
import io
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import advice
import attrs
import click
import covered
from construct import GreedyBytes, Prefixed, Struct
from twisted.internet.task import Clock

from oftp2 import reasons
from oftp2.commands import Command
from oftp2.deviations import DEVIATIONS, EFFECTIVE, Decision
from oftp2.layouts import COMMAND_OCTETS, LAYOUTS
from oftp2.tables import IMPOSSIBLE, USER_ERROR, Input, State
from oftp2.values import Level
from oftp2d import config
from oftp2d.admin.server import PARTS
from oftp2d.cli.app import cli
from oftp2d.renewal.definitions import DemandsSection, Export, General, Hook, Store, TermsSection
from oftp2d.renewal.interface import House
from oftp2d.renewal.plugins import Registry
from oftp2d.renewal.reactions import REACTIONS
from oftp2d.renewal.rules import Demands
from oftp2d.renewal.timetable import Terms
from oftp2d.retries import RULES
from oftp2d.sections import written
from oftp2d.workers import Workers

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "docs" / "reference"
MADE = ".. Made by tools/docs out of the code: do not change it here.\n\n"

Page = Callable[[], Iterator[str]]


def heading(title: str, line: str = "-") -> str:
    return f"{title}\n{line * len(title)}\n"


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], widths: Sequence[int]) -> str:
    """A table as reST takes it however long its cells are."""
    lines = [".. list-table::", "   :header-rows: 1", f"   :widths: {' '.join(map(str, widths))}", ""]
    for row in [columns, *rows]:
        for index, cell in enumerate(row):
            lines.append(f"   {'* - ' if index == 0 else '  - '}{cell}".rstrip())
    return "\n".join(lines) + "\n"


def literal(text: str) -> str:
    """A block shown as it is."""
    return "::\n\n" + "\n".join(f"    {line}".rstrip() for line in text.rstrip().splitlines()) + "\n"


def code(text: object) -> str:
    return f"``{text}``"


def plain(text: str) -> str:
    """Prose out of the code; what could be taken for markup is escaped."""
    return text.replace("\\", "\\\\").replace("*", "\\*").replace("|", "\\|").replace("_ ", "\\_ ")


# --- pages -----------------------------------------------------------------------------------------------------


def reason_codes() -> Iterator[str]:
    yield heading("Reason codes", "=")
    yield (
        "What a partner, or we, say when something does not go: the meaning in RFC 5024, and what to do. They appear in the"
        " log, in ``oftp2d transfer list``, ``oftp2d partner list`` and ``oftp2d exchange list``, with the text that the"
        " other side sent.\n"
    )
    told: dict[str, tuple[type[Any], Callable[[int], str]]] = {
        "ESID: the end of a session": (reasons.EndSessionReason, advice.ESID.__getitem__),
        "NERP: a file that had been taken is refused": (reasons.NegativeResponseReason, advice.negative),
    }
    for title, (kind, explain) in told.items():
        yield heading(title)
        yield table(
            ("code", "meaning", "what to do"),
            [(f"{each.value:02}", each.meaning, plain(explain(each.value))) for each in cast("Iterable[Any]", kind)],
            (8, 30, 62),
        )
        if kind is reasons.EndSessionReason:
            yield from retry_policy()


def retry_policy() -> Iterator[str]:
    yield heading("SFNA and EFNA: a file is not taken, before or after its data")
    yield (
        "With the retry indicator an SFNA asks for another try, and gets it in a later session, whatever the reason;"
        " without it the policy below holds. *again*: by itself, after a wait that doubles from ``retry.first_seconds`` to"
        " ``retry.max_seconds``, until the partner has refused it ``retry.attempts`` times or ``retry.total_seconds`` are"
        " over. *hold*: it is *failed*, and the same file can go once the cause is put right: ``oftp2d transfer retry``."
        " *give up*: it is *failed*, and only another file can go. *delivered*: it counts as *sent*. A session that ends"
        " before the partner has answered, and a call that comes to nothing, count against the time alone."
        " ``oftp2d transfer show`` says all this of each file in one sentence.\n"
    )
    rows = []
    for reason in reasons.AnswerReason:
        rule = RULES[reason]
        known = f"; {rule.had} if an EFID had gone out before" if rule.had else ""
        told = plain(f"{rule.means}; {rule.advice}.")
        rows.append((f"{reason.value:02}", reason.meaning, rule.final + known, rule.rejected + known, told))
    yield table(
        ("code", "meaning", "SFNA, no retry", "EFNA", "what it means to us as sender; what to do"),
        rows,
        (8, 20, 12, 12, 48),
    )


def commands() -> Iterator[str]:
    yield heading("Commands and their fields", "=")
    yield (
        "The eighteen commands of level 5 (RFC 5024 section 5.3), octet by octet: where each field stands, its name and"
        " format in the RFC, and the attribute of the command's class in ``oftp2.commands`` that holds its value.\n"
    )
    known = list(csv.DictReader(io.StringIO((ROOT / "fixtures" / "rfc5024-section-5.3-fields.csv").read_text("utf-8"))))
    for octet, kind in COMMAND_OCTETS.items():
        name = kind.__name__.upper()
        yield heading(f"{name} ({chr(octet)})")
        yield (kind.__doc__ or "").strip() + "\n"
        rows = [row for row in known if row["command"] == name]
        held = attributes(kind, len(rows))
        yield table(
            ("octet", "field", "format", "attribute"),
            [
                (row["position"] or "behind", code(row["field"]), row["format"], code(name) if name else "")
                for row, name in zip(rows, held, strict=True)
            ],
            (10, 25, 20, 45),
        )


def attributes(kind: type[Command], count: int) -> list[str]:
    """For each field of the RFC the attribute that holds it: the layout is the same row of fields.

    A length has none; nor have the command's own octet, reserved fields and the closing carriage return.
    """
    values = {each.name for each in fields(kind)}
    layout = LAYOUTS[Level.REVISION_2_0].get(kind)
    names = [""]
    for part in layout.subcons if isinstance(layout, Struct) else ():
        name = part.name if part.name in values else ""
        names += ["", name] if lengthened(part) else [name]
    if layout is None:
        names.append("payload")
    return (names + [""] * count)[:count]


def lengthened(part: Any) -> bool:
    """Whether a part of a layout begins with its length, which the RFC has as a field of its own."""
    while part is not None:
        if isinstance(part, Prefixed) or part is GreedyBytes:
            return True
        part = getattr(part, "subcon", None) or getattr(part, "thensubcon", None)
    return False


def decided(decision: Decision) -> list[str]:
    """A decision in words, one for each of its alternatives."""
    if decision == USER_ERROR:
        return ["refused: our own side may not ask for this now"]
    if decision == IMPOSSIBLE:
        return ["cannot happen"]
    lines = []
    for row in cast("tuple[Any, ...]", decision):
        when = " and ".join(f"{'' if holds else 'not '}{name}" for name, holds in row.guard)
        does = ", ".join(row.outputs)
        where = f"{row.table.value} {row.letter}" if row.letter != "~" else f"{row.table.value}, ours"
        lines.append(f"{f'if {when}: ' if when else ''}{f'{does}; ' if does else ''}then {row.to} ({where})")
    return lines


def ordered(decision: dict[Input, Decision]) -> list[tuple[str, list[str]]]:
    """Inputs that are decided alike, together, in the order of the RFC."""
    groups: dict[tuple[str, ...], list[Input]] = {}
    for event in Input:
        groups.setdefault(tuple(decided(decision[event])), []).append(event)
    return [(", ".join(code(event.value) for event in inputs), list(lines)) for lines, inputs in groups.items()]


def states() -> Iterator[str]:
    yield heading("The state machine", "=")
    yield (
        f"RFC 5024 section 9, as it is played here: every one of the {len(State)} states with every one of the {len(Input)}"
        " inputs. ``if`` names the RFC's predicates, in brackets stand the section of the table and the letter of the row;"
        " ``F_`` is what the User Monitor is told or asks, ``N_`` concerns the connection, all else goes to the partner."
        " Rows that are *ours* depart from the RFC's tables: `Departures from the RFC`_ says why.\n"
    )
    for state in State:
        yield heading(state.value)
        rows = [
            (inputs, plain("; or ".join(lines)))
            for inputs, lines in ordered({each: EFFECTIVE[state, each] for each in Input})
        ]
        yield table(("input", "what happens"), rows, (40, 60))
    yield heading("Departures from the RFC")
    yield (
        "In their order: a later one goes over an earlier one. *Open* ones fill only what the RFC's tables leave undefined.\n"
    )
    yield table(
        ("states", "inputs", "what happens", "because"),
        [
            (
                some(each.states, State),
                some(each.inputs, Input),
                ("Open. " if each.only_undefined else "") + plain("; or ".join(decided(each.decision))),
                plain(each.because),
            )
            for each in DEVIATIONS
        ],
        (20, 20, 30, 30),
    )


def some(chosen: frozenset[Any], kind: type[Any]) -> str:
    """Members in their own order; where that is shorter, those that are not among them."""
    members = list(cast("Iterable[Any]", kind))
    if len(chosen) == len(members):
        return "all"
    if len(chosen) > len(members) / 2:
        return "all but " + ", ".join(code(each.value) for each in members if each not in chosen)
    return ", ".join(code(each.value) for each in members if each in chosen)


def configuration() -> Iterator[str]:
    yield heading("Configuration", "=")
    yield (
        f"The file ``{config.FILE_NAME}`` in the home folder ($OFTP2D_HOME, else ``~/.local/state/oftp2d``). ``oftp2d init``"
        " writes it with every setting explained, ``oftp2d check`` names every mistake. A changed file takes effect when the"
        " station is started again. Partners, stations and certificates are not in it: they live in the database and are"
        " changed with commands while the station runs.\n"
    )
    usual = config.Config()
    for field in attrs.fields(config.Config):
        value = getattr(usual, field.name)
        section = value[0] if isinstance(value, tuple) else value
        if not attrs.has(type(section)):
            continue
        yield heading(f"[[{field.name}]]" if isinstance(value, tuple) else f"[{field.name}]")
        yield (type(section).__doc__ or "").strip() + "\n"
        yield table(
            ("setting", "without it", "values", "meaning"),
            [
                (
                    code(each.name),
                    code(shown(getattr(section, each.name))),
                    each.metadata["values"],
                    each.metadata["doc"],
                )
                for each in attrs.fields(type(section))
            ],
            (20, 15, 20, 45),
        )


def definitions() -> Iterator[str]:
    yield heading("Definitions of credential sets", "=")
    yield (
        "The files ``renewal/*.toml`` in the home folder, each with any number of tables ``[[set]]``, and in a table ``[common]``"
        " what counts for all sets of the file that do not say otherwise. ``oftp2d renew example PLUGIN`` prints one with"
        " every setting explained, ``oftp2d check`` names every mistake. Changed files are read within a minute, and at once"
        " by ``oftp2d renew plan``. Secrets never stand in them, only where they are: ``store``, ``file:/path`` or"
        " ``env:NAME``.\n"
    )
    yield from _settings("[[set]]", General)
    clock = Clock()
    registry = Registry(House(reactor=clock, workers=Workers(clock), home=Path()))
    for name in registry.of_package("oftp2d"):
        yield from _settings(f"[set.{name}]", registry.plugin(name).options)
    for name, kind in (("store", Store), ("export", Export), ("hook", Hook)):
        yield from _settings(f"[set.{name}]", kind)
    yield from _settings("[set.terms]", TermsSection, Terms())
    yield from _settings("[set.demands]", DemandsSection, Demands())


def _settings(name: str, kind: type[attrs.AttrsInstance], usual: object = None) -> Iterator[str]:
    """A section with what holds without each setting; ``usual`` has what the class itself leaves to others."""
    yield heading(name)
    yield "\n\n".join(" ".join(each.split()) for each in (kind.__doc__ or "").split("\n\n")) + "\n"
    rows = []
    for each in attrs.fields(kind):
        default = getattr(usual, each.name, each.default) if each.default is None else each.default
        without = "must be given" if default is attrs.NOTHING else code(written(default)) if default != "" else "none"
        rows.append((code(each.name), without, each.metadata["values"], each.metadata["doc"]))
    yield table(("setting", "without it", "values", "meaning"), rows, (20, 15, 20, 45))


def shown(value: object) -> str:
    return "none" if value is None else str(value).lower() if isinstance(value, int) else f'"{value}"'


def nmvs_faults() -> Iterator[str]:
    """What an NMVS may do, and where a credential set stands then."""
    yield heading("What a source of the plugin nmvs may do, and where a set stands then", "=")
    yield (
        "Each row is played by ``tests/renewal/test_nmvs_faults.py`` against the stand-in: it proves how the public facts were"
        " read, not that a real system does the same. The certificate in use stays in use in all of them, and each costs one"
        " attempt. *Verdict* is what ``oftp2d renew status`` shows, *kept* what becomes of what came: *empty* was understood and"
        " erased, *unreadable* is kept, sealed, for a person, and *refused* is a certificate that is not used. A set that is"
        " blocked asks nothing more before a person has done what the line says.\n"
    )
    with (ROOT / "fixtures" / "nmvs-faults.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    blocking = {verdict.value for verdict, reaction in REACTIONS.items() if reaction.blocks}
    columns = ("The server", "Verdict", "Code", "Kept", "Blocked")
    yield table(
        columns,
        (
            (
                plain(row["what"]),
                row["verdict"],
                code(row["code"]) if row["code"] else "",
                row["kept"] or "nothing came",
                "yes" if row["verdict"] in blocking else "",
            )
            for row in rows
        ),
        (40, 16, 20, 14, 10),
    )


def command_line() -> Iterator[str]:
    yield heading("Command line", "=")
    yield "What ``--help`` says, for every command. All but ``run`` and ``completion`` know ``--json``.\n"
    for path, command in walk(cli, ()):
        yield heading(" ".join(("oftp2d", *path)))
        arguments = [each for each in command.params if isinstance(each, click.Argument)]
        options = [each for each in command.params if isinstance(each, click.Option) and each.opts != ["--json"]]
        if not isinstance(command, click.Group):
            yield literal(" ".join(("oftp2d", *path, *map(metavar, arguments), *(["[OPTIONS]"] if options else []))))
        yield literal(unmarked(command.help or ""))
        if options and not isinstance(command, click.Group):
            rows = [
                (", ".join(map(code, (*each.opts, *each.secondary_opts))), values(each), told(each)) for each in options
            ]
            yield table(("option", "value", "meaning"), rows, (25, 20, 55))
        if command.epilog:
            yield literal(unmarked(command.epilog))


def unmarked(text: str) -> str:
    """Help without the marks that tell click not to wrap."""
    return "\n".join(line for line in inspect.cleandoc(text).splitlines() if line != "\b")


def metavar(argument: click.Argument) -> str:
    name = argument.metavar or (argument.name or "").upper()
    return name if argument.required else f"[{name}]"


def values(option: click.Option) -> str:
    """What may stand behind an option."""
    match option.type:
        case _ if option.is_flag:
            return ""
        case _ if option.metavar:
            return " or ".join(code(each) for each in option.metavar.split("|"))
        case click.Choice(choices=choices):
            return " or ".join(code(each) for each in choices)
        case click.IntRange(min=lowest, max=highest):
            return f"{lowest} to {highest}" if highest is not None else f"from {lowest} on"
        case click.Path():
            return "a path"
        case kind:
            return {"code": "an Odette code", "host": "a host name"}.get(kind.name, "text")


def told(option: click.Option) -> str:
    default = f" Without it: {option.default}." if option.show_default and not option.is_flag else ""
    return plain(option.help or "") + default + (" Must be given." if option.required else "")


def walk(command: click.Command, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            each = command.get_command(context, name)
            assert each is not None, name
            yield from walk(each, (*path, name))


class Routes:
    """Stands where Klein does, and writes down the routes that are added."""

    def __init__(self) -> None:
        self.found: list[tuple[str, str, str]] = []

    def route(self, path: str, methods: Sequence[str], endpoint: str) -> Callable[[Any], Any]:
        del endpoint
        return lambda function: self.found.append((methods[0], path, function.__doc__))


def interface() -> Iterator[str]:
    yield heading("Administration interface", "=")
    yield (
        "JSON over HTTP on the UNIX socket ``admin.sock`` in the home folder; only the station's own user may open it. All"
        " commands but ``init``, ``run`` and ``check`` use it, and a program may as well, for example with ``curl"
        ' --unix-socket "$OFTP2D_HOME/admin.sock" http://oftp2d/v1/status``. Names are in snake_case, times RFC 3339 in UTC,'
        " sizes octets; what a command prints with ``--json`` is the answer. An error has the status 4xx and the body"
        ' ``{"error": {"what": ..., "advice": ...}}``. Listings take ``limit`` (1 to 1000).\n'
    )
    routes = Routes()
    for module in PARTS:
        # The functions look at the desk only when a request comes.
        cast("ModuleType", module).add_routes(cast("Any", routes), cast("Any", None))
    yield table(
        ("method", "path", "what it does"),
        [(method, code(path), told) for method, path, told in routes.found],
        (10, 40, 50),
    )


def log_lines() -> Iterator[str]:
    yield heading("Log lines", "=")
    yield (
        "What the daemon writes to its standard error output, by the room it comes from. In braces stands what differs from"
        " line to line; a session that ends badly has its ESID and reason in it: see `reasons <reasons.rst>`_. With"
        ' ``format = "json"`` each line is an object with ``time``, ``level``, ``room``, ``message``, and ``partner`` and'
        " ``session`` where there are any. ``critical`` is a mistake of ours: please report it with the traceback that"
        ' ``level = "debug"`` adds.\n'
    )
    found = sorted(
        {
            (path.relative_to(ROOT / "oftp2d").with_suffix("").as_posix().replace("/", "."), level, text)
            for path in (ROOT / "oftp2d").rglob("*.py")
            for level, text in logged(ast.parse(path.read_text("utf-8")))
        }
    )
    stale = [words for words in advice.LOG if not any(words in text for _, _, text in found)]
    if stale:
        raise SystemExit(f"tools/advice.py explains a line that is not in the code any more: {stale[0]}")
    yield table(
        ("room", "level", "line", "what it means, what to do"),
        [(room, level, code(text), plain(meaning(level, text))) for room, level, text in found],
        (10, 10, 45, 35),
    )


def meaning(level: str, text: str) -> str:
    """What a line means: what is written of it, else what its level says."""
    if level == "critical":
        return "A mistake of ours: please report it."
    explained = next((told for words, told in advice.LOG.items() if words in text), "")
    return explained or ("It says itself what to do." if "{advice}" in text else "")


def logged(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Level and format of each call of a logger in a module; the level may depend on how something went."""
    levels = {each: each for each in ("debug", "info", "warn", "error")} | {"failure": "critical"}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not node.args:
            continue
        called = [node.func.body, node.func.orelse] if isinstance(node.func, ast.IfExp) else [node.func]
        found = [levels[each.attr] for each in called if isinstance(each, ast.Attribute) and each.attr in levels]
        if len(found) == len(called) and all(is_log(each.value) for each in called if isinstance(each, ast.Attribute)):
            with contextlib.suppress(ValueError):
                yield " or ".join(found), str(ast.literal_eval(node.args[0]))


def is_log(owner: ast.expr) -> bool:
    name = owner.attr if isinstance(owner, ast.Attribute) else owner.id if isinstance(owner, ast.Name) else ""
    return name.lstrip("_") == "log"


PAGES: dict[str, tuple[str, Page]] = {
    "command-line.rst": ("every command and option", command_line),
    "configuration.rst": ("every setting of oftp2d.toml", configuration),
    "definitions.rst": ("every setting of credential sets and of the plugins that come with the station", definitions),
    "nmvs-faults.rst": ("what a source of the plugin nmvs may do, and where a credential set stands then", nmvs_faults),
    "reasons.rst": ("ESID, SFNA, EFNA, NERP: what they mean and what to do", reason_codes),
    "log.rst": ("what the daemon writes", log_lines),
    "interface.rst": ("the administration interface, for programs", interface),
    "commands.rst": ("the commands of OFTP2 and their fields", commands),
    "states.rst": ("the state machine and its departures from the RFC", states),
    "rfc5024.rst": ("the sections of RFC 5024, the tolerances of the field, and their tests", covered.page),
    "odette.rst": ("the cases of Odette's interoperability tests, and their tests", covered.odette),
}


def index() -> Iterator[str]:
    yield heading("Reference", "=")
    yield "Made from the code by ``tools/docs``.\n"
    yield "\n".join(f"* `{name.removesuffix('.rst')} <{name}>`_: {told}" for name, (told, _) in PAGES.items()) + "\n"


def pages() -> dict[str, str]:
    """Every page by its name."""
    made = {"index.rst": index, **{name: page for name, (_, page) in PAGES.items()}}
    return {name: MADE + "\n".join(page()) for name, page in made.items()}


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="tools/docs",
        description="Write docs/reference/ from the code: commands, settings, reasons, states, routes.",
    )
    parser.add_argument("--check", action="store_true", help="write nothing; fail when a page differs from the code")
    arguments = parser.parse_args()
    wanted = pages()
    present = {path.name: path.read_text("utf-8") for path in FOLDER.glob("*.rst")}
    different = sorted(name for name in wanted.keys() | present.keys() if wanted.get(name) != present.get(name))
    if arguments.check:
        for name in different:
            print(f"docs/reference/{name} differs from the code: run tools/docs")
        return 1 if different else 0
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name in different:
        if name in wanted:
            (FOLDER / name).write_text(wanted[name], "utf-8")
        else:
            (FOLDER / name).unlink()
        print(f"docs/reference/{name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
