"""The package for StartOS: its SDK's types and lint, and its two commands run for real."""

import json
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

from bunker.harness import running_relay
from deploy.appliances._appliance import check_signer
from support.require import need

ROOT = Path(__file__).parents[3]
PACKAGE = ROOT / "deploy" / "startos"
MODULES = PACKAGE / "node_modules"
ADDRESSES = {
    "console": "https://server.local:49152",
    "relay": "wss://server.local:49153",
    "proxy": "10.0.3.1",
}


def node(*words: str) -> str:
    """Run Node.js in the package's folder; return what it says."""
    done = subprocess.run(
        ["node", *words], cwd=PACKAGE, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def sdk() -> None:
    need(shutil.which("node"), "Node.js")
    need((MODULES / "@start9labs" / "start-sdk").is_dir(), "StartOS's SDK: make peers")


@pytest.fixture
def commands(sdk: None, tmp_path: Path) -> dict[str, list[str]]:
    """The commands of relay and signer, as the package gives them to StartOS."""
    compiler = str(MODULES / "typescript" / "bin" / "tsc")
    wanted = ["--outDir", str(tmp_path), "--module", "commonjs", "--target", "es2022"]
    # its types are held by the test of the whole package
    node(compiler, "startos/commands.ts", "--types", "node", "--noCheck", *wanted)
    script = (
        f"const made = require({json.dumps(str(tmp_path / 'commands.js'))});"
        f"const at = {json.dumps(ADDRESSES)};"
        "console.log(JSON.stringify("
        "{relay: made.relayCommand(at), signer: made.signerCommand(at), local: [made.localRelay]}))"
    )
    found: dict[str, list[str]] = json.loads(node("-e", script))
    return found


def test_sdk_takes_the_package(sdk: None) -> None:
    """The SDK's types hold the manifest, the volumes, the order of daemons; its lint the rest."""
    node(str(MODULES / "typescript" / "bin" / "tsc"), "--noEmit")
    node(str(MODULES / "@start9labs" / "start-sdk" / "lint.mjs"))


def test_version_is_ours() -> None:
    """`make version` sets it: StartOS's own count of packages of one version stands behind it."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert f"version: '{version}:0'" in (PACKAGE / "startos" / "index.ts").read_text()
    manifest = (PACKAGE / "startos" / "manifest" / "index.ts").read_text()
    assert re.findall(r"dockerTag: '[^:]*:([^']*)'", manifest) == [version]


async def test_its_commands_give_a_signature(
    commands: dict[str, list[str]], tmp_path: Path
) -> None:
    """As the package says them, but for addresses: the password binds a browser, an app pairs."""
    relay_words, signer_words = commands["relay"], commands["signer"]
    assert relay_words[:3] == ["bunker", "relay", "run"]
    assert signer_words[:3] == ["bunker", "signer", "run"]
    # The relay is known by both addresses that its clients have: AUTH names one of them.
    urls = [relay_words[i + 1] for i, word in enumerate(relay_words) if word == "--url"]
    assert urls == [*commands["local"], ADDRESSES["relay"]]
    profile = relay_words[relay_words.index("--profile") + 1]
    async with running_relay(tmp_path / "relay", arguments=("--profile", profile)) as relay:
        password = tmp_path / "password"
        password.write_text("7a" * 16)
        replaced = {
            "0.0.0.0:7778": "127.0.0.1:0",
            "/settings/console-password": str(password),
            ADDRESSES["console"]: "",
            ADDRESSES["relay"]: relay.url,
            commands["local"][0]: relay.url,
            "/data": str(tmp_path / "signer"),
        }
        assert set(replaced) <= set(signer_words)
        arguments = [replaced.get(word, word) for word in signer_words[3:]]
        await check_signer(tmp_path / "signer", arguments, password.read_text())
