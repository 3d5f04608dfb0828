"""The six packages install alone: each declares what it imports, in one version."""

import ast
import re
import sys
import tomllib
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from bunker_core.local.commands import Program

ROOT = Path(__file__).parents[2]
PACKAGES = sorted(path.parent.name for path in ROOT.glob("packages/*/pyproject.toml"))

# Import names that differ from the name of the distribution.
DISTRIBUTIONS = {
    "bunker_core": "nostr-bunker-core",
    "bunker_relay": "nostr-bunker-relay",
    "bunker_signer": "nostr-bunker-signer",
    "bunker_client": "nostr-bunker-client",
    "bunker_phone": "nostr-bunker-phone",
    "bunker": "nostr-bunker",
    "prometheus_client": "prometheus-client",
    "tpm2_pytss": "tpm2-pytss",
    "pkcs11": "python-pkcs11",
    "botocore": "boto3",
    "zxingcpp": "zxing-cpp",
    "PIL": "pillow",
    "nats": "nats-py",
}
# Part of another distribution's interface.
COMES_WITH = {
    "_btclib_secp256k1": "btclib-secp256k1",
}


def project(package: str) -> dict[str, Any]:
    text = (ROOT / "packages" / package / "pyproject.toml").read_text()
    found: dict[str, Any] = tomllib.loads(text)["project"]
    return found


def source(package: str) -> Path:
    return next((ROOT / "packages" / package / "src").iterdir())


def requirements(package: str) -> list[str]:
    told = project(package)
    extras = told.get("optional-dependencies", {}).values()
    return [*told["dependencies"], *(line for extra in extras for line in extra)]


def imported(package: str) -> set[str]:
    names: set[str] = set()
    for path in source(package).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names.update(alias.name.partition(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names.add(node.module.partition(".")[0])
    return names - set(sys.stdlib_module_names) - {source(package).name}


@pytest.mark.parametrize("package", PACKAGES)
def test_package_declares_what_it_imports(package: str) -> None:
    """Installed alone, no package lacks a module that it imports."""
    declared = {
        re.split(r"[^A-Za-z0-9_.-]", line, maxsplit=1)[0].lower() for line in requirements(package)
    }
    for name in imported(package):
        distribution = COMES_WITH.get(name, DISTRIBUTIONS.get(name, name))
        assert {distribution, name} & declared, f"{package} imports {name}"


def test_every_program_is_safe_at_a_terminal() -> None:
    """What each writes is its owner's alone, and no error repeats what moves a cursor."""
    scripts = [
        item for package in PACKAGES for item in project(package).get("scripts", {}).values()
    ]
    assert len(scripts) > 3
    for script in scripts:
        module, _, name = script.partition(":")
        assert isinstance(getattr(import_module(module), name), Program), script


def test_all_packages_have_one_version() -> None:
    """A release is one version of everything, and each package asks for that one of the others."""
    versions = {project(package)["version"] for package in PACKAGES}
    assert len(versions) == 1
    version = versions.pop()
    for package in PACKAGES:
        for line in requirements(package):
            if line.startswith("nostr-bunker"):
                assert line.partition(";")[0].endswith(f"=={version}"), f"{package}: {line}"
        assert f'__version__ = "{version}"' in (source(package) / "__init__.py").read_text()


def test_pins_name_no_download_address() -> None:
    """The requirements hold versions and hashes, and say nothing of where to get them."""
    pinned = list(ROOT.glob("requirements/*.txt"))
    assert pinned
    for path in pinned:
        text = path.read_text()
        assert "--hash=sha256:" in text
        assert "://" not in text
        assert "index-url" not in text
