"""The temporary folders of processes: each has its own, and the next clears those of the dead."""

import os
import subprocess
import sys

CLAIM = """
import sys, tempfile
from fmnist import temporary
temporary.claim()
open(tempfile.gettempdir() + "/left", "w").close()
print(tempfile.gettempdir(), flush=True)
sys.stdin.read()
"""


def claiming(base, **more):
    """A process that has claimed its folder, and the folder."""
    environment = {**os.environ, "TMPDIR": str(base), **more}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "env": environment}
    process = subprocess.Popen([sys.executable, "-c", CLAIM], **pipes)
    return process, process.stdout.readline().strip()


def end(process, *, kill):
    if kill:
        process.kill()
    process.communicate(timeout=20)


def names(base):
    return {path.name for path in base.iterdir()}


def test_the_next_process_clears_what_one_that_was_killed_has_left_and_nothing_of_those_that_live(tmp_path):
    killed, _ = claiming(tmp_path)
    lives, folder = claiming(tmp_path)
    child, childs = claiming(folder)  # as a worker has it, which may outlive the one that has started it
    end(killed, kill=True)
    end(lives, kill=True)
    assert len(names(tmp_path)) == 4
    following, _ = claiming(tmp_path)
    assert len(names(tmp_path)) == 4 and os.path.exists(f"{childs}/left")  # noqa: PTH110
    end(child, kill=True)
    end(following, kill=False)
    last, _ = claiming(tmp_path)
    assert len(names(tmp_path)) == 2
    end(last, kill=False)
    assert names(tmp_path) == set()
