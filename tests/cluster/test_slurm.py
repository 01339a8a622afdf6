"""Jobs of Slurm that reach their time limit and are requeued: the bits of one machine."""

import os
import shutil
import signal
import socket
import subprocess
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from chaos import Sweep
from server import until
from sharing import ending, ends, same, skip_if_others_can_reach, tells_no_password, trained

NEEDED = ("munged", "slurmctld", "slurmd", "sbatch", "scontrol")
CONF = """\
ClusterName=try
SlurmctldHost={host}(127.0.0.1)
AuthType=auth/munge
AuthInfo=socket={place}/munge.socket
SlurmUser=root
SlurmdUser=root
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SchedulerType=sched/backfill
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
KillWait=5
MinJobAge=3600
JobRequeue=1
StateSaveLocation={place}/state
SlurmdSpoolDir={place}/spool
SlurmctldPidFile={place}/slurmctld.pid
SlurmdPidFile={place}/slurmd.pid
SlurmctldLogFile={place}/slurmctld.log
SlurmdLogFile={place}/slurmd.log
NodeName={host} NodeAddr=127.0.0.1 CPUs={cores} RealMemory={memory} State=UNKNOWN
PartitionName=all Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


def answers(command):
    return subprocess.run(command, capture_output=True, check=False, timeout=60).returncode == 0


@pytest.fixture
def slurm(servers, folder, monkeypatch):
    """Slurm on this machine, with this node alone and keys of its own; the settings of a sweep that uses it."""
    if missing := [name for name in NEEDED if not shutil.which(name)]:
        pytest.skip(f"there is no {missing[0]}: apt-get install slurm-wlm munge")
    skip_if_others_can_reach("Slurm")
    place = folder / "slurm"
    for each in (place, place / "state", place / "spool"):
        each.mkdir(mode=0o755)
    key, conf = place / "munge.key", place / "slurm.conf"
    key.touch(mode=0o600)
    key.write_bytes(os.urandom(128))
    cores, memory = min(2, os.cpu_count()), 3000
    conf.write_text(CONF.format(host=socket.gethostname(), place=place, cores=cores, memory=memory))
    monkeypatch.setenv("SLURM_CONF", str(conf))
    files = {"key": key, **{name: place / f"munge.{name}" for name in ("socket", "pid", "log", "seed")}}
    munged = ["munged", "--foreground", "--force", f"--key-file={key}", f"--socket={files['socket']}"]
    munged += [f"--{name}-file={files[name]}" for name in ("pid", "log", "seed")]
    daemons = []
    try:
        for command, is_there in (
            (munged, ["munge", "--no-input", f"--socket={files['socket']}"]),
            (["slurmctld", "-D"], ["scontrol", "ping"]),
            (["slurmd", "-D"], ["srun", "--time=1", "true"]),
        ):
            with (place / f"{command[0]}.txt").open("w") as said:
                daemons.append(subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=said, stderr=said))
            until(lambda wanted=is_there: answers(wanted), 120)
        yield servers.settings(SLURM_CONF=str(conf))
    finally:
        if len(daemons) > 1:
            answers(["scancel", "--full", "--user=root"])
            until(lambda: not jobs(), 60)
        for daemon in reversed(daemons):
            daemon.terminate()
            daemon.wait(60)


def jobs():
    """The processes of this Slurm's jobs: the job, how often it was requeued."""
    found = {}
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.cmdline()[1:4] == ["-u", "-m", "submitit.core._submit"]:  # not srun before it
                variables = process.environ()
                if variables.get("SLURM_CONF") == os.environ["SLURM_CONF"]:
                    found[process] = variables["SLURM_JOB_ID"], int(variables.get("SLURM_RESTART_COUNT", 0))
    return found


def has_been_told(process):
    """Whether the signal that Slurm sends before a job's limit waits for it."""
    line = next(line for line in Path(f"/proc/{process.pid}/status").read_text().splitlines() if "ShdPnd" in line)
    return int(line.split()[1], 16) >> (signal.SIGUSR2 - 1) & 1


def be_slow(sweep):
    """Hold one job up, each time that it has trained something, until its limit is near, twice; how often it began."""
    begun, held = {}, None
    while not sweep.ends(1.0):
        for process, (job, count) in jobs().items():
            begun[job] = max(count, begun.get(job, 0))
            held = held or job
            newest = max((moment for _, moment in trained(sweep.store)), default=0) / 1e9
            with suppress(psutil.Error, OSError):
                if job == held and count < 2 and newest > process.create_time() + 1:
                    process.send_signal(signal.SIGCONT if has_been_told(process) else signal.SIGSTOP)
    return begun[held]


def test_a_job_that_reaches_its_time_limit_twice_is_requeued_and_goes_on(slurm, servers, folder, arguments, alone):
    limits = ["timeout_min=2", "signal_delay_s=30", "mem_gb=1"]
    options = ["hydra/launcher=slurm", *(f"hydra.launcher.{limit}" for limit in limits)]
    sweep = Sweep([*arguments, *options], folder / "mlruns", slurm, folder)
    with ending(sweep):
        assert be_slow(sweep) == 2
        ends(sweep)
    same(alone, servers, sweep.store)
    tells_no_password(servers, folder, but=folder / "slurm" / "state")  # Slurm's own copy of the job's environment
