"""The package for Umbrel: its store's rules, and its two commands run for real.

The store's own linter (`lint-apps.mjs` in its repository) was run on it and found nothing; what it
looks at is held here.
"""

import importlib.util
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from bunker.harness import running_relay
from deploy.appliances._appliance import check_signer
from support.require import need

ROOT = Path(__file__).parents[3]
APP = ROOT / "deploy" / "umbrel" / "nostr-bunker"
FIELDS = (
    *("manifestVersion", "id", "category", "name", "version", "tagline", "description"),
    *("releaseNotes", "developer", "website", "dependencies", "repo", "support", "port"),
    *("gallery", "path", "submitter", "submission"),
)


def read(name: str) -> dict[str, Any]:
    need(importlib.util.find_spec("yaml"), "pyyaml")
    found: dict[str, Any] = importlib.import_module("yaml").safe_load((APP / name).read_text())
    return found


@pytest.fixture
def services() -> dict[str, Any]:
    found: dict[str, Any] = read("docker-compose.yml")["services"]
    return found


def words(service: dict[str, Any], **settings: str) -> list[str]:
    """Return a service's command as words, Umbrel's variables set."""
    text = str(service["command"])
    return re.sub(r"\$\{(\w+)\}", lambda found: settings[found[1]], text).split()


def test_manifest_is_what_the_store_asks_for() -> None:
    """Every field, the id of its folder, this version, the password that Umbrel shows."""
    manifest = read("umbrel-app.yml")
    assert [field for field in FIELDS if field not in manifest] == []
    assert manifest["id"] == APP.name
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert manifest["version"] == version
    assert manifest["deterministicPassword"] is True
    assert (manifest["releaseNotes"], manifest["gallery"]) == ("", [])


def test_containers_are_narrow_and_keep_to_their_folders(services: dict[str, Any]) -> None:
    """No root, no capability, no folder in common, and the console only behind Umbrel's login."""
    assert services["app_proxy"]["environment"] == {
        "APP_HOST": "nostr-bunker_signer_1",
        "APP_PORT": 7778,
    }
    relay, signer = services["relay"], services["signer"]
    version = read("umbrel-app.yml")["version"]
    for service in (relay, signer):
        assert re.fullmatch(rf"\S+:{re.escape(version)}@sha256:[0-9a-f]{{64}}", service["image"])
        assert (service["user"], service["read_only"]) == ("1000:1000", True)
        assert (service["restart"], service["cap_drop"]) == ("on-failure", ["ALL"])
    sources = [
        {volume.split(":")[0] for volume in service["volumes"]} for service in (relay, signer)
    ]
    assert sources[0].isdisjoint(sources[1])
    assert "ports" not in signer
    for source in sources[0] | sources[1]:
        inside = APP / source.removeprefix("${APP_DATA_DIR}/")
        assert inside.is_dir() or inside.with_name(f"{inside.name}.template").exists()


def test_password_is_the_one_that_umbrel_shows() -> None:
    """umbrelOS renders the file; the name is the one that the signer is given."""
    assert (APP / "password.template").read_text() == "${APP_PASSWORD}\n"


async def test_its_commands_give_a_signature(services: dict[str, Any], tmp_path: Path) -> None:
    """As the file says them, but for addresses: the password binds a browser, an app is paired."""
    relay_words = words(services["relay"])
    assert relay_words[:2] == ["relay", "run"]
    profile = relay_words[relay_words.index("--profile") + 1]
    async with running_relay(tmp_path / "relay", arguments=("--profile", profile)) as relay:
        given = words(
            services["signer"],
            DEVICE_DOMAIN_NAME="umbrel.local",
            APP_PROXY_PORT="7798",
            NETWORK_IP="10.21.0.0",
        )
        password = tmp_path / "password"
        password.write_text("7a" * 32)
        replaced = {
            "0.0.0.0:7778": "127.0.0.1:0",
            "/run/password": str(password),
            "http://umbrel.local:7798": "",
            "ws://nostr-bunker_relay_1:7777": relay.url,
            "ws://umbrel.local:7797": relay.url,
            "/data": str(tmp_path / "signer"),
        }
        arguments = [replaced.get(word, word) for word in given[2:]]
        await check_signer(tmp_path / "signer", arguments, password.read_text())
