"""What a release needs beside its wheels: proofs, checksums, and a list for the person who uploads.

`python .ci/release.py` looks whether the tree is ready, before minutes are spent on builds;
`python .ci/release.py dist` does the rest, after `make dist` and `make packages` have filled and
tried the folder.
"""

import hashlib
import json
import platform
import subprocess
import sys
import tarfile
import tomllib
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[1]
_BUILD: Final = "https://in-toto.io/Statement/v1"
_PROVENANCE: Final = "https://slsa.dev/provenance/v1"


def main(folder: Path | None) -> int:
    """Check, write SHA256SUMS and provenance.json, print the list; return the exit code.

    Without a folder the tree alone is checked.
    """
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    if folder is None:
        return _told(_tree(version))
    kinds = ("*.whl", "*.tar.gz", "*.cdx.json", "*.deb", "bunker")  # the last: the single file
    files = sorted(path for kind in kinds for path in folder.glob(kind))
    if _told([*_tree(version), *_wrong(version, files)]):
        return 1
    digests = {path.name: _digest(path) for path in files}
    sums = "".join(f"{digest}  {name}\n" for name, digest in digests.items())
    (folder / "SHA256SUMS").write_text(sums)
    (folder / "provenance.json").write_text(json.dumps(_statement(digests), indent=1) + "\n")
    sys.stdout.write(
        f"{len(files)} files of {version} are ready in {folder}. By hand, in this order:\n"
        f"  1. git tag -s v{version} && git push origin v{version}\n"
        "  2. sign SHA256SUMS (minisign, ssh-keygen -Y sign) with the project's key\n"
        "  3. upload the wheels and sdists (twine), core first, nostr-bunker last\n"
        "  4. build the image for both platforms, with PYTHON by its digest (deploy/Dockerfile)\n"
        "  5. publish all of the folder, its signature included, as the tag's release\n"
        "  6. install by name on a machine that has none of this, and run `bunker demo`\n"
    )
    return 0


def _told(wrong: list[str]) -> int:
    """Say what is not ready; return the exit code."""
    for line in wrong:
        sys.stderr.write(f"not ready: {line}\n")
    return bool(wrong)


def _tree(version: str) -> list[str]:
    """Return what is not ready in the tree."""
    found = []
    if f"## [{version}]" not in (ROOT / "CHANGELOG.md").read_text():
        found.append(f"CHANGELOG.md has no section [{version}]; `Unreleased` becomes it")
    if _git("status", "--porcelain"):
        found.append("the work tree has changes that are not committed")
    return found


def _wrong(version: str, files: list[Path]) -> list[str]:
    """Return what is not ready among the files."""
    found = []
    packages = [path.parent.name for path in ROOT.glob("packages/*/pyproject.toml")]
    for suffix in (".whl", ".tar.gz"):
        count = sum(path.name.endswith(suffix) and version in path.name for path in files)
        if count != len(packages):
            found.append(f"{count} files *{version}*{suffix} for {len(packages)} packages")
    for path in files:
        if path.name.endswith(".tar.gz") and not _has_project(path):
            found.append(f"{path.name} can't be built: it has no pyproject.toml")
    return found


def _has_project(path: Path) -> bool:
    with tarfile.open(path) as archive:
        return any(
            name.count("/") == 1 and name.endswith("/pyproject.toml") for name in archive.getnames()
        )


def _statement(digests: dict[str, str]) -> dict[str, Any]:
    """Return an in-toto statement: from which commit, by which Python, these files were made."""
    return {
        "_type": _BUILD,
        "subject": [
            {"name": name, "digest": {"sha256": digest}} for name, digest in digests.items()
        ],
        "predicateType": _PROVENANCE,
        "predicate": {
            "buildDefinition": {
                "buildType": "make dist",
                "externalParameters": {},
                "resolvedDependencies": [
                    {"name": "repository", "digest": {"gitCommit": _git("rev-parse", "HEAD")}},
                    *(
                        {"name": path.name, "digest": {"sha256": _digest(path)}}
                        for path in sorted((ROOT / "requirements").glob("*.txt"))
                    ),
                ],
            },
            "runDetails": {"builder": {"id": f"make dist, Python {platform.python_version()}"}},
        },
    }


def _git(*arguments: str) -> str:
    command = ["git", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)  # noqa: S603
    return done.stdout.strip()


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]) if sys.argv[1:] else None))
