"""Configuration: where it comes from, and what a wrong value is told."""

import tomllib
from pathlib import Path

import pytest

from bunker_core.keys import SecretKey
from bunker_core.nips.nip19 import encode_npub, encode_nsec
from bunker_relay.config import Config, Profile
from bunker_relay.config.sources import ConfigError, load, to_toml

PUBKEY = SecretKey.generate().pubkey


def _file(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "relay.toml"
    file.write_text(text, "utf-8")
    return file


def test_flags_win_over_variables_over_the_file_over_defaults(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each source covers the one below it, key by key, in nested tables too."""
    file = _file(
        tmp_path,
        'name = "file"\nport = 1\nhost = "file"\n'
        "[limits]\nmax_filters = 1\nmax_limit = 600\n[rates.events_per_ip]\nburst = 7",
    )
    monkeypatch.setenv("BUNKER_RELAY_PORT", "2")
    monkeypatch.setenv("BUNKER_RELAY_HOST", "variable")
    monkeypatch.setenv("BUNKER_RELAY_LIMITS__MAX_FILTERS", "2")
    config = load(file, host="flag", name=None, signers=())
    assert (config.name, config.port, config.host) == ("file", 2, "flag")
    assert (config.limits.max_filters, config.limits.max_limit) == (2, 600)
    assert config.limits.max_subscriptions == Config().limits.max_subscriptions
    assert config.rates.events_per_ip.burst == 7
    assert config.rates.events_per_ip.per_second == Config().rates.events_per_ip.per_second


def test_lists_in_a_variable_have_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys may be npub or hex."""
    monkeypatch.setenv("BUNKER_RELAY_SIGNERS", f"{encode_npub(PUBKEY)}, {'a' * 64}")
    assert load().signers == (PUBKEY, "a" * 64)
    assert load().gated


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("port = 70000", ["port", "70000", "0 to 65535"]),
        ('port = "x"', ["port", "'x'", "0 to 65535"]),
        ('profile = "closed"', ["profile", "'closed'", "open, private, bunker"]),
        ('mute = "no"', ["mute", "'no'", "accept, reject"]),
        ("limits.max_filters = 0", ["limits.max_filters", "0", "1 to 1000"]),
        ("ping_interval = 31", ["ping_interval", "31", "over 0 to 30"]),
        ("grace.seconds = 301", ["grace.seconds", "301", "0 to 300"]),
        ("rates.events_per_ip = {per_second = 0}", ["rates.events_per_ip.per_second", "over 0"]),
        ("prot = 1", ["prot", "no such key"]),
        ("limits.max_fliters = 1", ["limits.max_fliters", "no such key"]),
        ('url = "https://x"', ["url", "ws://"]),
        ('trusted_proxies = ["x"]', ["trusted_proxies", "'x'", "IP address"]),
        ('profile = "private"', ["private needs a signer"]),
        ("limits.max_outbox_bytes = 5000", ["limits.max_outbox_bytes", "four times"]),
        ("limits.default_limit = 6000", ["limits.default_limit", "max_limit"]),
        ('log.level = "loud"', ["log.level", "'loud'", "debug, info, warning, error"]),
        ('signers = ["npub1junk"]', ["signers", "npub or 64 hex"]),
        ('database = "mysql://x"', ["database", "postgresql://"]),
        ('database = "postgresql://me:***@db/x"', ["database", "write it out"]),
        ("port =", ["relay.toml"]),
        (f"name = {'[' * 20_000}", ["relay.toml", "deeply"]),
        ('host = ""', ["host", "127.0.0.1 is this machine"]),
        ('metrics = {host = ""}', ["metrics.host", "127.0.0.1 is this machine"]),
    ],
)  # fmt: skip
def test_a_wrong_value_names_key_value_and_range(
    tmp_path: Path, text: str, words: list[str]
) -> None:
    """One line for each mistake, with what is allowed."""
    with pytest.raises(ConfigError) as error:
        load(_file(tmp_path, text))
    assert len(str(error.value).splitlines()) == 1
    for word in words:
        assert word in str(error.value)


