"""Other projects use the kit as docs/how-to/conformance.md says."""

import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.require import need
from support.wire import running_relay

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "how-to" / "conformance.md").read_text()
CI = [
    line.partition("- run: ")[2]
    for block in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    for line in block.splitlines()
    if "bunker conformance" in line
]
BUNKER = Path(sys.executable).with_name("bunker")


@pytest.fixture(scope="module")
def relay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A relay with the limits that users have."""
    with running_relay(tmp_path_factory.mktemp("relay") / "data") as relay:
        yield relay.url


def run(folder: Path, line: str) -> "subprocess.CompletedProcess[str]":
    words = shlex.split(line)
    command = [str(BUNKER) if word == "bunker" else word for word in words]
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )


def test_the_page_shows_a_line_for_a_relay_and_one_for_a_client() -> None:
    """What the tests below run is what the page shows."""
    assert [line.split()[2] for line in CI] == ["relay", "client"]


def test_a_relay_in_another_projects_ci(tmp_path: Path, relay: str) -> None:
    """The page's line for pip: exit code 0 for a relay that passes, and the report of JUnit."""
    done = run(tmp_path, CI[0].replace("ws://127.0.0.1:7777", relay))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "<testsuite" in (tmp_path / "relay.xml").read_text()


def test_a_client_in_another_projects_ci() -> None:
    """The page's line for npx: the driver is a bin of the other project's package."""
    folder = ROOT / "examples" / "testbed-node"
    need(shutil.which("npx"), "npx")
    need((folder / "node_modules" / "nostr-tools").is_dir(), "make peers (npm)")
    done = run(folder, CI[1])
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 of 1 pass" in done.stdout


def test_another_projects_pytest_has_a_test_a_case(tmp_path: Path, relay: str) -> None:
    """Five lines become a test for every case; what the relay does not offer is skipped."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        dead = f"ws://127.0.0.1:{free.getsockname()[1]}"
    (tmp_path / "test_relay.py").write_text(
        "def test_my_relay(relay_conformance):\n"
        f"    relay_conformance({relay!r}, level='must')\n\n\n"
        "def test_dead(relay_conformance):\n"
        f"    relay_conformance({dead!r})\n"
    )
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST", "BUNKER"))}
    plain = ("-p", "no:cacheprovider", "-p", "no:asyncio", "-q", "-W", "error", "-rsf")
    chosen = ("-k", "relay/24133/f or (my_relay and (relay/event or restart/back))")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *plain, *chosen],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    said = done.stdout + done.stderr
    assert "test_my_relay[relay/event/ok]" not in said  # it passed
    assert "FAILED test_relay.py::test_dead[relay/24133/forwarded-to-p]" in said, said
    assert "1 failed" in said, said
    assert "not run: the relay was not started by the kit" in said, said


def test_signers_and_clients_are_started_once_for_all_tests(tmp_path: Path) -> None:
    """A command serves the session: two cases of each kind pass against one process of each."""
    naive = Path(__file__).with_name("naive_client.py")
    started = tmp_path / "started"
    (tmp_path / "count.py").write_text(
        "import os, sys\n"
        f"with open({str(started)!r}, 'a') as file:\n    file.write('x')\n"
        "os.execv(sys.executable, [sys.executable, *sys.argv[1:]])\n"
    )
    run_signer = ("-m", "bunker", "signer", "run", "--pair", "--allow", "sign_event:1")
    counted = (sys.executable, str(tmp_path / "count.py"))
    signer = (*counted, *run_signer, "--data", "{dir}/s", "--relay={relay}")
    (tmp_path / "test_both.py").write_text(
        f"def test_signer(signer_conformance):\n    signer_conformance(*{signer!r})\n\n\n"
        f"def test_client(client_conformance):\n"
        f"    client_conformance(*{(*counted, str(naive))!r})\n"
    )
    chosen = (
        "-k",
        "signer/method/ping or signer/method/get-public or login/pairs or login/secret]",
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:asyncio", *chosen],
        cwd=tmp_path,
        env={k: v for k, v in os.environ.items() if not k.startswith(("PYTEST", "BUNKER"))},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert "4 passed" in done.stdout, done.stdout + done.stderr
    assert started.read_text() == "xx"
