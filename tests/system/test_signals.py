"""How long processes live that others have started, and signals that are only noted."""

import os
import signal
import subprocess
import sys
import threading
import time

import psutil
import pytest
from commands import ROOT

from fmnist import signals

CHILD = """
import os, sys, time
from fmnist import signals
signals.end_with(os.getppid())
print("ready", flush=True)
try:
    while True:
        time.sleep(0.1)
except KeyboardInterrupt:
    print("closing", flush=True)
"""
PARENT = f"""
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", {CHILD!r}])
print(child.pid, flush=True)
child.wait()
"""


def test_a_process_closes_what_it_has_open_and_ends_once_its_parent_has_been_killed():
    with subprocess.Popen([sys.executable, "-c", PARENT], cwd=ROOT, stdout=subprocess.PIPE, text=True) as parent:
        child = psutil.Process(int(parent.stdout.readline()))
        assert parent.stdout.readline() == "ready\n"
        parent.kill()
        assert parent.stdout.readline() == "closing\n"
    assert psutil.wait_procs([child], timeout=10)[1] == []


def test_what_is_over_interrupts_and_what_is_not_does_not():
    over = threading.Event()
    with signals.interrupted_when(over.is_set, lambda: 0.01):
        time.sleep(0.1)
    with pytest.raises(KeyboardInterrupt), signals.interrupted_when(over.is_set, lambda: 0.01):
        over.set()
        for _ in range(100):
            time.sleep(0.1)


LOST = """
import gc, os, signal
from fmnist import signals
{listen}
hits = []
def collected(phase, info):
    if not hits:
        hits.append(phase)
        os.kill(os.getpid(), signal.SIGINT)
        for _ in range(1000):  # the interruption comes here, where it goes no further
            pass
gc.callbacks.append(collected)
try:
    gc.collect()
    while True:
        pass
except KeyboardInterrupt:
    print("closing")
"""


@pytest.mark.parametrize("listen", ["signals.Interruption('now')", "signals.end_with(os.getppid())"])
def test_an_interruption_that_falls_into_a_collection_of_garbage_is_not_lost(listen):
    code = LOST.format(listen=listen)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=30, check=True
    )
    assert (done.stdout, done.stderr) == ("closing\n", "")


def test_signals_are_noted_but_for_those_that_are_ignored():
    before = {number: signal.getsignal(number) for number in (signal.SIGUSR1, signal.SIGUSR2)}
    try:
        signal.signal(signal.SIGUSR2, signal.SIG_IGN)
        with signals.preserved(signal.SIGUSR1):
            received = signals.noted(signal.SIGUSR1, signal.SIGUSR2)
            os.kill(os.getpid(), signal.SIGUSR1)
            os.kill(os.getpid(), signal.SIGUSR2)
            assert received == [signal.SIGUSR1]
        assert signal.getsignal(signal.SIGUSR1) == before[signal.SIGUSR1]
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
