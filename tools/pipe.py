"""The reference for a transfer: a bare TLS pipe of Twisted on the reactor that the station runs on, with its write sizes.

``python pipe.py FOLDER OCTETS`` sends so many octets of zeros through TLS on loopback to a second process and prints the seconds
that took. FOLDER holds ``pipe.pem``, a certificate and its key.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from oftp2d import loop

loop.install()

from twisted.internet import reactor, ssl  # noqa: E402 - the reactor is installed first
from twisted.internet.endpoints import TCP4ClientEndpoint, wrapClientTLS  # noqa: E402
from twisted.internet.protocol import Factory, Protocol  # noqa: E402

CHUNK = 512 * 1024


class Sink(Protocol):
    """Counts what arrives, and says so when it is all there."""

    wanted = 0

    def connectionMade(self) -> None:
        self.left = self.wanted

    def dataReceived(self, data: bytes) -> None:
        self.left -= len(data)
        if self.left <= 0:
            self.transport.write(b".")


class Source(Protocol):
    """Writes as much as the transport takes."""

    wanted = 0

    def connectionMade(self) -> None:
        self.left = self.wanted
        self.begun = time.monotonic()
        self.transport.registerProducer(self, False)

    def resumeProducing(self) -> None:
        octets = min(self.left, CHUNK)
        self.left -= octets
        if octets:
            self.transport.write(bytes(octets))
        else:
            self.transport.unregisterProducer()

    def stopProducing(self) -> None:
        pass

    def dataReceived(self, _data: bytes) -> None:
        print(time.monotonic() - self.begun, flush=True)
        reactor.stop()


def main() -> None:
    folder, octets = Path(sys.argv[1]), int(sys.argv[2])
    Sink.wanted = Source.wanted = octets
    pem = (folder / "pipe.pem").read_text()
    if len(sys.argv) == 4:
        factory = Factory.forProtocol(Source)
        factory.noisy = False
        creator = ssl.optionsForClientTLS("localhost", trustRoot=ssl.Certificate.loadPEM(pem))
        wrapClientTLS(creator, TCP4ClientEndpoint(reactor, "127.0.0.1", int(sys.argv[3]))).connect(factory)
        reactor.run()
        return
    certificate = ssl.PrivateCertificate.loadPEM(pem)
    factory = Factory.forProtocol(Sink)
    factory.noisy = False
    port = reactor.listenSSL(0, factory, certificate.options(), interface="127.0.0.1").getHost().port
    client = subprocess.Popen([sys.executable, __file__, *sys.argv[1:], str(port)])
    reactor.callInThread(lambda: (client.wait(), reactor.callFromThread(reactor.stop)))
    reactor.run()


if __name__ == "__main__":
    main()
