"""Real servers on loopback that alerts are sent to: a webhook that answers as it is told, and a mailbox."""

import contextlib
import email
import json
import socketserver
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from email.message import Message
from email.policy import default
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Webhook:
    """What was posted, and what is answered to it."""

    port: int = 0
    status: int = 200
    answer: bytes = b"{}"
    hang: threading.Event | None = None
    reached: bool = False
    paths: list[str] = field(default_factory=list)
    posted: list[dict[str, Any]] = field(default_factory=list)


@contextlib.contextmanager
def a_webhook() -> Iterator[Webhook]:
    hook = Webhook()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            hook.reached = True
            if hook.hang is not None:
                hook.hang.wait(20)
            hook.paths.append(self.path)
            hook.posted.append(json.loads(body))
            self.send_response(hook.status)
            self.send_header("Content-Length", str(len(hook.answer)))
            self.end_headers()
            self.wfile.write(hook.answer)

        def log_message(self, *_: object) -> None:
            """Keep the output of the tests clean."""

    with _serving(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as port:
        hook.port = port
        yield hook


@dataclass
class Mailbox:
    """A mail server (RFC 5321, as much of it as smtplib speaks) that keeps what it is handed."""

    port: int = 0
    mails: list[Message] = field(default_factory=list)
    refuse: str = ""


@contextlib.contextmanager
def a_mailbox() -> Iterator[Mailbox]:
    box = Mailbox()

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self._say("220 ready")
            with contextlib.suppress(ConnectionError):
                for line in self.rfile:
                    self._obey(line.split()[0].upper() if line.strip() else b"")

        def _obey(self, command: bytes) -> None:
            if command == b"RCPT" and box.refuse:
                self._say(box.refuse)
            elif command == b"DATA":
                self._say("354 go on")
                lines = iter(self.rfile.readline, b".\r\n")
                text = b"".join(line.removeprefix(b".") if line.startswith(b"..") else line for line in lines)
                box.mails.append(email.message_from_bytes(text, policy=default))
                self._say("250 taken")
            else:
                self._say("221 bye" if command == b"QUIT" else "250 ok")

        def _say(self, line: str) -> None:
            self.wfile.write(line.encode() + b"\r\n")

    with _serving(socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)) as port:
        box.port = port
        yield box


@contextlib.contextmanager
def _serving(server: socketserver.ThreadingTCPServer) -> Iterator[int]:
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
