// A login as nostr-tools makes it (NIP-98): who is it, an event signed for this address, its check.
import { npubEncode } from "nostr-tools/nip19";
import { getToken, validateToken } from "nostr-tools/nip98";

const said = document.querySelector("output");
const address = `${location.origin}/session`;

document.querySelector("button").addEventListener("click", async () => {
  try {
    const pubkey = await window.nostr.getPublicKey();
    said.dataset.pubkey = pubkey;
    window.token = await getToken(address, "get", (template) => window.nostr.signEvent(template), true);
    await validateToken(window.token, address, "get"); // throws what is wrong with it
    said.value = `Logged in as ${npubEncode(pubkey)}`;
  } catch (error) {
    said.value = error.message;
  }
});
document.body.dataset.ready = "yes";
