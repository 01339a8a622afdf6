"""The command for trying a shared server: `python -m fmnist.server start`, MLflow with PostgreSQL on loopback."""

import argparse
import importlib.util
import sys
from pathlib import Path

from fmnist.advice import command_for
from fmnist.cli import server, trial_server
from fmnist.cli.entry import Action, Parser, act, enter
from fmnist.cli.trial_server import TrialServer
from fmnist.config import UserError

EXAMPLES = """\
examples:
  python -m fmnist.server start        PostgreSQL and MLflow's server, on this machine alone; prints their address
  python -m fmnist.server stop         ends both; what is recorded stays in mlruns/server
"""


def _of(arguments: argparse.Namespace) -> TrialServer:
    return TrialServer(Path(arguments.store) / "server")


def _start(arguments: argparse.Namespace) -> None:
    if importlib.util.find_spec("psycopg") is None:
        raise UserError("PostgreSQL needs the package psycopg; install it: pip install 'fmnist[postgres]'")
    servers = _of(arguments)
    if servers.is_running:
        print(f"MLflow's server of {servers.folder} is running already")
    else:
        servers.check(arguments.port, arguments.database_port)
        print("starting PostgreSQL and MLflow's server, the first time about half a minute ...", file=sys.stderr)
        servers.start(arguments.port, arguments.database_port)
    print(f"export MLFLOW_TRACKING_URI={server.address(trial_server.HOST, servers.port)}")
    print(
        f"so that all commands use it; '{command_for('server-stop')}' ends it, and what is recorded stays",
        file=sys.stderr,
    )


def _stop(arguments: argparse.Namespace) -> None:
    servers = _of(arguments)
    ended = servers.stop()
    print(f"both servers of {servers.folder} have ended" if ended else f"no server of {servers.folder} is running")


def _add_ports(parser: Parser) -> None:
    parser.add_port("--port", 5000, "port of MLflow's server")
    parser.add_port("--database-port", 5433, "port of PostgreSQL")


ACTIONS = {
    "start": Action("Have PostgreSQL and MLflow's server answer on this machine alone.", _start, _add_ports),
    "stop": Action("End both; what is recorded stays.", _stop, lambda parser: None),
}


def main(argv: list[str] | None = None) -> int:
    """Carry out the command line; see `fmnist.cli.entry`."""
    arguments = sys.argv[1:] if argv is None else argv
    description = "MLflow's server with PostgreSQL behind it, for trying out what a team has."
    return enter("fmnist.server", lambda: act("fmnist.server", description, EXAMPLES, ACTIONS, arguments))


if __name__ == "__main__":
    raise SystemExit(main())
