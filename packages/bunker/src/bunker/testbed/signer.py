"""A signer in this process: the real agent, with keys that the test may bring."""

import asyncio
import os
import time
from collections.abc import Callable, Iterable, MutableMapping
from pathlib import Path
from typing import Final

from bunker.testbed.faults import Faults
from bunker.testbed.thread import LoopThread
from bunker.testbed.wire import Party
from bunker_core.bunker_uri import BunkerURI, NostrConnectURI, new_secret, parse_nostrconnect_uri
from bunker_core.channel import rpc_template
from bunker_core.event import sign_event
from bunker_core.keys import SecretKey
from bunker_core.nip19 import encode_npub
from bunker_core.nip46 import parse_permissions
from bunker_core.pool import RelayPool
from bunker_signer.agent import Agent
from bunker_signer.approval import Answer, Desk, Question, Verdict
from bunker_signer.identity import Identity, KeyState
from bunker_signer.jobs import Jobs
from bunker_signer.nse import NSE, MemoryStorage
from bunker_signer.nse.wrap.master_key import MasterKey
from bunker_signer.policy import Grant, Profile, grants_of, profile_grants
from bunker_signer.store import Database

_KEY_BYTES: Final = 32
_RECEIPT_TIMEOUT: Final = 3.0  # seconds
_RETRY_SECONDS: Final = 0.02

# What a test puts in the owner's place: True or False, an Answer, or None for silence.
Script = Callable[[Question], Answer | bool | None]


class Signer:
    """One user's key on some relays. `faults` and `approver` can be changed at any time."""

    def __init__(
        self,
        thread: LoopThread,
        relay_urls: Iterable[str],
        data: Path,
        parties: MutableMapping[str, Party],
        *,
        secret_key: bytes | None = None,
        allow: str | None = None,
        approver: Script | None = None,
    ) -> None:
        """Start; `allow` is what a client that pairs may do without asking, None: everything.

        `secret_key` is the user's, 32 bytes, throw-away unless given. `approver` answers what is
        not allowed; without one it is denied.
        """
        self._thread = thread
        self._relay_urls = tuple(relay_urls)
        self._master_key = os.urandom(_KEY_BYTES)
        transport = os.urandom(_KEY_BYTES)  # known to the wire, which reads and forges
        self._transport = self._enclave(transport)
        self._user = self._enclave(secret_key or os.urandom(_KEY_BYTES))
        self._database = Database(data / "signer.sqlite3")
        self._running: _Running | None = None
        self.allow = allow
        self.approver: Script = approver or (lambda _: False)
        self.questions: list[Question] = []  # what the approver was asked, in order
        self.faults = Faults()
        self.pubkey = self._user.get_public_key()
        self.remote_signer_pubkey = self._transport.get_public_key()
        parties[self.remote_signer_pubkey] = Party(SecretKey(transport), self.faults)
        self.restart()

    @property
    def npub(self) -> str:
        """The user's pubkey, as people write it."""
        return encode_npub(self.pubkey)

    @property
    def uri(self) -> str:
        """A bunker:// URI that pairs one client; each reading makes a fresh one."""
        return self.invite(self.allow)

    @property
    def running(self) -> bool:
        """Whether the signer serves just now."""
        return self._running is not None

    @property
    def locked(self) -> bool:
        """Whether the user's key is locked."""
        return self._user.locked

    def invite(self, allow: str | None = None) -> str:
        """Return a bunker:// URI that pairs one client, which then may do `allow`."""
        if self._running is None:
            raise RuntimeError("the signer is killed; restart it first")
        return str(self._running.invite(_grants(allow)))

    def accept(self, uri: str, allow: str | None = None) -> None:
        """Take a client's nostrconnect:// invitation."""
        if self._running is None:
            raise RuntimeError("the signer is killed; restart it first")
        parsed = parse_nostrconnect_uri(uri)
        self._thread.run(self._running.accept(parsed, _grants(allow)))

    def lock(self) -> None:
        """Lock the user's key: requests that need it fail until `unlock`.

        At once: with a locked key alone they would wait for the unlock.
        """
        self._user.lock()
        self._set_state(KeyState.PAUSED)

    def unlock(self) -> None:
        """Unlock the user's key."""
        self._user.unlock(MasterKey(bytearray(self._master_key)))
        self._set_state(KeyState.UNLOCKED)

    def kill(self) -> None:
        """End the signer in the middle of whatever it does."""
        running, self._running = self._running, None
        if running is not None:
            self._thread.run(running.stop())

    def restart(self) -> None:
        """Start again, with the clients and grants that there were; end it first if it runs."""
        self.kill()
        self._running = self._thread.run(self._start())

    def wait_until_listening(self, timeout: float = 10.0) -> None:
        """Return when a relay passes requests on to the signer; raises TimeoutError.

        After a relay's restart client and signer come back each in its own time. A request that is
        sent between the two finds nobody, as it would in real life.
        """
        if self._running is None:
            raise RuntimeError("the signer is killed; restart it first")
        self._thread.run(self._running.listening(), timeout)

    def close(self) -> None:
        """End the signer for good and wipe its keys."""
        self.faults.clear()
        self.kill()
        self._database.close()
        self._transport.close()
        self._user.close()

    async def ask(self, question: Question) -> Answer:
        """Answer as the script says (the signer's approver calls this)."""
        self.questions.append(question)
        answer = self.approver(question)
        if answer is None:
            await asyncio.Event().wait()  # until the signer's own deadline
        if isinstance(answer, Answer):
            return answer
        return Answer(Verdict.ONCE if answer else Verdict.DENY, "script")

    def _enclave(self, secret_key: bytes) -> NSE:
        enclave = NSE(master_key=bytearray(self._master_key), storage=MemoryStorage())
        enclave.import_key(bytearray(secret_key))
        return enclave

    async def _start(self) -> "_Running":
        state = KeyState.PAUSED if self.locked else KeyState.UNLOCKED
        identity = Identity("default", self._transport, self._user, state=state)
        running = _Running(self._relay_urls, identity, self._database, self)
        await running.start()
        return running

    def _set_state(self, state: KeyState) -> None:
        if self._running is not None:
            self._thread.run(self._running.set_state(state))


