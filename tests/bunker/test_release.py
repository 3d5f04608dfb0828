"""`make release`: what is not ready is said before anything is built."""

import shutil
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / ".ci" / "release.py"


def git(tree: Path, *arguments: str) -> None:
    names = ("-c", "user.name=Test", "-c", "user.email=test@localhost")
    subprocess.run(["git", *names, *arguments], cwd=tree, check=True, capture_output=True)


def test_the_tree_is_looked_at_before_the_builds(tmp_path: Path) -> None:
    """A version without its section of the changelog, and what is not committed."""
    script = tmp_path / ".ci" / "release.py"
    script.parent.mkdir()
    shutil.copy(SCRIPT, script)
    (tmp_path / "pyproject.toml").write_text('[project]\nversion = "1.2.3"\n')
    changelog = tmp_path / "CHANGELOG.md"
    changelog.write_text("# Changelog\n\n## [Unreleased]\n")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "all")

    def said() -> tuple[int, str]:
        done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True)
        return done.returncode, done.stderr

    missing = "not ready: CHANGELOG.md has no section [1.2.3]; `Unreleased` becomes it\n"
    assert said() == (1, missing)
    changelog.write_text("# Changelog\n\n## [1.2.3] - 2026-11-27\n")
    assert said() == (1, "not ready: the work tree has changes that are not committed\n")
    git(tmp_path, "commit", "-qam", "the section")
    assert said() == (0, "")
