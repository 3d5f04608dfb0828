"""The page's files as they were built, and the hash by which an owner knows them again."""

from dataclasses import dataclass
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from typing import Final

from bunker_core.errors import BunkerError

FOLDER: Final = "site"
# What has to be there; the rest (pictures, other bundles) is taken as it is.
_NEEDED: Final = ("index.html", "app.js", "worker.js", "secp256k1.wasm", "version.json")
_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".json": "application/json",
    ".webmanifest": "application/manifest+json",
    ".wasm": "application/wasm",
    ".png": "image/png",
    ".svg": "image/svg+xml",
}


class NotBuilt(BunkerError):
    """The page's JavaScript was not built into this installation."""

    def __str__(self) -> str:
        return (
            "the phone's page is not built here: install nostr-bunker-phone from its wheel, or run "
            "`make phone` in a checkout (needs Node.js 20 or later)"
        )


@dataclass(frozen=True, slots=True)
class Page:
    """One file: its bytes, media type and SHA-256."""

    body: bytes
    media_type: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Site:
    """All files by their paths below the origin, `index.html` also as the empty path."""

    pages: dict[str, Page]

    @property
    def hash(self) -> str:
        """The SHA-256 that stands for all files, whatever built or serves them.

        It is that of the lines `<sha256>  <path>`, sorted by path: what `sha256sum` prints.
        `version.json` is left out, as it holds this very hash.
        """
        lines = [
            f"{page.sha256}  {path}\n"
            for path, page in sorted(self.pages.items())
            if path and path != "version.json"
        ]
        return sha256("".join(lines).encode()).hexdigest()


def load(folder: Path | None = None) -> Site:
    """Read the files once, for they are served from memory; raises NotBuilt."""
    root = folder or Path(str(files("bunker_phone"))) / FOLDER
    if not all((root / name).is_file() for name in _NEEDED):
        raise NotBuilt
    pages = {
        path.relative_to(root).as_posix(): _page(path)
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.suffix in _TYPES
    }
    pages[""] = pages["index.html"]
    return Site(pages)


def _page(path: Path) -> Page:
    body = path.read_bytes()
    return Page(body, _TYPES[path.suffix], sha256(body).hexdigest())
