"""A reference for a transfer: OpenSSH sftp, as it is installed, to a server of its own on loopback.

The server has its own keys and configuration in a folder that is thrown away, and lets in nobody but the key that was made
for this. The file is flushed to the disk at its end (``put -f``), as the station does with what it receives.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

PRIVILEGE_SEPARATION = Path("/run/sshd")
"""A folder that sshd demands when root starts it; packages make it when they start the service."""

PATIENCE = 20


class UnavailableError(Exception):
    """There is no sftp to measure here; the text says why."""


def seconds(folder: Path, file: Path) -> float:
    """How long sftp takes to put the file into the folder, from its start to its end."""
    sshd, sftp = _program("sshd"), _program("sftp")
    copy = folder / "sftp-copy.bin"
    with _server(sshd, folder) as port:
        command = [
            *(sftp, "-q", "-b", "-", "-P", str(port), "-i", str(folder / "user")),
            *("-F", "/dev/null", "-o", "IdentitiesOnly=yes", "-o", "StrictHostKeyChecking=no"),
            *("-o", f"UserKnownHostsFile={os.devnull}", "-o", "LogLevel=ERROR", f"{getpass.getuser()}@127.0.0.1"),
        ]
        begun = time.monotonic()
        done = subprocess.run(
            command, input=f'put -f "{file}" "{copy}"\n', capture_output=True, text=True, check=False, timeout=600
        )
        taken = time.monotonic() - begun
    if done.returncode or not copy.exists() or copy.stat().st_size != file.stat().st_size:
        told = " ".join((done.stderr or (folder / "sshd.log").read_text()).split())
        raise UnavailableError(f"sftp did not work here: {told[-300:]}")
    copy.unlink()
    return taken


def _program(name: str) -> str:
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if found is None:
        raise UnavailableError(f"{name} of OpenSSH is not installed")
    return found


@contextlib.contextmanager
def _server(sshd: str, folder: Path) -> Iterator[int]:
    """Run a server for as long as the block lasts; its port."""
    for name in ("host", "user"):
        subprocess.run(
            [_program("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)],
            check=True,
            capture_output=True,
        )
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    settings = {
        "Port": port,
        "ListenAddress": "127.0.0.1",
        "HostKey": folder / "host",
        "AuthorizedKeysFile": folder / "user.pub",
        "PidFile": "none",
        "StrictModes": "no",
        "UsePAM": "no",
        "PasswordAuthentication": "no",
        "KbdInteractiveAuthentication": "no",
        "Subsystem": "sftp internal-sftp",
    }
    (folder / "sshd_config").write_text("".join(f"{name} {value}\n" for name, value in settings.items()))
    made = os.getuid() == 0 and not PRIVILEGE_SEPARATION.exists()
    if made:
        PRIVILEGE_SEPARATION.mkdir(mode=0o755)
    server = subprocess.Popen([sshd, "-D", "-f", str(folder / "sshd_config"), "-E", str(folder / "sshd.log")])
    try:
        _wait_for(server, port, folder / "sshd.log")
        yield port
    finally:
        server.terminate()
        server.wait()
        if made:
            PRIVILEGE_SEPARATION.rmdir()


def _wait_for(server: subprocess.Popen[bytes], port: int, log: Path) -> None:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if server.poll() is not None:
            raise UnavailableError(f"sshd does not run here: {' '.join(log.read_text().split())[-300:]}")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return
        time.sleep(0.05)
    raise UnavailableError("sshd did not listen in time")
