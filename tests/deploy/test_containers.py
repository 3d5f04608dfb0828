"""Dockerfile and compose.yaml: what can be held without an engine."""

import importlib.util
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from support.require import need

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
SETTINGS = {
    "BUNKER_DOMAIN": "relay.example.org",
    "BUNKER_RELAY_SIGNERS": "00" * 32,
    "BUNKER_RELAY_OWNER": "00" * 32,
}


def compose(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run docker compose, the plugin or the program of its own."""
    plugin = (
        shutil.which("docker")
        and not subprocess.run(
            ["docker", "compose", "version"], capture_output=True, check=False
        ).returncode
    )
    need(plugin or shutil.which("docker-compose"), "docker compose")
    command = ["docker", "compose"] if plugin else ["docker-compose"]
    return subprocess.run(
        [*command, "-f", str(DEPLOY / "compose.yaml"), *arguments],
        capture_output=True,
        text=True,
        env={"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), **environment},
        timeout=60,
        check=False,
    )


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    """The services, as compose understands the file."""
    result = compose("config", **SETTINGS)
    assert result.returncode == 0, result.stderr
    need(importlib.util.find_spec("yaml"), "pyyaml")
    found: dict[str, Any] = importlib.import_module("yaml").safe_load(result.stdout)["services"]
    return found


def test_compose_takes_the_file_and_asks_for_what_it_needs(services: dict[str, Any]) -> None:
    """With the settings of env.example it is complete; without a domain it asks for one."""
    assert set(services) == {"relay", "signer", "caddy"}
    named = set(re.findall(r"^(BUNKER_\w+)=", (DEPLOY / "env.example").read_text(), re.MULTILINE))
    assert set(SETTINGS) <= named
    result = compose("config")
    assert result.returncode != 0
    assert "BUNKER_DOMAIN" in result.stderr


def test_lines_of_init_are_those_of_env_example(tmp_path: Path) -> None:
    """What `bunker init` prints goes into .env as it is, and compose takes the file before it."""
    from click.testing import CliRunner

    from bunker.cli import main

    assert compose("config", BUNKER_DOMAIN="relay.example.org").returncode == 0
    said = CliRunner().invoke(main, ["init", "--yes", "--data", str(tmp_path / "data")]).output
    printed = set(re.findall(r"^(BUNKER_\w+)=", said, re.MULTILINE))
    example = set(
        re.findall(r"^(BUNKER_\w+)=$", (DEPLOY / "env.example").read_text(), re.MULTILINE)
    )
    assert printed == example


def test_builder_is_sent_what_is_copied_and_no_more() -> None:
    """.dockerignore starts by leaving out everything: no master.key or .env reaches a builder."""
    first, *rest = re.findall(r"^[^#\n]+$", (ROOT / ".dockerignore").read_text(), re.MULTILINE)
    assert first == "*"
    let_in = {line[1:] for line in rest if line.startswith("!")}
    text = (DEPLOY / "Dockerfile").read_text()
    lines = re.findall(r"^COPY (?!--from)(.+) \S+$", text, re.MULTILINE)
    assert let_in == {source for line in lines for source in line.split()}


def test_relay_and_signer_share_nothing(services: dict[str, Any]) -> None:
    """No network, no volume, no user and no secret in common: a taken relay has no way across."""
    relay, signer = services["relay"], services["signer"]
    assert set(relay["networks"]).isdisjoint(signer["networks"])
    volumes = [{str(item).split(":")[0] for item in each["volumes"]} for each in (relay, signer)]
    assert volumes[0].isdisjoint(volumes[1])
    assert relay["user"] != signer["user"]
    assert "secrets" not in relay
    assert not relay.get("ports")
    assert not signer.get("ports")


def test_every_container_is_read_only_and_without_capabilities(services: dict[str, Any]) -> None:
    """Nothing is written but to volumes; Caddy alone may bind a low port."""
    for name, service in services.items():
        assert service["read_only"], name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
    assert services["caddy"]["cap_add"] == ["NET_BIND_SERVICE"]


def test_commands_are_ours(services: dict[str, Any]) -> None:
    """The options in compose.yaml and in the Dockerfile exist."""
    from click.testing import CliRunner

    from bunker.cli import main

    lines = [services[name]["command"] for name in ("relay", "signer")]
    text = (DEPLOY / "Dockerfile").read_text()
    lines.append(json.loads(re.findall(r"^CMD (\[.*\])$", text, re.MULTILINE)[0]))
    for line in lines:
        known = CliRunner().invoke(main, [*line[:2], "--help"]).output
        assert all(word in known for word in line if word.startswith("--")), line


def test_dockerfile_copies_what_is_there_and_runs_as_nobody_special() -> None:
    """Every COPY has a source, stages are named before use, and the last USER is not root."""
    text = (DEPLOY / "Dockerfile").read_text()
    assert "://" not in text.replace("http://127.0.0.1", "")
    copied = [line.split()[1:-1] for line in re.findall(r"^COPY .*$", text, re.MULTILINE)]
    for sources in copied:
        if sources[0].startswith("--from="):
            assert f"AS {sources[0].removeprefix('--from=')}" in text
        else:
            assert all((ROOT / source).exists() for source in sources)
    assert re.findall(r"^USER (\w+)$", text, re.MULTILINE)[-1] == "relay"
    assert "HEALTHCHECK" in text
    assert "--require-hashes" in text


def test_every_stage_has_one_base_that_a_release_can_pin() -> None:
    """Both stages are built on `PYTHON`, so that one digest pins all that is not ours."""
    text = (DEPLOY / "Dockerfile").read_text()
    bases = re.findall(r"^FROM (\S+)", text, re.MULTILINE)
    assert bases == ["${PYTHON}", "${PYTHON}"]
    assert text.index("ARG PYTHON=python:") < text.index("FROM ")


def test_image_has_every_package() -> None:
    """What `nostr-bunker` depends on is in the image, though pip is told to look for nothing."""
    text = (DEPLOY / "Dockerfile").read_text()
    wanted = {f"packages/{path.parent.name}" for path in ROOT.glob("packages/*/pyproject.toml")}
    assert wanted <= set(text.split())
