"""Ask a Nostr remote signer (NIP-46 bunker) for signatures; the key stays with the signer.

from bunker_client import RemoteSigner

async with RemoteSigner.from_uri("bunker://...") as signer:
    event = await signer.request_signature({"kind": 1, "content": "Signed from afar"})
"""

from bunker_client.errors import (
    AnswerTooLarge,
    ClientError,
    ClockOff,
    ConnectionEnded,
    InvalidReply,
    InvalidRequest,
    InvalidURI,
    MethodUnknown,
    PairingFailed,
    RelayRefused,
    RelayUnreachable,
    RequestDenied,
    RequestTimeout,
    RequestTooLarge,
    SessionError,
    SignerLocked,
    SignerOffline,
    WaitingForApproval,
)
from bunker_client.keys.master_key import FileMasterKey, KeyringMasterKey
from bunker_client.keys.uri_keys import URIKeys
from bunker_client.pair.pairing import Pairing
from bunker_client.pair.qr import QR
from bunker_client.remote_signer import RemoteSigner
from bunker_client.request.batch import decrypt_all
from bunker_client.request.progress import Progress, Step
from bunker_client.request.session import Session
from bunker_client.sessions import Sessions
from bunker_client.signers import BunkerClient, pair, signer_from, sync_signer_from
from bunker_client.sync import SyncRemoteSigner
from bunker_core.signer import Signer, SyncSigner

__version__ = "0.1.0"

__all__ = [
    "QR",
    "AnswerTooLarge",
    "BunkerClient",
    "ClientError",
    "ClockOff",
    "ConnectionEnded",
    "FileMasterKey",
    "InvalidReply",
    "InvalidRequest",
    "InvalidURI",
    "KeyringMasterKey",
    "MethodUnknown",
    "Pairing",
    "PairingFailed",
    "Progress",
    "RelayRefused",
    "RelayUnreachable",
    "RemoteSigner",
    "RequestDenied",
    "RequestTimeout",
    "RequestTooLarge",
    "Session",
    "SessionError",
    "Sessions",
    "Signer",
    "SignerLocked",
    "SignerOffline",
    "Step",
    "SyncRemoteSigner",
    "SyncSigner",
    "URIKeys",
    "WaitingForApproval",
    "decrypt_all",
    "pair",
    "signer_from",
    "sync_signer_from",
]
