"""The service and the notification for Termux, run here with stand-ins for what Android has."""

import asyncio
import json
import os
import shlex
import shutil
import sys
from pathlib import Path

from bunker.harness import running_relay
from bunker_signer.approvers.notify import Command, Notice

TERMUX = Path(__file__).parents[2] / "deploy" / "termux"
TITLE = "--action; $(touch x) `id`"  # an app's name can be anything


def stand_in(folder: Path, name: str) -> Path:
    """Put a program into `folder` that writes its arguments, a JSON list, where it is told."""
    told = folder / f"{name}.json"
    program = folder / name
    program.write_text(
        f"#!{sys.executable}\nimport json, sys\n"
        f"open({str(told)!r}, 'w').write(json.dumps(sys.argv[1:]))\n"
    )
    program.chmod(0o755)
    return told


async def test_notification_says_what_waits_and_runs_nothing(tmp_path: Path) -> None:
    """What an app calls itself is text; the action opens our own link, quoted."""
    told = stand_in(tmp_path, "termux-notification")
    hook = tmp_path / "hook"
    hook.write_text(
        f"#!/bin/sh\nPATH={shlex.quote(str(tmp_path))}:$PATH exec {shlex.quote(sys.executable)} "
        f"{shlex.quote(str(TERMUX / 'notify'))}\n"
    )
    hook.chmod(0o755)
    link = "http://localhost:7778/requests/a'b"
    await Command(str(hook)).send(Notice(title=TITLE, text="asks to sign a note", link=link))
    words = json.loads(told.read_text())
    assert words[words.index("--title") + 1] == TITLE
    assert words[words.index("--content") + 1] == "asks to sign a note"
    assert shlex.split(words[words.index("--action") + 1]) == ["termux-open-url", link]


async def test_service_holds_the_wake_lock_and_runs_the_signer(tmp_path: Path) -> None:
    """The script as it is, by this machine's shell: the signer is up, on the relay named."""
    told = stand_in(tmp_path, "termux-wake-lock")
    home = tmp_path / "home"
    (home / "phone").mkdir(parents=True)
    bunker = shutil.which("bunker", path=str(Path(sys.executable).parent))
    assert bunker
    script = (TERMUX / "run").read_text()
    assert script.count("127.0.0.1:7778") == 1
    service = tmp_path / "run"
    service.write_text(script.replace("127.0.0.1:7778", "127.0.0.1:0"))
    async with running_relay(tmp_path / "relay") as relay:
        (home / "phone" / "relay").write_text(f"{relay.url}\n")
        process = await asyncio.create_subprocess_exec(
            *("sh", str(service)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            env={
                "HOME": str(home),
                "BUNKER": bunker,
                "PATH": f"{tmp_path}:{os.environ['PATH']}",
            },
        )
        assert process.stdout is not None
        try:
            async with asyncio.timeout(60):
                said = ""
                while "no URI is shown here" not in said:
                    line = await process.stdout.readline()
                    assert line, said
                    said += line.decode()
        finally:
            process.terminate()
            await process.wait()
    assert told.exists()
    assert relay.url in said
    assert "bunker://" not in said
