// A small web app as people write them: it logs in by the signers of client libraries.
import NDK, { NDKEvent, NDKNip07Signer, NDKUser } from "@nostr-dev-kit/ndk";
import { verifyEvent } from "nostr-tools/pure";
import { npubEncode } from "nostr-tools/nip19";

// nostr-tools leaves NIP-07 to window.nostr (its nip07.ts is that type), and checks what it gets.
window.nostrTools = async () => {
  const pubkey = await window.nostr.getPublicKey();
  const event = await window.nostr.signEvent({ kind: 1, content: "by nostr-tools", tags: [], created_at: 1790000000 });
  const payload = await window.nostr.nip44.encrypt(pubkey, "to myself");
  return { npub: npubEncode(pubkey), verified: verifyEvent(event), read: await window.nostr.nip44.decrypt(pubkey, payload) };
};

window.ndk = async () => {
  const signer = new NDKNip07Signer();
  const ndk = new NDK({ signer });
  const user = await signer.blockUntilReady();
  const event = new NDKEvent(ndk, { kind: 1, content: "by NDK", tags: [], created_at: 1790000000 });
  await event.sign();
  const peer = new NDKUser({ pubkey: user.pubkey });
  const payload = await signer.encrypt(peer, "to myself", "nip44");
  return { npub: user.npub, verified: verifyEvent(event.rawEvent()), read: await signer.decrypt(peer, payload, "nip44") };
};
