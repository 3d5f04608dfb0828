"""What the documents say is so: commands exist and run, links lead somewhere, pages are current."""

import importlib.util
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from bunker.cli import main
from bunker.reference import pages
from bunker_core.describe import LANGUAGES
from bunker_core.nips.nip19 import encode_npub
from bunker_signer.cli.key import key
from bunker_signer.console.view.texts import texts_of
from support.require import need

ROOT = Path(__file__).parents[2]
DOCS = sorted((ROOT / "docs").rglob("*.md"))
TOP = ("README.md", "CONTRIBUTING.md", "SECURITY.md", "deploy/README.md", "examples/README.md")
PACKAGES = sorted((ROOT / "packages").glob("*/README.md"))
WRITTEN = [*(ROOT / name for name in TOP), *PACKAGES, *DOCS]
BINARIES = Path(sys.executable).parent
SHELL = ("sh", "console", "bash", "shell")

# Documents whose `sh` blocks run, in this order, in one home: the later build on the earlier.
# Blocks marked `console` are not run; every command in them is held against the real options.
STORY = (
    *("tutorial.md", "how-to/self-host.md", "how-to/pair-clients.md", "how-to/termux.md"),
    "how-to/browser.md",
    *("how-to/recover.md", "how-to/test-bench.md", "how-to/rotate.md"),
)
# Every other document with shell blocks, and why they are not run.
NOT_RUN = {
    "docs/how-to/phone.md": "a phone, and names of one's own; tests/phone/up/test_asleep.py",
    "CONTRIBUTING.md": "they run the tests",
    "README.md": "make demo and make test: what runs this; the rest is run below",
    "deploy/README.md": "root, systemd, Docker, Tailscale; .ci/image runs those of Docker",
    "docs/client.md": "wait for a signer, or go to relays of others",
    "docs/console.md": "a relay with a name",
    "docs/nse.md": "a TPM and a token; tests/signer/nse runs those",
    "docs/how-to/conformance.md": "relays of others; tests/bunker/conformance runs its CI",
    "docs/how-to/android-apps.md": "an app on a phone",
    "docs/how-to/install.md": "wheels of a release; make dist and .ci/install-ways install them",
    "docs/relay.md": "a list to choose from, each serves until it is stopped",
    "docs/signer.md": "a list to choose from",
}
# Has a test of its own.
ALONE = "docs/how-to/migrate.md"
# Within the story, what is only shown.
SHOWN = {
    "tutorial.md": "make demo: CI runs it",
    "how-to/self-host.md": "a name and ports 80 and 443; tests/bunker runs it under localhost",
    "how-to/pair-clients.md": "an app's own invitation",
    "how-to/termux.md": "Android",
}


def blocks(path: Path, *languages: str) -> list[str]:
    """Return the fenced blocks of a document in some languages, also those inside lists."""
    pattern = r"^( *)```(\w*)\n(.*?)^\1```$"
    found = re.findall(pattern, path.read_text(), re.MULTILINE | re.DOTALL)
    return [
        re.sub(f"^{indent}", "", text, flags=re.MULTILINE)
        for indent, language, text in found
        if language in languages
    ]


def commands(path: Path) -> Iterator[list[str]]:
    """Yield each call of `bunker` in a document's shell blocks, as words."""
    for block in blocks(path, *SHELL):
        for line in block.replace("\\\n", " ").splitlines():
            lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
            lexer.whitespace_split = True
            words: list[str] = []
            for word in [*lexer, ";"]:
                if word and set(word) <= set("|&;<>()"):
                    if "bunker" in {Path(item).name for item in words[:2]}:
                        start = next(i for i, item in enumerate(words) if item.endswith("bunker"))
                        yield words[start + 1 :]
                    words = []
                else:
                    words.append(word)


