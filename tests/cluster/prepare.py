"""`make test-cluster`: install what is missing where that may be done, then run the tests where nobody else can reach.

Ray listens on every interface for a while, so root runs the tests in a network of their own that has loopback alone.
It lies in a folder of its own, .cluster/ray: its launcher wants another cloudpickle and another urllib3 (by boto3) than
requirements.lock has, and it is 200 MB that nobody else needs.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
RAY = ROOT / ".cluster" / "ray"
# Slurm takes no name for known on a machine that has no address but 127.0.0.1, so loopback has another one.
ONLY_LOOPBACK = 'ip link set lo up && ip address add 192.0.2.1/32 dev lo && exec "$@"'
LONELY = ["unshare", "--net", "sh", "-c", ONLY_LOOPBACK, "sh"]


def install() -> None:
    """Debian's packages as root, Ray into its folder; what cannot be had is skipped by the tests, with the reason."""
    missing = [name for name, is_there in PACKAGES.items() if not is_there()]
    if missing and os.geteuid() == 0 and shutil.which("apt-get"):
        print(f"installing {', '.join(missing)} ...", flush=True)
        quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        install = ["install", "--yes", "--no-install-recommends"]
        commands = [["update"], *([*install, name] for name in missing)]  # one that is not to be had stops no other
        for command in commands:
            subprocess.run(["apt-get", *command], env=quiet, stdout=subprocess.DEVNULL, check=False)
    if not (RAY / "ready").exists():
        print("installing Ray into .cluster/ray ...", flush=True)
        uv = [ROOT / ".venv/bin/uv", "pip", "install", "--quiet", "--python", sys.executable, "--target", RAY]
        for which in (["--constraint", ROOT / "requirements.lock", "ray"], ["--no-deps", "hydra-ray-launcher"]):
            if subprocess.run([*uv, *which], check=False).returncode:
                return
        (RAY / "ready").touch()


PACKAGES = {
    "postgresql": lambda: any(Path("/usr/lib/postgresql").glob("*/bin/initdb")),
    "slurm-wlm": lambda: shutil.which("slurmctld"),
    "munge": lambda: shutil.which("munged"),
    "iproute2": lambda: shutil.which("ip"),
}


def main() -> None:
    install()
    lonely = LONELY if subprocess.run([*LONELY, "true"], capture_output=True, check=False).returncode == 0 else []
    command = [*lonely, sys.executable, "-m", "pytest", "-m", "cluster", "-o", "testpaths=tests/cluster", *sys.argv[1:]]
    os.chdir(ROOT)
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()
