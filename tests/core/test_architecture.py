"""The import directions of the design, held by reading every source file."""

import ast
import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import pytest

TREE = Path(__file__).parents[2]
PACKAGES = TREE / "packages"
# What does I/O: in core only `pool` and `local` import it.
IO_MODULES = {
    "aiohttp",
    "asyncio",
    "anyio",
    "http",
    "httpx",
    "multiprocessing",
    "requests",
    "select",
    "selectors",
    "socket",
    "sqlalchemy",
    "sqlite3",
    "ssl",
    "subprocess",
    "threading",
    "urllib.request",
    "websockets",
}

# The rooms of each package, the highest first: a room imports only what stands behind it here.
ROOMS = {
    "bunker": (
        "cli pytest_plugin conformance testbed demo reference status backup up phones installation "
        "harness"
    ),
    "bunker_client": (
        "cli nip07 signers sync sessions doctor pair remote_signer request keys errors"
    ),
    "bunker_core": (
        "pool local signer describe nips bounds messages filter event kinds keys errors"
    ),
    "bunker_phone": "cli server app site phones",
    "bunker_relay": ("cli http relay client event push nodes store troubles metrics logs config"),
    "bunker_signer": (
        "cli console control service approvers request key store qr nse policy process"
    ),
}
# The reference pages are generated from the commands.
_UPWARDS = {("bunker.reference", "bunker.cli")}
# What a folder holds at most, `__init__`, `__main__`, `conftest` and `py.typed` left aside.
MOST_IN_A_FOLDER = 12


def modules() -> Iterator[tuple[str, Path]]:
    """Yield the dotted name and the path of every module of the six packages."""
    for source in sorted(PACKAGES.glob("*/src")):
        for path in sorted(source.rglob("*.py")):
            parts = path.relative_to(source).with_suffix("").parts
            yield ".".join(parts).removesuffix(".__init__"), path


MODULES = dict(modules())


def imports(module: str, path: Path) -> set[str]:
    """Return every module that `path` imports, wherever in the file, relative ones resolved."""
    package = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.Import(names):
                found.update(alias.name for alias in names)
            case ast.ImportFrom(name, names, level):
                base = package[: len(package) - level + 1] if level else []
                origin = ".".join([*base, *([name] if name else [])])
                found.add(origin)
                # `from bunker_core import pool` imports bunker_core.pool
                found.update(f"{origin}.{alias.name}" for alias in names)
            case ast.Call(ast.Name("__import__") | ast.Attribute(attr="import_module"), args):
                found.update(str(item.value) for item in args if isinstance(item, ast.Constant))
    return found


def imports_any(module: str, forbidden: set[str]) -> set[str]:
    """Return which of the `forbidden` modules, or of what lies beneath them, `module` imports."""
    return {
        name
        for name in imports(module, MODULES[module])
        if any(name == item or name.startswith(f"{item}.") for item in forbidden)
    }


def members(package: str) -> list[str]:
    """Return the names of all modules of an import package."""
    return [name for name in MODULES if name == package or name.startswith(f"{package}.")]


def test_the_six_packages_are_read() -> None:
    """The tests below look at something."""
    assert {name.partition(".")[0] for name in MODULES} == {
        "bunker",
        "bunker_client",
        "bunker_core",
        "bunker_phone",
        "bunker_relay",
        "bunker_signer",
    }
    assert "bunker_core.pool" in MODULES


def test_the_walk_sees_every_form_of_import(tmp_path: Path) -> None:
    """Plain, from, relative, within a function, by call: none of them goes unseen."""
    path = tmp_path / "module.py"
    path.write_text(
        "import a.b as c\nfrom d import e\nfrom . import f\nfrom .g import h\nfrom ..i import j\n"
        "def k():\n    import l\n    __import__('m')\n    importlib.import_module('n.o')\n"
    )
    assert imports("x.y.module", path) >= {
        "a.b",
        "d",
        "d.e",
        "x.y.f",
        "x.y.g",
        "x.i",
        "l",
        "m",
        "n.o",
    }


# What no package imports but itself.
PARTS = {"bunker_relay", "bunker_signer", "bunker_client", "bunker_phone", "bunker"}


@pytest.mark.parametrize(
    ("package", "forbidden"),
    [
        ("bunker_core", PARTS),
        ("bunker_relay", PARTS - {"bunker_relay"} | {"bunker_core.pool"}),
        ("bunker_signer", PARTS - {"bunker_signer"}),
        ("bunker_client", PARTS - {"bunker_client"}),
        ("bunker_phone", PARTS - {"bunker_phone"} | {"bunker_core.pool"}),
    ],
)
def test_imports_point_to_core(package: str, forbidden: set[str]) -> None:
    """Relay, signer and client know core and never each other; the relay knows no pool."""
    broken = {name: found for name in members(package) if (found := imports_any(name, forbidden))}
    assert not broken


def test_only_keys_touches_libsecp256k1() -> None:
    """One file names the binding, and one speaks to it."""
    bindings = {"coincurve", "_btclib_secp256k1", "btclib_secp256k1", "cffi"}
    binding = "bunker_core.keys.libsecp256k1"
    assert {name for name in MODULES if imports_any(name, bindings)} == {binding}
    found = {name for name in MODULES if imports_any(name, {binding})}
    assert found == {"bunker_core.keys"}


