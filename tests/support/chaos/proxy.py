"""A TCP proxy between two processes, at which the network can be cut, stopped, or made to lie."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import Literal

# refuse: connections break, and none is made. stall: nothing is delivered, nothing breaks.
# lose-answers: what is sent arrives, and the connection breaks before an answer is delivered.
Mode = Literal["pass", "refuse", "stall", "lose-answers"]
_PIECE = 65536


class Proxy:
    """Listens on `port` and passes everything on to `target`, as its mode allows."""

    def __init__(self, port: int, target: int) -> None:
        self.port, self._target = port, target
        self._mode: Mode = "pass"
        self._delivers = threading.Event()
        self._delivers.set()
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self.broken = 0  # answers that were lost
        self._listening = socket.create_server(("127.0.0.1", port))
        threading.Thread(target=self._accept, daemon=True, name=f"proxy-{port}").start()

    def be(self, mode: Mode) -> None:
        """Change the mode; what was stalled is delivered once it no longer is."""
        self._mode = mode
        if mode == "refuse":
            self._break_all()
        if mode == "stall":
            self._delivers.clear()
        else:
            self._delivers.set()

    def close(self) -> None:
        """End all connections."""
        self._mode = "refuse"
        self._delivers.set()
        self._listening.close()
        self._break_all()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            if self._mode == "refuse":
                client.close()
                continue
            threading.Thread(target=self._connect, args=(client,), daemon=True).start()

    def _connect(self, client: socket.socket) -> None:
        self._delivers.wait()
        try:
            server = socket.create_connection(("127.0.0.1", self._target), timeout=5)
        except OSError:
            client.close()
            return
        server.settimeout(None)
        for end in (client, server):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with self._lock:
            self._open |= {client, server}
        threading.Thread(target=self._pass, args=(client, server, False), daemon=True).start()
        self._pass(server, client, True)

    def _pass(self, source: socket.socket, sink: socket.socket, answers: bool) -> None:
        with suppress(OSError):
            while data := source.recv(_PIECE):
                self._delivers.wait()
                if answers and self._mode == "lose-answers":
                    self.broken += 1
                    break
                sink.sendall(data)
        self._break(source, sink)

    def _break_all(self) -> None:
        with self._lock:
            held = list(self._open)
        self._break(*held)

    def _break(self, *ends: socket.socket) -> None:
        for end in ends:
            with self._lock:
                self._open.discard(end)
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
