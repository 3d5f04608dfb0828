// nostr-tools asks for one signature: node nostr_tools_asks.mjs BUNKER_URI

import { BunkerSigner, parseBunkerInput } from 'nostr-tools/nip46'
import { generateSecretKey } from 'nostr-tools/pure'
import WebSocket from 'ws'

globalThis.WebSocket = WebSocket // Node 20 has none of its own

const signer = BunkerSigner.fromBunker(generateSecretKey(), await parseBunkerInput(process.argv[2]), {
  onauth: (url) => console.log(JSON.stringify({ auth_url: url })),
})
await signer.connect({ name: 'nostr-tools', url: 'https://example.com' })
console.log(JSON.stringify({ connected: true }))
const created_at = Math.floor(Date.now() / 1000)
const signed = await signer.signEvent({ kind: 1, content: 'asked by nostr-tools', tags: [], created_at })
console.log(JSON.stringify({ signed }))
process.exit(0)
