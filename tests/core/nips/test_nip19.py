"""nip19.py: bech32 names."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bunker_core.errors import InvalidEntity
from bunker_core.nips import nip19
from bunker_core.nips.nip19 import Entity, Naddr, Nevent, Note, Nprofile, Npub, Nsec
from support.strategies import HEX32

NPUB = "npub10elfcs4fr0l0r8af98jlmgdh9c8tcxjvz9qkw038js35mp4dma8qzvjptg"
NPUB_HEX = "7e7e9c42a91bfef19fa929e5fda1b72e0ebc1a4c1141673e2794234d86addf4e"
NSEC = "nsec1vl029mgpspedva04g90vltkh6fvh240zqtv9k0t9af8935ke9laqsnlfe5"
NSEC_HEX = "67dea2ed018072d675f5415ecfaed7d2597555e202d85b3d65ea4e58d2d92ffa"
NPROFILE = (
    "nprofile1qqsrhuxx8l9ex335q7he0f09aej04zpazpl0ne2cgukyawd24mayt8gpp4mhxue69uhhytnc9e3k7mgpz4mhx"
    "ue69uhkg6nzv9ejuumpv34kytnrdaksjlyr9p"
)
PABLO = "3bf0c63fcb93463407af97a5e5ee64fa883d107ef9e558472c4eb9aaaefa459d"

KINDS_32_BITS = st.integers(0, 2**32 - 1)
RELAYS = st.lists(st.text(st.characters(max_codepoint=127), max_size=60), max_size=3).map(tuple)
ENTITIES = (
    st.builds(Npub, HEX32)
    | st.builds(Nsec, st.binary(min_size=32, max_size=32).map(bytearray))
    | st.builds(Note, HEX32)
    | st.builds(Nprofile, HEX32, RELAYS)
    | st.builds(Nevent, HEX32, RELAYS, st.none() | HEX32, st.none() | KINDS_32_BITS)
    | st.builds(
        Naddr,
        st.text(st.characters(exclude_categories=["Cs"]), max_size=60),
        HEX32,
        KINDS_32_BITS,
        RELAYS,
    )
)


@pytest.mark.parametrize(
    ("text", "entity"),
    [
        (
            "npub180cvv07tjdrrgpa0j7j7tmnyl2yr6yr7l8j4s3evf6u64th6gkwsyjh6w6",
            Npub(PABLO),
        ),
        (NPUB, Npub(NPUB_HEX)),
        (NSEC, Nsec(bytearray.fromhex(NSEC_HEX))),
        (NPROFILE, Nprofile(PABLO, ("wss://r.x.com", "wss://djbas.sadkb.com"))),
    ],
)
def test_the_examples_of_nip19(text: str, entity: Entity) -> None:
    """Every example of NIP-19, in both directions."""
    assert nip19.parse(text) == entity
    assert nip19.encode(entity) == text


@pytest.mark.parametrize("text", ["a12uel5l", "A12UEL5L", "1qzzfhee", "de1lg7wt", "10a06t8"])
def test_bech32_that_is_no_entity_is_refused(text: str) -> None:
    """Strings from BIP-173, valid and invalid: none of them names anything of Nostr."""
    with pytest.raises(InvalidEntity):
        nip19.parse(text)


@given(ENTITIES)
def test_parse_undoes_encode(entity: Entity) -> None:
    """What was encoded is read back the same, in capitals (a QR code) and as nostr: too."""
    text = nip19.encode(entity)
    assert nip19.parse(text) == entity
    assert nip19.parse(text.upper()) == entity
    assert nip19.parse(f" nostr:{text}\n") == entity
    assert nip19.parse(f"NOSTR:{text.upper()}") == entity


@given(ENTITIES, st.data())
def test_one_changed_character_is_noticed(entity: Entity, data: st.DataObject) -> None:
    """bech32 finds every single wrong character."""
    text = nip19.encode(entity)
    position = data.draw(st.integers(text.rindex("1") + 1, len(text) - 1))
    character = data.draw(st.sampled_from("qpzry9x8gf2tvdw0s3jn54khce6mua7l"))
    changed = text[:position] + character + text[position + 1 :]
    if changed != text:
        with pytest.raises(InvalidEntity):
            nip19.parse(changed)


def test_unknown_tlv_types_are_skipped() -> None:
    """A TLV that is not recognized is ignored, not an error."""
    data = b"\x63\x02hi" + b"\x00\x20" + bytes.fromhex(PABLO) + b"\x7f\x00"
    assert nip19.parse(nip19.encode_bech32("nprofile", data)) == Nprofile(PABLO)


def raw(name: str, data: bytes) -> str:
    return nip19.encode_bech32(name, data)


@pytest.mark.parametrize("values", [[0] * 51 + [31], [0]], ids=["not zero", "five bits"])
def test_padding_is_zero_and_short(values: list[int]) -> None:
    """BIP-173: at most four bits of padding, all zero; else one key would have many names."""
    sum_ = nip19._polymod([*nip19._expand("npub"), *values, *bytes(6)]) ^ 1
    groups = [*values, *(sum_ >> 5 * (5 - place) & 31 for place in range(6))]
    text = "npub1" + "".join("qpzry9x8gf2tvdw0s3jn54khce6mua7l"[group] for group in groups)
    with pytest.raises(InvalidEntity, match="padding"):
        nip19.parse(text)


ID = b"\x00\x20" + bytes(32)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (raw("npub", bytes(31)), "32 bytes"),
        (raw("nsec", bytes(33)), "32 bytes"),
        (raw("note", b""), "32 bytes"),
        (raw("nprofile", b""), "no value"),
        (raw("nprofile", b"\x00\x20" + bytes(31)), "middle of a field"),
        (raw("nprofile", b"\x00"), "middle of a field"),
        (raw("nprofile", b"\x00\x1f" + bytes(31)), "32 bytes"),
        (raw("nevent", ID + b"\x03\x02\x00\x01"), "4 bytes"),
        (raw("nevent", ID + b"\x02\x01\x00"), "32 bytes"),
        (raw("nevent", ID + b"\x01\x01\xff"), "can't be read"),
        (raw("naddr", b"\x00\x00"), "no author"),
        (raw("naddr", b"\x00\x01\xff\x02\x20" + bytes(32) + b"\x03\x04" + bytes(4)), "read"),
        (raw("nrelay", b"\x00\x01a"), "unknown kind"),
        (NPUB[:-1], "checksum"),
        (NPUB[:-1] + NPUB[-1].upper(), "mixes"),
        (NPUB.replace("q", "b"), "not allowed"),
        ("npub1", "not a bech32 text"),
        ("1" + NPUB[5:], "not a bech32 text"),
        ("é1" + NPUB[5:], "checksum"),
        ("\ud8001" + NPUB[5:], "checksum"),
        ("", "not a bech32 text"),
        ("q" * 5001, "5000"),
        ("npub1" + "q" * 4995, "checksum"),
    ],
)
def test_what_is_wrong_is_said(text: str, message: str) -> None:
    """Each damage has its own message, and none repeats the text."""
    with pytest.raises(InvalidEntity, match=message) as caught:
        nip19.parse(text)
    assert len(str(caught.value)) < 80


@pytest.mark.parametrize(
    "entity",
    [
        Npub(NPUB_HEX.upper()),
        Npub("ab"),
        Nsec(bytearray(31)),
        Note("zz" * 32),
        Nprofile(PABLO, ("w" * 256,)),
        Nprofile(PABLO, ("wss://é.example",)),
        Nprofile(PABLO, ("\ud800",)),
        Nprofile(PABLO, ("wss://" + "a" * 240,) * 20),
        Nevent(PABLO, kind=2**32),
        Nevent(PABLO, kind=-1),
        Nevent(PABLO, author="ab"),
        Naddr("", PABLO, 2**32),
        Naddr("é" * 128, PABLO, 1),
        Naddr("\ud800", PABLO, 1),
    ],
)
def test_what_does_not_fit_is_not_encoded(entity: Entity) -> None:
    """A field that NIP-19 has no room for is refused: parse reads all that encode writes."""
    with pytest.raises(InvalidEntity):
        nip19.encode(entity)


def test_a_pubkey_is_read_from_every_form_that_people_have() -> None:
    """Hex in any case, npub and nprofile all name the same pubkey."""
    for text in (NPUB_HEX, NPUB_HEX.upper(), f"  {NPUB}\n", NPUB.upper(), f"nostr:{NPUB}"):
        assert nip19.parse_pubkey(text) == NPUB_HEX
    assert nip19.parse_pubkey(NPROFILE) == PABLO
    assert nip19.encode_npub(NPUB_HEX) == NPUB


def test_an_nsec_in_the_wrong_field_is_not_repeated() -> None:
    """Who pastes a private key for a public one is told so, and nothing shows the key."""
    with pytest.raises(InvalidEntity, match="private key") as caught:
        nip19.parse_pubkey(NSEC)
    assert NSEC not in str(caught.value)
    assert NSEC_HEX not in str(caught.value)
    with pytest.raises(InvalidEntity, match="not a public key"):
        nip19.parse_pubkey(nip19.encode(Note(PABLO)))


def test_the_repr_of_an_nsec_shows_nothing() -> None:
    """A parsed private key may meet a log line."""
    entity = nip19.parse(NSEC)
    assert NSEC_HEX not in repr(entity)
    assert r"\x" not in repr(entity)
    assert isinstance(entity, Nsec)
    assert nip19.encode_nsec(memoryview(entity.secret)) == NSEC