@pytest.mark.parametrize("path", WRITTEN, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_command_in_a_document_exists(path: Path) -> None:
    """Each `bunker ...` names a command, and options that it has."""
    for words in commands(path):
        command: click.Command = main
        context = click.Context(main, info_name="bunker", **main.context_settings)
        while isinstance(command, click.Group):
            if command.invoke_without_command and words[:1] and words[0].startswith("-"):
                break
            assert words, f"{path.name}: {context.command_path} without a command"
            found = command.get_command(context, words[0])
            assert found is not None, f"{path.name}: bunker {' '.join(words)}"
            command, words = found, words[1:]
            context = click.Context(command, context, info_name=command.name)
        try:
            command.make_parser(context).parse_args(list(words))
        except click.UsageError as error:
            raise AssertionError(f"{path.name}: {context.command_path}: {error}") from None


def test_commands_are_found() -> None:
    """The test above looks at something: the tutorial has more than ten calls."""
    assert len(list(commands(ROOT / "docs" / "tutorial.md"))) > 8


def test_every_block_of_commands_is_run_or_has_a_reason() -> None:
    """No document has shell blocks that nobody decided about, and none hides as plain text."""
    for path in WRITTEN:
        name = path.relative_to(ROOT).as_posix()
        inside = name.removeprefix("docs/")
        assert not any(re.search(r"^bunker ", block, re.MULTILINE) for block in blocks(path, "")), (
            name
        )
        if inside in STORY:
            assert bool(blocks(path, "console")) == (inside in SHOWN), name
        else:
            assert bool(blocks(path, *SHELL)) == (name in (*NOT_RUN, ALONE)), name


def anchors(path: Path) -> set[str]:
    """Return the anchors that a document's headings get, on GitHub and in the site alike."""
    text = re.sub(r"^```.*?^```", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)
    titles = re.findall(r"^#+ +(.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("path", WRITTEN, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_somewhere(path: Path) -> None:
    """Links and pictures have a file at their end, and the heading that they name."""
    text = re.sub(r"^```.*?^```", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)
    targets = re.findall(r"\]\(([^)\s]+)[^)]*\)", text) + re.findall(
        r'(?:src|href)="([^"]+)"', text
    )
    for target in targets:
        if "://" in target:
            continue
        file, _, anchor = target.partition("#")
        found = path.parent / file if file else path
        assert found.exists(), f"{path.name}: {target}"
        assert not anchor or anchor in anchors(found), f"{path.name}: {target}"


@pytest.mark.parametrize("path", WRITTEN, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_path_in_a_document_exists(path: Path) -> None:
    """A file that is named with its folder is there, wherever that folder is."""
    named = re.findall(r"`([\w.-]+/[\w./-]+\.(?:py|m?js|toml|json|txt|md|yaml))`", path.read_text())
    real = [name for name in named if "CODE" not in name]  # a language's, whatever its code
    assert [name for name in real if not any(file.endswith(f"/{name}") for file in files())] == []


@cache
def files() -> list[str]:
    """Return the paths of the repository's files, without what is installed or built."""
    found = []
    for folder, inner, names in os.walk(ROOT):
        inner[:] = [name for name in inner if name not in {"node_modules", "build", "dist", ".git"}]
        inner[:] = [name for name in inner if not name.startswith(".venv")]
        found += [f"{folder}/{name}" for name in names]
    return found


@pytest.mark.parametrize("name", sorted(pages()))
def test_reference_is_current(name: str) -> None:
    """The generated pages are what the code says now; `make docs` writes them."""
    assert (ROOT / "docs" / "reference" / name).read_text() == pages()[name]


def test_every_page_is_in_the_navigation() -> None:
    """No page in a folder of docs/ is left out of the site."""
    navigation = (ROOT / "mkdocs.yml").read_text()
    for path in (ROOT / "docs").rglob("*.md"):
        assert path.relative_to(ROOT / "docs").as_posix() in navigation, path


def _at_home(home: Path) -> dict[str, str]:
    """Return the environment of a reader who has `bunker` on the path, and nothing set."""
    kept = {key: at for key, at in os.environ.items() if not key.startswith(("BUNKER", "XDG"))}
    return kept | {"HOME": str(home), "PATH": f"{BINARIES}:{os.environ['PATH']}"}


def test_the_story_of_the_documents_happens(tmp_path: Path) -> None:
    """The tutorial and the how-tos run from top to bottom, as their reader types them."""
    extension = ROOT / "packages/client/src/bunker_client/nip07/extension/manifest.json"
    need(extension.is_file(), "make extension (Node.js 20)")
    environment = _at_home(tmp_path)
    first, *rest = blocks(ROOT / "docs" / STORY[0], "sh")
    assert first.startswith("bunker up ")
    up = subprocess.Popen(
        # a port of its own, for the machine that runs this test may have a bunker already
        ["bash", "-c", f"exec {first.strip()} --port 0 --no-qr --pair"],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert up.stdout
        uri = next(line.strip() for line in up.stdout if line.startswith("bunker://"))
        for name in STORY:
            found = rest if name == STORY[0] else blocks(ROOT / "docs" / name, "sh")
            assert found, name
            script = "\n".join(found).replace("bunker://...", uri)
            result = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", script],
                env=environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=120,
                check=False,
            )
            assert result.returncode == 0, f"{name}\n{result.stdout}\n{result.stderr}"
            if name == "tutorial.md":
                assert '"content":"Signed from afar"' in result.stdout.replace(": ", ":")
    finally:
        up.send_signal(signal.SIGTERM)
        up.communicate(timeout=30)
    assert up.returncode == 0


def test_key_of_the_other_package_moves_in(tmp_path: Path) -> None:
    """What nostr-secure-enclave sealed is taken by the steps of the how-to, and is the same key."""
    need(importlib.util.find_spec("nse"), "nostr-secure-enclave")
    other = importlib.import_module("nse")
    master = os.urandom(32)
    (tmp_path / "master.key").write_text(master.hex())
    storage = importlib.import_module("nse.storage").FileStorage(str(tmp_path / ".nse"))
    pubkey = other.NSE(master_key=master.hex(), storage=storage).generate().pubkey
    (script,) = blocks(ROOT / ALONE, "sh")
    result = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=tmp_path,
        env={**os.environ, "HOME": str(tmp_path), "PATH": f"{BINARIES}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert pubkey in result.stdout or encode_npub(pubkey) in result.stdout
    slots = CliRunner().invoke(main, ["key", "slots", "--data", f"{tmp_path}/my-bunker/signer"])
    assert "version 1" not in slots.output, slots.output


def test_what_the_readme_says_to_do_by_hand_works(tmp_path: Path) -> None:
    """Its relay, its signer and its signature, each typed into a terminal of its own."""
    block = next(text for text in blocks(ROOT / "README.md", "sh") if "bunker relay run" in text)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    lines = block.replace("7777", port).splitlines()
    assert lines.pop(0).startswith("export PATH=")
    environment = _at_home(tmp_path)
    with ExitStack() as stack:
        uri = ""
        # At a terminal, as its reader has one, the signer needs no option to show the URI.
        for ready, option in (("relay listening on ", ""), ("bunker://", " --pair")):
            process = subprocess.Popen(
                ["bash", "-c", f"exec {lines.pop(0)}{option}"],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                text=True,
            )
            stack.callback(process.communicate, timeout=30)
            stack.callback(process.terminate)
            assert process.stdout
            uri = next(line.strip() for line in process.stdout if line.startswith(ready))
        script = "\n".join(lines).replace("bunker://...", uri)
        result = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert result.returncode == 0, result.stderr
        assert json.loads(result.stdout)["content"] == "Signed from afar"


# What people copy commands from.
COPIED_FROM = [
    *sorted(ROOT.glob("*.md")),
    *DOCS,
    *sorted((ROOT / "deploy").rglob("*.md")),
    *sorted((ROOT / "examples").glob("*.md")),
]
INSTALLS = re.compile(r"(?:pip|pipx|uv tool|uv pip) install((?:[ \t]+\S+)+)")
# What is ours and not on any index, and a wish to name it: whoever has registered it by then wins.
OURS = re.compile(r"nostr[-_]bunker", re.IGNORECASE)


@pytest.mark.parametrize("path", COPIED_FROM, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_command_installs_a_strangers_package(path: Path) -> None:
    """Every install command that somebody may copy names ours by files, not by an index."""
    for found in INSTALLS.finditer(path.read_text()):
        words = [word.strip("'\"`,.:);") for word in found[1].split()]
        for word in words:
            if word in {"&&", "#", "|", ";"}:
                break
            named = OURS.search(word) and "/" not in word and not word.endswith(".whl")
            assert not named, f"{path.name}: {found[0]}"


def test_the_look_at_install_commands_sees_them() -> None:
    """The pattern finds what it is there to find."""
    for line in ("pip install nostr-bunker", "pipx install 'nostr-bunker[all]'"):
        found = INSTALLS.search(line)
        assert found
        assert OURS.search(found[1])


def test_every_protector_is_named_where_a_person_meets_it() -> None:
    """In the table of docs/nse.md, in the help of `--with` and in every language of the console."""
    project = tomllib.loads((ROOT / "packages" / "signer" / "pyproject.toml").read_text())
    table = (ROOT / "docs" / "nse.md").read_text()
    (said,) = [item for item in key.commands["show"].params if item.name == "openers"]
    assert isinstance(said, click.Option)
    for slot_type in project["project"]["entry-points"]["bunker_signer.protectors"]:
        assert f"\n| `{slot_type}` |" in table
        assert slot_type in (said.help or "")
        for language in LANGUAGES:
            assert texts_of(language).has(f"keys.protector_{slot_type}"), (language, slot_type)
