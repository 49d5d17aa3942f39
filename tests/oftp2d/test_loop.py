"""The event loop in a process of its own, since a reactor can be installed only once."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import socket, struct, time
from oftp2d import loop
loop.install()
from twisted.internet import reactor
from twisted.internet.protocol import Factory, Protocol

CALLS = 30
lost = []

class Slow(Protocol):
    def dataReceived(self, data):
        time.sleep(0.002)  # so that the reset comes while there is more to read

    def connectionLost(self, reason):
        lost.append(reason)
        if len(lost) == CALLS:
            reactor.stop()

def call_and_reset():
    for _ in range(CALLS):
        with socket.create_connection(("127.0.0.1", port)) as caller:
            caller.sendall(bytes(1_500_000))
            caller.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

factory = Factory.forProtocol(Slow)
port = reactor.listenTCP(0, factory, interface="127.0.0.1").getHost().port
reactor.callInThread(call_and_reset)
reactor.callLater(20, reactor.stop)
reactor.run()
print(type(reactor).__mro__[1].__name__, len(lost))
"""


def test_every_reset_connection_is_told_even_with_more_to_read() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == ["AsyncioSelectorReactor", "30"]


ENDING = """
from oftp2d import loop
loop.install()
from twisted.internet import reactor
from twisted.internet.protocol import ProcessProtocol

ended = []

class Program(ProcessProtocol):
    def processEnded(self, reason):
        ended.append(reason.value.exitCode)
        if len(ended) == 2:
            reactor.stop()

def begin():
    # Its outputs are closed before it ends, so nothing else tells of its end.
    reactor.spawnProcess(Program(), "/bin/sh", ["sh", "-c", "exec <&- >&- 2>&-; sleep 0.2; exit 7"])

reactor.callWhenRunning(begin)
reactor.callLater(0.1, begin)
reactor.callLater(20, reactor.stop)
reactor.run()
print(ended)
"""


def test_every_end_of_a_program_is_told_even_behind_its_output() -> None:
    done = subprocess.run([sys.executable, "-c", ENDING], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[7, 7]"
