"""Judge everything that runs here and write docs/conformance.md: `make conformance`.

    python tests/interop/tables/conformance.py PAGE RUNS [NAME...]

RUNS is a directory for the runs' JSON; with names, only those targets are judged anew. What this
machine has not (go, cargo, .venv-bench) is left out, with a word on standard error.
"""

import json
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[3]
HERE: Final = ROOT / "tests" / "interop"
NODE: Final = HERE / "node" / "conformance"
BUILT: Final = ROOT / "bench" / "results" / "built"
BENCH: Final = ROOT / ".venv-bench" / "bin"
BUNKER: Final = (sys.executable, "-m", "bunker")
ALLOW: Final = (
    "sign_event:1,sign_event:3,sign_event:4,nip44_encrypt,nip44_decrypt,nip04_encrypt,nip04_decrypt"
)
PORT: Final = 17_390


@dataclass(frozen=True, slots=True)
class Judged:
    """One target: the words after `bunker conformance`."""

    kind: str
    name: str
    words: tuple[str, ...]


def npm(package: str) -> str:
    """Return the version of an installed package."""
    manifest = HERE / "node" / "node_modules" / package / "package.json"
    return str(json.loads(manifest.read_text())["version"])


def relays() -> Iterator[Judged]:
    own = f"nostr-bunker {version('nostr-bunker')}"
    for number, (name, options) in enumerate(
        ((own, ()), (f"{own}, --profile bunker", ("--profile", "bunker")))
    ):
        port = str(PORT + number)
        command = (*BUNKER, "relay", "run", "--port", port, "--data", "{folder}", *options)
        yield Judged("relay", name, (f"ws://127.0.0.1:{port}", "--", *command))
    command = (sys.executable, str(HERE / "python" / "local_relay.py"), str(PORT + 2))
    name = f"nostr_sdk {version('nostr-sdk')} LocalRelay"
    yield Judged("relay", name, (f"ws://127.0.0.1:{PORT + 2}", "--", *command))
    program = BENCH / "nostr-relay"
    if program.exists():
        (ROOT / "build").mkdir(exist_ok=True)
        config, data = ROOT / "build" / "nostr-relay.yaml", ROOT / "build" / "nostr-relay.sqlite3"
        data.unlink(missing_ok=True)
        config.write_text(NOSTR_RELAY.format(port=PORT + 3, data=data))
        words = (f"ws://127.0.0.1:{PORT + 3}", "--", str(program), "-c", str(config))
        yield Judged("relay", "nostr-relay 1.14", (*words, "serve", "--use-uvicorn"))
    else:
        left_out("nostr-relay", "make .venv-bench/.peers")


NOSTR_RELAY: Final = """
DEBUG: false
storage:
  sqlalchemy.url: sqlite+aiosqlite:///{data}
  validators:
    - nostr_relay.validators.is_not_too_large
    - nostr_relay.validators.is_signed
    - nostr_relay.validators.is_recent
gunicorn:
  bind: 127.0.0.1:{port}
  workers: 1
"""


def signers() -> Iterator[Judged]:
    options = ("--pair", "--allow", ALLOW, "--data", "{dir}/signer", "--relay={relay}")
    run = (*BUNKER, "signer", "run", *options)
    accept = shlex.join((*run, "--connect", "{uri}"))
    own = f"nostr-bunker {version('nostr-bunker')}"
    yield Judged("signer", own, ("--accept", accept, "--", *run))
    node = ("node", str(NODE / "signer.mjs"))
    yield Judged(
        "signer",
        f"NDK {npm('@nostr-dev-kit/ndk')} NDKNip46Backend",
        ("--", *node, "NDK", "{relay}"),
    )
    accept = shlex.join((*node, "applesauce", "--accept", "{uri}"))
    yield Judged(
        "signer",
        f"applesauce-signers {npm('applesauce-signers')} NostrConnectProvider",
        ("--accept", accept, "--", *node, "applesauce", "{relay}"),
    )
    accept = shlex.join((*node, "nostr-tools", "--accept", "{uri}"))
    yield Judged(
        "signer",
        f"a signer of nostr-tools {npm('nostr-tools')}",
        ("--accept", accept, "--", *node, "nostr-tools", "{relay}"),
    )
    yield Judged(
        "signer", f"snstr {npm('snstr')} NostrRemoteSignerBunker", ("--", *node, "snstr", "{relay}")
    )
    # The first leaves its connections to whoever uses it, so our program's are not judged.
    chosen: tuple[str, ...]
    for name, program, chosen in (
        ("go-nostr StaticKeySigner", built("go"), ("--case", "signer/[!r]*")),
        ("rust nostr-connect", built("cargo"), ()),
    ):
        if program:
            yield Judged("signer", name, (*chosen, "--", *program, "{first}"))