class _Running:
    """One run of the signer, from a start to its end. Lives on the loop's thread."""

    def __init__(
        self,
        relay_urls: tuple[str, ...],
        identity: Identity,
        database: Database,
        signer: Signer,
    ) -> None:
        clock = signer.faults.clock
        self._identity = identity
        self._clock = clock
        # Nothing gathers: each request is a question of its own, so that a script sees them all.
        self._desk = Desk([signer], gather=0.0, clock=clock)
        jobs = Jobs(database, self._desk, clock=clock)
        self.agent = Agent([identity], database, jobs, relay_urls, clock=clock)
        self._pool = RelayPool(relay_urls)  # for what is not the signer's own
        self._serving: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Subscribe; raises PoolError."""
        await self._pool.__aenter__()
        try:
            await self.agent.__aenter__()
        except BaseException:
            await self._pool.__aexit__(None, None, None)
            raise
        self._serving = asyncio.create_task(self.agent.serve())

    async def stop(self) -> None:
        """Cancel what runs and leave the relays."""
        if self._serving is not None:
            self._serving.cancel()
            await asyncio.gather(self._serving, return_exceptions=True)
        await self.agent.__aexit__(None, None, None)
        await self._desk.close()
        await self._pool.__aexit__(None, None, None)

    def invite(self, grants: Iterable[Grant]) -> BunkerURI:
        """Return a URI that pairs one client."""
        return self.agent.invite(self._identity, new_secret(), grants)

    async def accept(self, uri: NostrConnectURI, grants: Iterable[Grant]) -> None:
        """Answer a client's invitation."""
        await self.agent.accept(self._identity, uri, grants)

    async def set_state(self, state: KeyState) -> None:
        """Lock or unlock, on the loop's thread."""
        self._identity.set_state(state, self._clock())

    async def listening(self) -> None:
        """Send events that mean nothing to the signer until a relay delivers one."""
        while True:
            template = rpc_template("", self._identity.remote_signer_pubkey, int(time.time()))
            publication = self._pool.publish(sign_event(template, SecretKey.generate()))
            receipt = await publication.delivered(_RECEIPT_TIMEOUT)
            publication.forget()
            if receipt is not None:
                return
            await asyncio.sleep(_RETRY_SECONDS)


def _grants(allow: str | None) -> tuple[Grant, ...]:
    if allow is None:
        return profile_grants(Profile.FULL)
    permissions = parse_permissions(allow)
    if allow and len(permissions) != len(allow.split(",")):
        raise ValueError(f"{allow}: not a list like sign_event:1,nip44_encrypt")
    return grants_of(permissions)
