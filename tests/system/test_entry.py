"""How a command ends when it is interrupted; a body that closes slowly stands for a run or a sweep."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest
from commands import ROOT

from fmnist.training.libraries import quiet_stderr

BODY = """
import subprocess, sys, time
from fmnist.cli.entry import enter

def body():
    worker = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
    try:
        print(worker.pid, flush=True)
        time.sleep(60)
    finally:
        print("closing", flush=True)
        time.sleep(CLOSING)
        worker.communicate()

sys.exit(enter("fmnist.cli.entry", body, "go on"))
"""


def command(closing):
    line = [sys.executable, "-c", BODY.replace("CLOSING", str(closing))]
    return subprocess.Popen(line, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_folder_that_has_been_removed_is_told_in_a_line(tmp_path):
    line = f"rmdir {tmp_path / 'gone'} && {sys.executable} -m fmnist.watch"
    (tmp_path / "gone").mkdir()
    path = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        ["sh", "-c", line], cwd=tmp_path / "gone", env=path, capture_output=True, text=True, check=False
    )
    said = "fmnist.watch: the folder that this was started in has been removed; change to another\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", said)


@pytest.mark.parametrize(("error", "told"), [(KeyboardInterrupt, ""), (ImportError, "what it said")])
def test_what_libraries_print_as_they_load_is_told_where_they_fail_and_not_where_they_are_interrupted(
    error, told, capfd
):
    with pytest.raises(error), quiet_stderr():
        os.write(2, b"what it said")
        raise error
    assert capfd.readouterr().err == told


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_lets_everything_close(number):
    with command(closing=0.2) as process:
        worker = int(process.stdout.readline())
        process.send_signal(number)
        out, err = process.communicate(timeout=10)
    assert (process.returncode, out, err) == (130, "closing\n", "\nfmnist.cli.entry: interrupted; go on\n")
    assert not psutil.pid_exists(worker)


def test_an_error_that_a_library_makes_of_a_signal_is_the_interruption_all_the_same():
    body = "    try: print(flush=True); time.sleep(60)\n    except KeyboardInterrupt: raise ImportError('half')\n"
    start = "import sys, time; from fmnist.cli.entry import enter\ndef body():\n"
    code = start + body + "sys.exit(enter('fmnist.cli.entry', body, 'go on'))"
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, **pipes) as process:
        process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=10)
    assert (process.returncode, err) == (130, "\nfmnist.cli.entry: interrupted; go on\n")


@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
def test_the_second_ends_at_once_what_is_closing_and_all_that_it_started(second):
    with command(closing=60) as process:
        worker = psutil.Process(int(process.stdout.readline()))
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == "closing\n"
        began = time.monotonic()
        process.send_signal(second)
        _, err = process.communicate(timeout=10)
    assert time.monotonic() - began < 2
    assert (process.returncode, err) == (130, "\nfmnist.cli.entry: interrupted; go on\n")
    assert psutil.wait_procs([worker], timeout=5)[1] == []
