"""The programs behind docs/conformance.md do what the kit tells them: Go, Rust, and a signer."""

import subprocess
import sys

import pytest

from interop.peers import node
from interop.tables.conformance import NODE, built_client
from support.require import need

TIMEOUT = 60.0  # seconds


def judge(kind: str, cases: tuple[str, ...], *words: str) -> None:
    chosen = [word for name in cases for word in ("--case", name)]
    command = (sys.executable, "-m", "bunker", "conformance", kind, *chosen, "--level", "may")
    done = subprocess.run(
        (*command, *words), capture_output=True, text=True, check=False, timeout=TIMEOUT
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(cases)} case" in done.stdout
    assert "not offered" not in done.stdout


@pytest.mark.parametrize("tool", ["go", "cargo"])
def test_a_client_logs_in_signs_and_decrypts(tool: str) -> None:
    try:
        program = built_client(tool)
    except subprocess.CalledProcessError:
        program = None  # its packages can't be had
    need(program, f"{tool}, to build tests/interop's clients")
    cases = (
        "client/login/two-keys",
        "client/wire/sign-template",
        "client/answer/encrypts",
        "client/answer/out-of-order",  # go-nostr asks in NIP-04, and reads no answer in another
    )
    for case in cases:
        for left in (2, 1, 0):  # go-nostr asks before it listens, and so may miss an answer
            try:
                judge("client", (case,), "--", str(program))
                break
            except AssertionError:
                if left == 0 or tool != "go":
                    raise


def test_a_signer_of_nostr_tools_pairs_both_ways_and_signs() -> None:
    command = (*node("conformance/signer.mjs"), "nostr-tools")
    assert command[1] == str(NODE / "signer.mjs")
    cases = ("signer/method/sign-event", "signer/nostrconnect/serves")
    judge(
        "signer",
        cases,
        "--accept",
        f"{' '.join(command)} --accept {{uri}}",
        "--",
        *command,
        "{relay}",
    )
