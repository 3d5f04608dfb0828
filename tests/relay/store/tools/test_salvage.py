"""A damaged database: what can be read is found, and nothing that was never signed."""

import json
import random
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner

from bunker_core.keys import SecretKey
from bunker_relay.cli import relay
from bunker_relay.store.store import FILE
from bunker_relay.store.tools.salvage import Tally, salvage
from bunker_relay.store.tools.transfer import import_events
from support.wire import note

KEY = SecretKey.generate()
EVENTS = [
    note(KEY, f"{number} " + "x" * (number % 40 * 100), created_at=1_000 + number)
    for number in range(400)
]


def _filled(folder: Path) -> Path:
    path = folder / FILE
    for _ in import_events(path, enumerate(event.to_json() for event in EVENTS)):
        pass
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return path


def _damage(path: Path, offset: int, size: int) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(random.Random(offset).randbytes(size))


def test_a_sound_database_gives_all(tmp_path: Path) -> None:
    """As export does, in the order of arrival."""
    tally = Tally()
    found = list(salvage(_filled(tmp_path), tally))
    assert found == [event.to_json() for event in EVENTS]
    assert (tally.saved, tally.lost) == (len(EVENTS), 0)


@pytest.mark.parametrize("page", [0, 1, 2, 3, 5, 20, 60, 90])
def test_a_page_that_is_lost_takes_few_with_it(tmp_path: Path, page: int) -> None:
    """Wherever it was: with a deep search nine of ten are found, and only what was there."""
    path = _filled(tmp_path)
    _damage(path, page * 4_096, 4_096)
    texts = {event.to_json() for event in EVENTS}
    found = list(salvage(path, Tally(), deep=True))
    assert set(found) <= texts
    assert len(found) == len(set(found))
    inline = sum(len(text) < 4_000 for text in texts)
    assert len(found) > 0.9 * inline


def test_what_was_deleted_stays_away_without_a_deep_search(tmp_path: Path) -> None:
    """Only a deep search reads what no row points to."""
    path = _filled(tmp_path)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DELETE FROM events WHERE seq <= 200")
    assert list(salvage(path, Tally())) == [event.to_json() for event in EVENTS[200:]]


def test_the_command_and_back(tmp_path: Path) -> None:
    """salvage, move away, import: the relay has what was found."""
    (tmp_path / "old").mkdir()
    path = _filled(tmp_path / "old")
    _damage(path, 40 * 4_096, 8_192)
    output = tmp_path / "events.jsonl"
    run = CliRunner().invoke
    done = run(relay, ["salvage", "--data", str(tmp_path / "old"), str(output)])
    assert done.exit_code == 0, done.output
    count = int(done.stderr.split()[0])
    assert 300 < count < 400
    assert len(output.read_text().splitlines()) == count
    done = run(relay, ["import", "--data", str(tmp_path / "new"), str(output)])
    assert f"{count} saved" in done.stderr
    assert json.loads(output.read_text().splitlines()[0])["pubkey"] == KEY.pubkey


def test_a_file_of_something_else(tmp_path: Path) -> None:
    """Nothing is found, and that is said and the exit code."""
    (tmp_path / FILE).write_bytes(b"junk" * 10_000)
    done = CliRunner().invoke(relay, ["salvage", "--data", str(tmp_path), "-"])
    assert done.exit_code == 1
    assert "0 events found" in done.stderr
