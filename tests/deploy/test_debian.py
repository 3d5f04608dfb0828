"""The Debian package, as far as it can be held without building it; `make deb` does all of it."""

import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DEBIAN = ROOT / "deploy" / "debian"
SCRIPTS = ("nostr-bunker-setup", "nostr-bunker.postinst", "nostr-bunker.postrm", "build")


def setup(*words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["sh", str(DEBIAN / "nostr-bunker-setup"), *words],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        env={"PATH": os.environ["PATH"]},
        timeout=20,
        check=False,
    )


@pytest.mark.parametrize("name", SCRIPTS)
def test_shell_takes_the_script(name: str) -> None:
    shell = "bash" if name == "build" else "sh"
    subprocess.run([shell, "-n", str(DEBIAN / name)], check=True)


@pytest.mark.parametrize("address", ["relay.example.org", "https://relay.example.org", "ws://"])
def test_setup_says_what_an_address_is(address: str) -> None:
    """What is no WebSocket address is shown the usage, and nothing is begun."""
    done = setup(address)
    assert done.returncode == 2
    assert "wss://relay.example.org" in done.stderr


@pytest.mark.parametrize("address", ["ws://a|b", "wss://a b", "wss://a;reboot", "wss://a/&x"])
def test_setup_takes_no_address_that_a_settings_file_would_misread(address: str) -> None:
    """The address is written into a file that root's services read."""
    done = setup("--yes", address)
    assert done.returncode == 1
    assert "not the address of a relay" in done.stderr


def test_settings_that_setup_writes_are_in_the_files() -> None:
    """Each variable that the script fills in has its line in the file that the package brings."""
    text = (DEBIAN / "nostr-bunker-setup").read_text()
    relay, signer = (
        (ROOT / "deploy" / "systemd" / f"{name}.env.example").read_text()
        for name in ("relay", "signer")
    )
    named = set(re.findall(r"\b(BUNKER_RELAY_[A-Z]+)\b", text))
    assert named == {"BUNKER_RELAY_SIGNERS", "BUNKER_RELAY_OWNER", "BUNKER_RELAY_URL"}
    assert all(re.search(f"^{name}=", relay, re.MULTILINE) for name in named)
    assert re.search("^BUNKER_RELAY_URL=", signer, re.MULTILINE)


def test_users_of_the_units_are_made() -> None:
    """The units' two users, and nobody else, are of sysusers.d."""
    made = re.findall(r"^u (\S+)", (DEBIAN / "nostr-bunker.sysusers").read_text(), re.MULTILINE)
    units = [
        re.findall("^User=(.*)$", path.read_text(), re.MULTILINE)[0]
        for path in sorted((ROOT / "deploy" / "systemd").glob("*.service"))
    ]
    assert made == units


def test_removal_keeps_the_key_and_purge_alone_deletes_it() -> None:
    """`rm` of what is kept stands in the branch of `purge`, and nowhere else."""
    script = (DEBIAN / "nostr-bunker.postrm").read_text()
    before, _, after = script.partition("purge)")
    assert "rm " not in before
    assert "rm -rf /var/lib/bunker-relay /var/lib/bunker-signer\n" in after
    for name in ("nostr-bunker.prerm", "nostr-bunker.postinst"):
        assert "rm " not in (DEBIAN / name).read_text()
