"""The relay information document (NIP-11)."""

from email.message import Message

import pytest

from bunker_relay.config import Config
from bunker_relay.http import info


@pytest.mark.parametrize(
    ("project_url", "software"),
    [("Homepage, https://bunker.example", "https://bunker.example"), ("Issues, https://x", None)],
)
def test_software_is_the_homepage_or_missing(
    project_url: str, software: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NIP-11: if present, `software` MUST be a URL to the project's homepage."""
    package = Message()
    package["Project-URL"] = project_url
    monkeypatch.setattr(info, "metadata", lambda _: package)
    info.homepage.cache_clear()
    try:
        assert info.document(Config()).get("software") == software
    finally:
        info.homepage.cache_clear()
