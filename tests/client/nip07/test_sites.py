"""What is remembered of each site."""

import stat
from pathlib import Path

import pytest

from bunker_client.errors import ClientError
from bunker_client.nip07.sites import HOUR, Answer, Sites, parse_origin
from bunker_core.errors import InvalidInput
from bunker_core.nips.nip46 import Permission

NOW = 1_790_000_000
SITE, OTHER = "https://notes.example", "https://other.example"
NOTE, ARTICLE = Permission("sign_event", "1"), Permission("sign_event", "30023")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the answers are kept."""
    return tmp_path / "sites.json"


@pytest.mark.parametrize(
    ("answer", "at_once", "after_an_hour"),
    [
        (Answer.ONCE, None, None),
        (Answer.DENY, None, None),
        (Answer.HOUR, True, None),
        (Answer.ALWAYS, True, True),
        (Answer.NEVER, False, False),
    ],
)
def test_an_answer_holds_as_long_as_it_says(
    path: Path, answer: Answer, at_once: bool | None, after_an_hour: bool | None
) -> None:
    """Once and deny are for one request, an hour ends, always and never stay, also on disk."""
    Sites(path).remember(SITE, NOTE, answer, NOW)
    kept = Sites(path)
    assert kept.decide(SITE, NOTE, NOW) is at_once
    assert kept.decide(SITE, NOTE, NOW + HOUR) is after_an_hour


def test_an_answer_is_for_one_site_and_one_permission(path: Path) -> None:
    """A right to sign notes is no right to sign articles, to decrypt, or of another site."""
    sites = Sites(path)
    sites.remember(SITE, NOTE, Answer.ALWAYS, NOW)
    assert sites.decide(SITE, ARTICLE, NOW) is None
    assert sites.decide(SITE, Permission("nip44_decrypt"), NOW) is None
    assert sites.decide(OTHER, NOTE, NOW) is None
    assert sites.decide("http://notes.example", NOTE, NOW) is None


def test_what_another_process_forgets_is_forgotten(path: Path) -> None:
    """`bunker nip07 forget` holds for a host that is running."""
    running = Sites(path)
    running.remember(SITE, NOTE, Answer.ALWAYS, NOW)
    running.remember(OTHER, NOTE, Answer.ALWAYS, NOW)
    assert Sites(path).forget(SITE, NOW)
    assert running.decide(SITE, NOTE, NOW) is None
    assert running.decide(OTHER, NOTE, NOW) is True
    path.unlink()
    assert running.decide(OTHER, NOTE, NOW) is None


def test_the_file_is_the_users_alone(path: Path) -> None:
    """Others on the machine can't read where a user goes."""
    Sites(path).remember(SITE, NOTE, Answer.ALWAYS, NOW)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        '{"version": 2, "sites": {}}',
        '{"version": 1, "sites": {"https://a.example": {"sign_event:1": {"allow": 1}}}}',
        '{"version": 1, "sites": {"https://a.example": {"x": {"allow": 1, "expires_at": null}}}}',
        '{"version": 1, "sites": {"javascript:x": {}}}',
    ],
)
def test_a_damaged_file_grants_nothing(path: Path, content: str) -> None:
    """It is an error that names the file, never an empty list of refusals."""
    path.write_text(content)
    with pytest.raises(ClientError, match=r"sites\.json"):
        Sites(path)


@pytest.mark.parametrize("origin", ["https://a.example", "http://localhost:8080", "http://[::1]:1"])
def test_an_origin_is_taken_as_the_browser_says_it(origin: str) -> None:
    """Scheme, host and port, as they are."""
    assert parse_origin(origin) == origin


@pytest.mark.parametrize(
    "origin",
    [
        None,
        1,
        "",
        "null",
        "file://",
        "https://",
        "https://a.example/",
        "https://a.example/path",
        "https://user@a.example",
        "https://a.example:99999",
        "https://a.example?x",
        "javascript:alert(1)",
        "chrome-extension://abc",
        "https://" + "a" * 300,
    ],
)
def test_what_is_no_origin_is_refused(origin: object) -> None:
    """A path, a user name or another scheme would give one site many names."""
    with pytest.raises(InvalidInput):
        parse_origin(origin)