def built(tool: str) -> tuple[str, ...]:
    """Build a signer of tests/interop, as the bench has it; return its command, or ()."""
    BUILT.mkdir(parents=True, exist_ok=True)
    if tool == "go":
        target = BUILT / "go_signer"
        command: tuple[str, ...] = ("go", "build", "-o", str(target), "./signer")
        return (str(target), "-once") if build(command, HERE / "go") else ()
    target = BUILT / "rust" / "release" / "signer"
    command = ("cargo", "build", "--release", "--quiet", "--bin", "signer")
    command = (*command, "--target-dir", str(BUILT / "rust"))
    return (str(target),) if build(command, HERE / "rust") else ()


def built_client(tool: str) -> Path | None:
    """Build a client of tests/interop; what has not changed is not compiled again."""
    folder = ROOT / "build" / "interop"
    if tool == "go":
        target = folder / "conformance-go"
        command: tuple[str, ...] = ("go", "build", "-o", str(target), "./conformance")
        return target if build(command, HERE / "go") else None
    target = folder / "cargo" / "debug" / "conformance"
    command = ("cargo", "build", "--quiet", "--target-dir", str(folder / "cargo"))
    return target if build(command, HERE / "rust") else None


def build(command: tuple[str, ...], folder: Path) -> bool:
    """Run a build in a folder; False without its tool."""
    if not shutil.which(command[0]):
        left_out(folder.name, f"install {command[0]}")
        return False
    subprocess.run(command, cwd=folder, check=True)
    return True


def clients() -> Iterator[Judged]:
    python = (sys.executable, str(HERE / "python" / "conformance_client.py"))
    yield Judged("client", f"nostr-bunker {version('nostr-bunker')}", ("--", *python, "ours"))
    for library, package in (
        ("nostr-tools", "nostr-tools"),
        ("NDK", "@nostr-dev-kit/ndk"),
        ("NDK 2", "ndk2"),
        ("Snort", "@snort/system"),
        ("applesauce", "applesauce-signers"),
        ("welshman", "@welshman/signer"),
        ("nostrify", "@nostrify/nostrify"),
        ("snstr", "snstr"),
    ):
        command = ("node", str(NODE / "client.mjs"), library)
        yield Judged("client", f"{library} {npm(package)}", ("--", *command))
    name = f"nostr_sdk {version('nostr-sdk')}"
    yield Judged("client", name, ("--", *python, "nostr_sdk"))
    for tool, name, pin in (
        ("go", "go-nostr", "github.com/nbd-wtf/go-nostr v"),
        ("cargo", "rust nostr-connect", 'nostr-connect = "='),
    ):
        program = built_client(tool)
        if program is not None:
            # Its first answer may come before its subscription, and the login then hangs.
            note = " (asks before it listens)" if tool == "go" else ""
            yield Judged("client", f"{name} {pinned(tool, pin)}{note}", ("--", str(program)))


def pinned(tool: str, before: str) -> str:
    """Return the version that a manifest of tests/interop pins."""
    file = HERE / ("go/go.mod" if tool == "go" else "rust/Cargo.toml")
    return file.read_text().partition(before)[2].splitlines()[0].rstrip('"')


def left_out(name: str, way: str) -> None:
    print(f"{name} is left out: {way}", file=sys.stderr)


def judge(target: Judged, run: Path) -> None:
    """Judge one target; what fails is in the run, so the exit code is not looked at."""
    print(f"{target.kind}: {target.name}", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory() as folder:
        words = [word.replace("{folder}", folder) for word in target.words]
        options = ("--name", target.name, "--json", str(run))
        subprocess.run((*BUNKER, "conformance", target.kind, *options, *words), check=False)


def main(page: Path, folder: Path, names: list[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for target in (*relays(), *signers(), *clients()):
        # By its name, so that a target more or less does not give another its run.
        file = folder / f"{target.kind}-{re.sub(r'[^a-z0-9.]+', '-', target.name.lower())}.json"
        if not file.exists() or not names or any(name in target.name for name in names):
            judge(target, file)
        if file.exists():
            files.append(str(file))
    done = subprocess.run(
        (*BUNKER, "conformance", "table", *files), check=True, capture_output=True, text=True
    )
    page.write_text(done.stdout)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
