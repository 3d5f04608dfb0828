"""The systemd units: sound, narrow, and wide enough for what they run."""

import ctypes.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner

from bunker.cli import main
from support.require import need

ROOT = Path(__file__).parents[2]
UNITS = ROOT / "deploy" / "systemd"
NAMES = ("bunker-relay", "bunker-signer")
MOST_EXPOSURE = 2.0  # of 10, as systemd counts


def analyze(*arguments: str) -> str:
    need(shutil.which("systemd-analyze"), "systemd-analyze")
    result = subprocess.run(
        ["systemd-analyze", *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "SYSTEMD_COLORS": "0", "SYSTEMD_PAGER": ""},
        timeout=60,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout + result.stderr


@pytest.mark.parametrize("name", NAMES)
def test_unit_is_sound(name: str, tmp_path: Path) -> None:
    """systemd knows every setting of the unit and finds nothing to complain about."""
    unit = tmp_path / f"{name}.service"
    program = Path(sys.executable).with_name("bunker")
    text = (UNITS / f"{name}.service").read_text()
    unit.write_text(text.replace("/opt/nostr-bunker/bin/bunker", str(program)))
    said = analyze("verify", "--man=no", "--recursive-errors=no", str(unit))
    assert name not in said


@pytest.mark.parametrize("name", NAMES)
def test_unit_exposes_little(name: str) -> None:
    """`systemd-analyze security` gives less than 2.0."""
    said = analyze("security", "--offline=true", str(UNITS / f"{name}.service"))
    score = float(re.findall(r"Overall exposure level for \S+: ([\d.]+)", said)[0])
    print(f"{name}: exposure {score}")
    assert score < MOST_EXPOSURE


def test_a_relay_that_hangs_is_noticed_within_ten_seconds() -> None:
    """systemd counts from the last sign of life, which is before the relay stopped."""
    text = (UNITS / "bunker-relay.service").read_text()
    assert 3 <= int(re.findall(r"^WatchdogSec=(\d+)$", text, re.MULTILINE)[0]) <= 10


def test_users_differ_and_the_relay_has_no_credential() -> None:
    """Relay and signer run as two users, and only the signer is given the master key."""
    relay, signer = ((UNITS / f"{name}.service").read_text() for name in NAMES)
    users = {re.findall(r"^User=(.*)$", text, re.MULTILINE)[0] for text in (relay, signer)}
    assert len(users) == 2
    assert "Credential" not in relay
    assert "LoadCredentialEncrypted=bunker-master-key" in signer


@pytest.mark.parametrize("name", NAMES)
def test_files_are_enough_for_a_crowd(name: str) -> None:
    """More than systemd's 1024, a share of which a crowd of connections would soon have taken."""
    assert "\nLimitNOFILE=65536\n" in (UNITS / f"{name}.service").read_text()


@contextmanager
def sandboxed(name: str, ready: str, *arguments: str) -> Iterator[str]:
    """Run a command as its unit would; yield the line that says it is ready."""
    sandbox = str(Path(__file__).with_name("_sandbox.py"))
    unit = str(UNITS / f"{name}.service")
    process = subprocess.Popen(
        [sys.executable, sandbox, unit, sys.executable, "-m", "bunker", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    assert process.stderr
    try:
        lines = iter(process.stdout.readline, "")
        line = next((line for line in lines if line.startswith(ready)), None)
        assert line, process.stderr.read()
        status = Path(f"/proc/{process.pid}/status").read_text()
        assert re.search(r"^Seccomp:\s+2$", status, re.MULTILINE), "the filter is not in force"
        yield line.removeprefix(ready).strip()
    finally:
        process.terminate()
        process.communicate(timeout=20)


def test_both_work_under_their_system_call_filters(tmp_path: Path) -> None:
    """Under the units' filters, and without memory to write code into, an event is signed."""
    need(shutil.which("systemd-analyze"), "systemd-analyze")
    need(ctypes.util.find_library("seccomp"), "libseccomp")
    data = ("--data", str(tmp_path / "relay"))
    with sandboxed(
        "bunker-relay", "relay listening on ", "relay", "run", "--port", "0", *data
    ) as url:
        run = (
            "signer",
            "run",
            "--pair",
            "--relay",
            url,
            "--profile",
            "full",
            "--data",
            f"{tmp_path}/signer",
        )
        with sandboxed("bunker-signer", "bunker://", *run) as uri:
            result = CliRunner().invoke(
                main, ["sign", "--uri", f"bunker://{uri}"], input='{"kind":1}'
            )
            assert result.exit_code == 0, result.output
            assert '"sig"' in result.output


@pytest.mark.parametrize("name", ["relay", "signer"])
def test_example_environment_is_taken(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every variable of the example is one that the program knows."""
    text = (UNITS / f"{name}.env.example").read_text()
    variables = dict(re.findall(r"^([A-Z_]+)=(.*)$", text, re.MULTILINE))
    assert variables
    if name == "signer":
        unit = (UNITS / "bunker-signer.service").read_text()
        assert all(f"${{{variable}}}" in unit for variable in variables)
        return
    someone = "79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798"
    for variable, value in variables.items():
        monkeypatch.setenv(variable, value or someone)
    result = CliRunner().invoke(main, ["relay", "config"])
    assert result.exit_code == 0, result.output
    assert 'profile = "private"' in result.output
    assert someone in result.output
