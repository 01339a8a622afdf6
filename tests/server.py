"""MLflow's own tracking server, started for tests, and a line to it that can be cut."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from http.client import HTTPConnection, HTTPException

from fmnist.config import Config, DataConfig, ModelConfig, from_flat

URI = "MLFLOW_TRACKING_URI"


def until(true, seconds=60.0):
    """Wait for something to become true."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


class Line:
    """A port behind which another one answers, until it is cut: then nobody listens there."""

    def __init__(self, port):
        self.port, self._behind, self._listener, self._ends = free_port(), port, None, []
        self._lock = threading.Lock()  # of listener and ends: what is accepted while the line is cut is closed too

    def mend(self):
        self._listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def cut(self):
        with self._lock:
            open_ones = [end for end in (self._listener, *self._ends) if end is not None]
            self._listener, self._ends = None, []
        for end in open_ones:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    @property
    def is_cut(self):
        return self._listener is None

    def _accept(self, listener):
        with suppress(OSError):  # of a listener that is closed
            while True:
                self._connect(listener, listener.accept()[0])

    def _connect(self, listener, near):
        try:
            far = socket.create_connection(("127.0.0.1", self._behind))
        except OSError:
            near.close()
            return
        with self._lock:
            is_cut = self._listener is not listener
            self._ends += [] if is_cut else [near, far]
        if is_cut:
            near.close()
            far.close()
            return
        for one, other in ((near, far), (far, near)):
            threading.Thread(target=self._pass_on, args=(one, other), daemon=True).start()

    def _pass_on(self, one, other):
        with suppress(OSError):
            while content := one.recv(65536):
                other.sendall(content)
        for end in (one, other):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """MLflow's own tracking server, with its artifacts behind it.

    It is spoken to by a line, which is cut and mended at once: another start takes seconds. It can be killed too.
    """

    def __init__(self, folder):
        self.folder, self.process, self._own_port = folder, None, free_port()
        self.line = Line(self._own_port)

    @property
    def port(self):
        return self.line.port

    @property
    def uri(self):
        return f"http://127.0.0.1:{self.port}"

    def start(self):
        quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        place = ["--host", "127.0.0.1", "--port", str(self._own_port), "--workers", "1"]
        data = [
            "--backend-store-uri",
            f"sqlite:///{self.folder}/mlflow.db",
            "--artifacts-destination",
            f"{self.folder}/artifacts",
        ]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "mlflow", "server", *place, *data],
            env={key: value for key, value in os.environ.items() if key != URI} | quiet,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        return self

    def wait(self):
        if self.line.is_cut:
            self.line.mend()
        until(self._answers)
        return self

    def _answers(self):
        connection = HTTPConnection("127.0.0.1", self.port, timeout=1)
        try:
            connection.request("GET", "/health")
            return connection.getresponse().status == 200
        except (OSError, HTTPException):
            return False
        finally:
            connection.close()

    def kill(self):
        self.line.cut()
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def tiny(images, store, **options):
    """A run of a second."""
    base = Config(
        data=DataConfig(dir=str(images)),
        model=ModelConfig(filters=4, kernel_size=3, dense_units=16),
        batch_size=32,
        store=str(store),
    )
    return from_flat(base, {"compute.precision": "float32", "compute.threads": 1, **options})
