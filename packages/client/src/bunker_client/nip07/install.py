"""Makes a browser find the host: its native messaging manifest, and the extension to load.

DIRECTORY/extension/    what the browser loads
DIRECTORY/host          what the browser starts
DIRECTORY/host.json     which signer it uses
DIRECTORY/sites.json    what the sites may do
"""

import shlex
import shutil
import sys
from dataclasses import asdict, dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any, Final, Self

import orjson

from bunker_client.errors import ClientError
from bunker_client.keys.master_key import KeyringMasterKey
from bunker_client.sessions import Sessions
from bunker_core.local.files import write_private
from bunker_core.local.home import data_home
from bunker_core.local.process import module_command

NAME: Final = "nostr_bunker"  # of the host; background.js connects to it
EXTENSION_ID: Final = "lkgglgoecennjonfokknppjpkddbejop"  # from the key in manifest.json
CHROMIUM_ORIGIN: Final = f"chrome-extension://{EXTENSION_ID}/"
FIREFOX_ID: Final = "nip07@nostr-bunker"

_SETTINGS: Final = "host.json"


@dataclass(frozen=True, slots=True)
class Browser:
    """Where a browser of one make keeps its profile, below the home directory."""

    name: str
    linux: str
    mac: str
    firefox: bool = False

    def profile(self, home: Path) -> Path:
        """Return the directory of its profiles on this system."""
        return home / (self.mac if sys.platform == "darwin" else self.linux)

    def manifest(self, profile: Path) -> Path:
        """Return where it looks for the manifest of our host."""
        mac_firefox = self.firefox and sys.platform == "darwin"
        folder = "native-messaging-hosts" if self.firefox else "NativeMessagingHosts"
        return profile / ("NativeMessagingHosts" if mac_firefox else folder) / f"{NAME}.json"


_MAC: Final = "Library/Application Support"
BROWSERS: Final = (
    Browser("chromium", ".config/chromium", f"{_MAC}/Chromium"),
    Browser("chrome", ".config/google-chrome", f"{_MAC}/Google/Chrome"),
    Browser(
        "brave",
        ".config/BraveSoftware/Brave-Browser",
        f"{_MAC}/BraveSoftware/Brave-Browser",
    ),
    Browser("edge", ".config/microsoft-edge", f"{_MAC}/Microsoft Edge"),
    Browser("vivaldi", ".config/vivaldi", f"{_MAC}/Vivaldi"),
    Browser("firefox", ".mozilla", f"{_MAC}/Mozilla", firefox=True),
)


@dataclass(frozen=True, slots=True)
class Settings:
    """Which signer the host uses. No secret is in here: a session's key is kept elsewhere."""

    signer: str  # session:NAME or nse:PATH
    sessions: Path | None = None
    keyring: bool = False

    def __post_init__(self) -> None:
        if self.signer.partition(":")[0] not in ("session", "nse"):
            raise ClientError(
                "the browser's signer is session:NAME (make one with `bunker pair`) or nse:PATH"
            )

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Read what `save` wrote; raises ClientError."""
        try:
            value: Any = orjson.loads((directory / _SETTINGS).read_bytes())
            sessions = None if value["sessions"] is None else Path(value["sessions"])
            return cls(str(value["signer"]), sessions, bool(value["keyring"]))
        except OSError as error:
            raise ClientError(f"{directory / _SETTINGS}: {error.strerror}") from None
        except (ValueError, KeyError, TypeError):
            raise ClientError(f"{directory / _SETTINGS} is damaged; install anew") from None

    def kept(self) -> Sessions:
        """Return the sessions that `signer` is looked up in."""
        return Sessions(self.sessions, KeyringMasterKey() if self.keyring else None)

    def save(self, directory: Path) -> None:
        """Write them down; raises OSError."""
        value = {**asdict(self), "sessions": str(self.sessions) if self.sessions else None}
        write_private(directory / _SETTINGS, orjson.dumps(value), replace=True)


def default_directory() -> Path:
    """Return the place that the XDG base directory specification names."""
    return data_home() / "nostr-bunker" / "nip07"


def install(directory: Path, settings: Settings, browsers: dict[Path, Browser]) -> list[Path]:
    """Write everything for browsers (by their profile directories); return the manifests.

    Installing again brings all of it up to date. Raises ClientError.
    """
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        settings.save(directory)
        with as_file(files("bunker_client.nip07") / "extension") as source:
            if not (source / "manifest.json").is_file():
                raise ClientError("the extension is not built: make extension (Node.js 20)")
            shutil.rmtree(directory / "extension", ignore_errors=True)
            shutil.copytree(source, directory / "extension")
        _give_leave(directory / "extension" / "manifest.json")
        host = directory / "host"
        command = module_command("bunker_client.nip07", str(directory.resolve()))
        # Browsers start a program without arguments of ours.
        host.write_text(f'#!/bin/sh\nexec {shlex.join(command)} "$@"\n')
        host.chmod(0o700)
        written = []
        for profile, browser in browsers.items():
            path = browser.manifest(profile)
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.write_bytes(orjson.dumps(_manifest(host, browser), option=orjson.OPT_INDENT_2))
            written.append(path)
    except OSError as error:
        raise ClientError(f"{error.filename or directory}: {error.strerror}") from None
    return written


def uninstall(directory: Path, profiles: dict[Path, Browser]) -> list[Path]:
    """Remove the directory and the manifests that name it; return what was removed."""
    removed = []
    try:
        for profile, browser in profiles.items():
            path = browser.manifest(profile)
            if path.is_file():
                path.unlink()
                removed.append(path)
        if directory.is_dir():
            shutil.rmtree(directory)
            removed.append(directory)
    except OSError as error:
        raise ClientError(f"{error.filename or directory}: {error.strerror}") from None
    return removed


def present(home: Path) -> dict[Path, Browser]:
    """Return the browsers that this user has, by their profile directories."""
    found = ((browser.profile(home), browser) for browser in BROWSERS)
    return {profile: browser for profile, browser in found if profile.is_dir()}


def _give_leave(manifest: Path) -> None:
    """Let this copy start the host: whoever installs it so has chosen that already.

    The file that is published asks for it later, if ever.
    """
    value: Any = orjson.loads(manifest.read_bytes())
    value["permissions"] += value.pop("optional_permissions")
    manifest.write_bytes(orjson.dumps(value, option=orjson.OPT_INDENT_2))


def _manifest(host: Path, browser: Browser) -> dict[str, Any]:
    common = {
        "name": NAME,
        "description": "window.nostr from the signer on this machine",
        "path": str(host.resolve()),
        "type": "stdio",
    }
    if browser.firefox:
        return {**common, "allowed_extensions": [FIREFOX_ID]}
    return {**common, "allowed_origins": [CHROMIUM_ORIGIN]}