def test_core_does_no_io_outside_of_two_rooms() -> None:
    """The protocol is pure: no network, no database, no event loop, and no machine under it."""
    rooms = ("bunker_core.pool", "bunker_core.local")
    broken = {
        name: found
        for name in members("bunker_core")
        if not name.startswith(rooms)
        and (found := imports_any(name, {*IO_MODULES, "bunker_core.local"}))
    }
    assert not broken


def test_core_outside_of_the_pool_does_not_import_it() -> None:
    """A relay that imports core gets no websockets client with it."""
    broken = {
        name: found
        for name in members("bunker_core")
        if not name.startswith("bunker_core.pool")
        and (found := imports_any(name, {"bunker_core.pool"}))
    }
    assert not broken


@pytest.mark.parametrize("package", sorted(ROOMS))
def test_rooms_import_only_downwards(package: str) -> None:
    """Every module has a room, and no room imports one that stands above it."""
    rooms = ROOMS[package].split()
    climbs = set()
    for name in members(package):
        room = _room(name)
        if room in {"", "__main__"}:
            continue
        assert room in rooms, f"{name} is in no room"
        for other in imports(name, MODULES[name]):
            inside = other.startswith(f"{package}.") and _room(other) in rooms
            if inside and rooms.index(_room(other)) < rooms.index(room):
                climbs.add((name, ".".join(other.split(".")[:2])))
    assert climbs <= _UPWARDS


# The rooms within the console: pages know the site, and the site knows no page.
CONSOLE_ROOMS = [
    "server",
    "app",
    "pages",
    "live",
    "routing",
    "site",
    "auth",
    "signer",
    "view",
    "problem",
]


def test_the_console_imports_only_downwards() -> None:
    """What pages need is a module without routes: nothing runs back up, within types neither."""
    climbs = set()
    for name in members("bunker_signer.console"):
        room = [*name.split("."), "", ""][2]
        if not room:
            continue
        assert room in CONSOLE_ROOMS, f"{name} is in no room of the console"
        for other in imports(name, MODULES[name]):
            there = [*other.split("."), "", ""][2]
            inside = other.startswith("bunker_signer.console.") and there in CONSOLE_ROOMS
            if inside and CONSOLE_ROOMS.index(there) < CONSOLE_ROOMS.index(room):
                climbs.add((name, other))
    assert not climbs


def test_folders_are_small() -> None:
    """A listing is read at a glance: of the packages, the tests, the bench and what CI runs."""
    crowded = {
        str(folder.relative_to(TREE)): len(entries)
        for folder in chain(*map(TREE.glob, _COUNTED))
        if not _LEFT_ASIDE.intersection(folder.parts)
        and not str(folder.relative_to(TREE)).startswith(_NOT_COUNTED)
        and len(entries := _entries(folder)) > MOST_IN_A_FOLDER
    }
    assert not crowded


# The rooms of the page for phones, the highest first; the types of comments are not counted.
WEB_ROOMS = "worker.js page signer net nse texts describe nips secp256k1.js bytes.js errors.js"


def test_the_page_for_phones_imports_only_downwards() -> None:
    """The page and its worker stand on the signer, the signer on the protocol."""
    web, rooms = PACKAGES / "phone" / "web", WEB_ROOMS.split()
    climbs, seen = set(), 0
    for module in web.rglob("*.js"):
        room = module.relative_to(web).parts[0]
        assert room in rooms, f"{module} is in no room"
        for path in re.findall(r'^import [^;]*? from "(\..*?)"', module.read_text(), re.MULTILINE):
            imported = (module.parent / path).resolve()
            if not imported.is_relative_to(web):
                continue  # bunker_core's descriptions of a request, which are data
            other = imported.relative_to(web)
            seen += 1
            if rooms.index(other.parts[0]) < rooms.index(room):
                climbs.add((str(module.relative_to(web)), str(other)))
    assert not climbs
    assert seen > 100


# Whose folders are counted.
_COUNTED = (
    *("packages/*/src/**/", "packages/phone/web/**/", "packages/client/extension/**/"),
    *("tests/**/", "bench/**/", ".ci/**/"),
)
_NOT_COUNTED = (
    # one NIP or one table a file: lists, not structure
    *("packages/core/src/bunker_core/nips", "tests/core/nips", "tests/phone/tables"),
    # what `make phone` and `make extension` build
    *("packages/phone/src/bunker_phone/site", "packages/client/src/bunker_client/nip07/extension"),
)
# What tools and runs leave.
_LEFT_ASIDE = {"__pycache__", "node_modules", "results", ".hypothesis", ".pytest_cache"}


def _entries(folder: Path) -> list[str]:
    aside = {"__init__.py", "__main__.py", "conftest.py", "py.typed"} | _LEFT_ASIDE
    return [item.name for item in folder.iterdir() if item.name not in aside]


def _room(module: str) -> str:
    return [*module.split("."), ""][1]
