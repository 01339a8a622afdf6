"""Why `make server` does not start, in one line; what it starts is tried by `make test-cluster`."""

import os
import socket

import pytest
from commands import here, mistake
from server import free_port

from fmnist.cli import trial_server


@pytest.fixture
def start(tmp_path, monkeypatch):
    """Start where PostgreSQL's programs seem to be, but do nothing; the line with which that is refused."""
    programs = tmp_path / "versions" / "15" / "bin"
    programs.mkdir(parents=True)
    for name in trial_server.PROGRAMS:
        (programs / name).touch()
    monkeypatch.setattr(trial_server, "VERSIONS", tmp_path / "versions")
    monkeypatch.setenv("PATH", "")
    ports = {"--port": free_port(), "--database-port": free_port()}

    def refusal(**taken):
        given = ports | {f"--{name.replace('_', '-')}": port for name, port in taken.items()}
        return mistake("server", "start", "--store", tmp_path, *(f"{name}={port}" for name, port in given.items()))

    return refusal


@pytest.mark.parametrize("option", ["port", "database_port"])
def test_a_port_that_is_taken_is_named_with_its_option_and_one_that_is_free(option, start):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        said = start(**{option: port})
    assert f"port {port} of 127.0.0.1 is taken; --{option.replace('_', '-')} " in said and said.endswith(" is free\n")


def test_a_machine_without_postgresql_is_told_what_to_install(start, tmp_path, monkeypatch):
    monkeypatch.setattr(trial_server, "VERSIONS", tmp_path / "none")
    assert "there is no PostgreSQL on this machine; install it: apt-get install postgresql" in start()


def test_root_is_told_that_somebody_else_has_to_run_it(start, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(trial_server, "OWNER", "nobody.of.that.name")
    assert "PostgreSQL does not run as root, and there is no user nobody.of.that.name; be another user" in start()


def test_to_stop_what_is_not_running_is_no_mistake(tmp_path):
    assert "no server" in here("server", "stop", "--store", tmp_path).stdout


def test_what_a_machine_that_lost_its_power_left_is_no_server(tmp_path):
    note = tmp_path / "server" / "postgres" / "postmaster.pid"
    note.parent.mkdir(parents=True)
    note.write_text(f"{2**22 + 1}\n")  # no process has that number
    assert "no server" in here("server", "stop", "--store", tmp_path).stdout
