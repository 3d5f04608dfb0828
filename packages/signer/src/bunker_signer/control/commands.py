"""What a running signer can be told."""

import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from bunker_core.nips.bunker_uri import new_secret, parse_nostrconnect_uri
from bunker_core.nips.nip19 import encode_npub
from bunker_signer.approvers.describe import describe
from bunker_signer.approvers.inbox import Inbox
from bunker_signer.control.protocol import ControlError
from bunker_signer.control.server import Command
from bunker_signer.key.access import KeyState
from bunker_signer.key.announce import announcement
from bunker_signer.key.identity import Identity
from bunker_signer.key.keystore import KeyStore
from bunker_signer.nse.memory import copy_of
from bunker_signer.policy import Grant
from bunker_signer.request.approval import Answer, Question, Verdict
from bunker_signer.service.agent import Agent
from bunker_signer.service.panic import panic
from bunker_signer.store import clients

Said = Mapping[str, Any]


class Commands:
    """The commands, by name: `table` is what the control server serves."""

    def __init__(
        self,
        agent: Agent,
        inbox: Inbox,
        keystore: KeyStore,
        clock: Callable[[], float] = time.time,
        owner_seen: Callable[[], None] = lambda: None,
    ) -> None:
        """`owner_seen` is called for every command that changes something."""
        self._owner_seen = owner_seen
        self._agent = agent
        self._inbox = inbox
        self._keystore = keystore
        self._clock = clock

    @property
    def table(self) -> Mapping[str, Command]:
        looking: dict[str, Command] = {"status": self.status, "requests": self.requests}
        changing: dict[str, Command] = {
            "answer": self.answer,
            "lock": self.lock,
            "unlock": self.unlock,
            "pause": self.pause,
            "resume": self.resume,
            "panic": self.panic,
            "invite": self.invite,
            "accept": self.accept,
            "announce": self.announce,
        }
        return looking | {name: self._noted(command) for name, command in changing.items()}

    def _noted(self, command: Command) -> Command:
        """Return a command that is a sign of the owner."""

        async def noted(said: Said, uid: int, secret: bytearray | None) -> Any:
            self._owner_seen()
            return await command(said, uid, secret)

        return noted

    async def status(self, _said: Said, _uid: int, _secret: bytearray | None) -> Any:
        """Return what runs and how it is."""
        return {
            "keys": [
                {
                    "name": item.name,
                    "npub": encode_npub(item.user_pubkey),
                    "remote_signer_pubkey": item.remote_signer_pubkey,
                    "state": item.state.value,
                    "waiting": item.waiting,
                    "memory": item.user.memory_level.value,
                    "auto_lock": item.access.auto_lock,
                }
                for item in self._agent.identities.values()
            ],
            "relays": {
                url: "serving" if url in self._agent.live_relays else error or state.value
                for url, (state, error) in self._agent.pool.status().items()
            },
            "clock_off": self._agent.clock_off,
            "waiting": sum(len(question.items) for question in self._inbox.questions()),
        }

    async def requests(self, _said: Said, _uid: int, _secret: bytearray | None) -> Any:
        """Return the open questions."""
        return [self._shown(question) for question in self._inbox.questions()]

    async def answer(self, said: Said, uid: int, _secret: bytearray | None) -> Any:
        """Answer a question."""
        verdict = Verdict(said["verdict"])
        answer = Answer(verdict, f"shell of uid {uid}", said.get("seconds"), said.get("uses"))
        question = next((item for item in self._inbox.questions() if item.id == said["id"]), None)
        if question is not None and answer.allows and not self._paired(question):
            raise ControlError("that app is not paired any more; nothing is signed for it")
        return self._shown(self._inbox.answer(said["id"], answer))

    def _paired(self, question: Question) -> bool:
        with self._agent.database.read() as connection:
            return clients.find(connection, question.key_name, question.client_pubkey) is not None

    async def lock(self, said: Said, uid: int, _secret: bytearray | None) -> Any:
        """Lock keys: requests wait for the unlock."""
        for identity in self._named(said):
            identity.access.lock(_shell(uid))
        return self._states(said)

    async def unlock(self, said: Said, uid: int, secret: bytearray | None) -> Any:
        """Unlock keys, by a passphrase or the master key."""
        for identity in self._named(said):
            if identity.state is not KeyState.LOCKED:
                continue
            copy = None if secret is None else copy_of(secret)  # each use wipes its own
            opening = partial(self._keystore.unlock, identity.user, copy)
            await identity.access.unlock(opening, _shell(uid), on_machine=True)
        return self._states(said)

    async def pause(self, said: Said, uid: int, _secret: bytearray | None) -> Any:
        """Pause keys: requests are refused until they are resumed."""
        for identity in self._named(said):
            identity.access.pause(_shell(uid))
        return self._states(said)

    async def resume(self, said: Said, uid: int, _secret: bytearray | None) -> Any:
        """End a pause."""
        for identity in self._named(said):
            identity.access.resume(_shell(uid))
        return self._states(said)

    async def panic(self, _said: Said, uid: int, _secret: bytearray | None) -> Any:
        """Lock every key, revoke every session and every unused secret, deny what waits.

        The console forgets its devices and passkeys; only an unlock here ends it.
        """
        return panic(self._agent, self._inbox, self._keystore.data, _shell(uid), self._clock)

    async def invite(self, said: Said, _uid: int, _secret: bytearray | None) -> Any:
        """Return a bunker:// URI."""
        identity = self._agent.identity(said["key"])
        granted = [Grant.from_json(item) for item in said["grants"]]
        return str(self._agent.invite(identity, new_secret(), granted))

    async def accept(self, said: Said, _uid: int, _secret: bytearray | None) -> Any:
        """Answer a nostrconnect:// URI."""
        identity = self._agent.identity(said["key"])
        granted = [Grant.from_json(item) for item in said["grants"]]
        uri = parse_nostrconnect_uri(said["uri"])
        delivered = await self._agent.accept(identity, uri, granted)
        return {"client": uri.client_pubkey, "delivered": delivered}

    async def announce(self, said: Said, _uid: int, _secret: bytearray | None) -> Any:
        """Publish the NIP-89 event of a key; return which relays took it."""
        identity = self._agent.identity(said["key"])
        template = announcement(
            self._agent.relays,
            int(self._clock()),
            name=said.get("name", ""),
            domain=said.get("domain", ""),
            nostrconnect_url=said.get("nostrconnect_url", ""),
        )
        event = identity.transport.sign(template)
        publication = self._agent.pool.publish(event)
        receipts = await publication.answered(10.0)
        publication.forget()
        taken = {
            url: "accepted" if item.accepted else item.reason for url, item in receipts.items()
        }
        return {"event": event.id, "relays": taken}

    def _named(self, said: Said) -> list[Identity]:
        name = said.get("key")
        everyone = list(self._agent.identities.values())
        return everyone if name is None else [self._agent.identity(name)]

    def _states(self, said: Said) -> dict[str, str]:
        return {item.name: item.state.value for item in self._named(said)}

    def _shown(self, question: Question) -> dict[str, Any]:
        return {
            "id": question.id,
            "key": question.key_name,
            "client": question.client_pubkey,
            "name": question.client_name,
            "permission": str(question.action.permission),
            "count": len(question.items),
            "text": describe(question, self._clock()),
            "left": max(0, round(question.deadline - self._clock())),
        }


def _shell(uid: int) -> str:
    """Return who called, for the audit log."""
    return f"shell of uid {uid}"
