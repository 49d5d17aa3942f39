"""What tools/fuzz does: gives the targets of tests/fuzz octets that atheris (libFuzzer) breeds, led by coverage.

Each target runs in processes of its own. What it learns is kept in a folder between runs, if one is given; an input that
breaks a target is written to a file, with the command that shows it again.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NAMES = ("codec", "framing", "buffers", "session", "transcript", "signed", "secured", "challenge")
LONGEST = 4096
"""Octets of an input: enough for what there is to be found, and quick."""

TURN = 60
"""Seconds for which one process runs: an instrumented comparison of arrays costs some memory for good."""


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="tools/fuzz",
        description="Look for octets that break the protocol library: anything else than the errors and events it "
        "declares, memory or output without bound, more work than the octets are worth. Exit code 1 if some are found.",
    )
    parser.add_argument("names", nargs="*", metavar="TARGET", help=f"{', '.join(NAMES)}; by default all")
    parser.add_argument("--seconds", type=int, default=60, help="how long each target runs (default: 60)")
    parser.add_argument("--corpus", type=Path, help="a folder in which what was learnt is kept for the next run")
    parser.add_argument(
        "--show", type=Path, metavar="FILE", help="run one target on this input, and show what it breaks"
    )
    parser.add_argument("--within", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(NAMES):
        parser.error(f"no target is called {', '.join(sorted(unknown))}")
    if arguments.show is not None and len(arguments.names) != 1:
        parser.error("--show takes one target")
    if arguments.show is not None:
        return show(arguments.names[0], arguments.show)
    if arguments.within:
        return breed(arguments.names[0], arguments.corpus, arguments.seconds)
    with tempfile.TemporaryDirectory(prefix="oftp2-fuzz-") as folder:
        corpus = arguments.corpus or Path(folder)
        failed = [name for name in arguments.names or NAMES if not run(name, corpus / name, arguments.seconds)]
    print(f"tools/fuzz: {', '.join(failed)} failed" if failed else "tools/fuzz: nothing was found", flush=True)
    return 1 if failed else 0


def run(name: str, corpus: Path, seconds: int) -> bool:
    """Let one target run, in processes of its own; whether nothing was found."""
    print(f"--- {name}, {seconds} s", flush=True)
    corpus.mkdir(parents=True, exist_ok=True)
    executed = 0
    for begun in range(0, seconds, TURN):
        turn = str(min(TURN, seconds - begun))
        command = [sys.executable, __file__, name, "--within", "--seconds", turn, "--corpus", str(corpus)]
        done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
        executed += sum(int(count) for count in re.findall(r"number_of_executed_units: (\d+)", done.stderr))
        if done.returncode:
            print("\n".join(done.stderr.splitlines()[-60:]))
            for found in sorted(ROOT.glob(f"fuzz-{name}-*")):
                print(f"see it again: tools/fuzz {name} --show {found.name}", flush=True)
            return False
    print(f"{executed} inputs, {len(list(corpus.iterdir()))} of them worth keeping", flush=True)
    return True


def breed(name: str, corpus: Path, seconds: int) -> int:
    """Within the process of one target: hand over to libFuzzer, which ends it."""
    import atheris  # noqa: PLC0415 - an extra, needed here alone

    sys.path[:0] = [str(ROOT), str(ROOT / "protocol")]
    with atheris.instrument_imports(include=["oftp2"]):
        from tests.fuzz.targets import TARGETS, seeds  # noqa: PLC0415 - instrumented while it is imported
    for number, seed in enumerate(seeds(name)):
        (corpus / f"seed-{number}").write_bytes(seed)
    options = [
        f"-max_total_time={seconds}",
        f"-max_len={LONGEST}",
        "-rss_limit_mb=1024",
        "-timeout=20",
        f"-artifact_prefix={ROOT}/fuzz-{name}-",
        "-print_final_stats=1",
        "-verbosity=0",
    ]
    atheris.Setup([sys.argv[0], *options, str(corpus)], TARGETS[name])
    atheris.Fuzz()
    return 0


def show(name: str, path: Path) -> int:
    """Run a target on one input, without atheris; what it breaks is raised."""
    sys.path[:0] = [str(ROOT), str(ROOT / "protocol")]
    from tests.fuzz.targets import TARGETS  # noqa: PLC0415 - not needed for --help

    TARGETS[name](path.read_bytes())
    print(f"tools/fuzz: {name} bears it")
    return 0


if __name__ == "__main__":
    sys.exit(main())