def test_all_mistakes_are_named_at_once(tmp_path: Path) -> None:
    """A person need not start the relay once for each of them."""
    with pytest.raises(ConfigError) as error:
        load(_file(tmp_path, "port = -1\nlimits.max_filters = 0\nwrong = 1"))
    assert len(str(error.value).splitlines()) == 3


@pytest.mark.parametrize("name", ["BUNKER_RELAY_PROT", "bunker_relay_x", "BUNKER_RELAY_LIMIT__A"])
def test_an_unknown_variable_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A misspelled variable would otherwise be a setting that silently does not hold."""
    monkeypatch.setenv(name, "1")
    with pytest.raises(ConfigError, match=name):
        load()


def test_a_missing_file_is_said() -> None:
    """A file that was asked for has to be there."""
    with pytest.raises(ConfigError, match="no configuration file"):
        load(Path("/nowhere/relay.toml"))


@pytest.mark.parametrize("key", ["signers", "allow", "owner"])
def test_a_private_key_by_mistake_is_not_repeated(key: str, tmp_path: Path) -> None:
    """An nsec where an npub belongs is named as such, and not shown in the error."""
    nsec = encode_nsec(bytearray(range(1, 33)))
    value = f'"{nsec}"' if key == "owner" else f'["{nsec}"]'
    with pytest.raises(ConfigError, match="private key") as error:
        load(_file(tmp_path, f"{key} = {value}"))
    assert nsec not in str(error.value)


@pytest.mark.parametrize(
    "url", ["postgresql://me:hunter2@db/x?a=b", "postgresql://me@db/x?password=hunter2&a=b"]
)
def test_a_password_is_taken_from_the_file_alone(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not printed and in no repr, and a variable, which every child gets, may not hold it."""
    config = load(_file(tmp_path, f'database = "{url}"'))
    assert config.database == url
    assert "***" in to_toml(config)
    assert "hunter2" not in to_toml(config) + repr(config)
    with pytest.raises(ConfigError) as error:
        load(_file(tmp_path, f'database = "x{url}"'))
    assert "hunter2" not in str(error.value)
    monkeypatch.setenv("BUNKER_RELAY_DATABASE", url)
    with pytest.raises(ConfigError, match="configuration file") as error:
        load()
    assert "hunter2" not in str(error.value)
    monkeypatch.setenv("BUNKER_RELAY_DATABASE", "postgresql://me@db/x?passfile=/p")
    assert load().database == "postgresql://me@db/x?passfile=/p"


def test_what_is_printed_can_be_read_again(tmp_path: Path) -> None:
    """`bunker relay config` prints a file that gives the same configuration."""
    name = 'name = "\\"ü😀\\u007f\\\\"'
    text = f'profile = "bunker"\nsigners = ["{PUBKEY}"]\n{name}\n[metrics]\nport = 9000'
    config = load(_file(tmp_path, text))
    assert config.profile is Profile.BUNKER
    printed = to_toml(config)
    assert tomllib.loads(printed)["metrics"]["port"] == 9000
    again = load(_file(tmp_path, printed))
    assert again == config


def test_a_file_is_utf_8_whatever_the_locale(tmp_path: Path) -> None:
    """As TOML has it; other bytes are an error that names the file."""
    file = tmp_path / "relay.toml"
    file.write_bytes('name = "Füße"'.encode())
    assert load(file).name == "Füße"
    file.write_bytes(b'\xef\xbb\xbfname = "by Notepad"')
    assert load(file).name == "by Notepad"
    file.write_bytes(b'name = "F\xfc"')
    with pytest.raises(ConfigError, match=r"relay\.toml"):
        load(file)


@pytest.mark.parametrize(("value", "told"), [("", "empty"), ("\udcff", "not UTF-8")])
def test_a_variable_without_a_value_or_of_other_bytes_is_no_host(
    value: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A line of a container's file that was left empty opens the relay to nobody else."""
    monkeypatch.setenv("BUNKER_RELAY_HOST", value)
    with pytest.raises(ConfigError, match=told):
        load()
