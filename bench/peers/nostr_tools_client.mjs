// nostr-tools as a client: node nostr_tools_client.mjs BUNKER_URI COUNT

import { require, tell } from './modules.mjs'

const { BunkerSigner, parseBunkerInput } = require('nostr-tools/nip46')
const { generateSecretKey } = require('nostr-tools/pure')

const [uri, count] = process.argv.slice(2)
const signer = BunkerSigner.fromBunker(generateSecretKey(), await parseBunkerInput(uri))
await signer.connect()
const sign = number =>
  signer.signEvent({ kind: 1, content: `note ${number}`, tags: [], created_at: 1_700_000_000 })
for (let number = 0; number < 5; number++) await sign(number)
const sequential = []
for (let number = 0; number < Number(count); number++) {
  const begun = performance.now()
  await sign(number)
  sequential.push(performance.now() - begun)
}
tell({ sequential })
const begun = performance.now()
let done = 0
await Promise.all(
  Array.from({ length: 32 }, async () => {
    while (performance.now() - begun < 2000) {
      await sign(done)
      done++
    }
  }),
)
tell({ concurrent: done / ((performance.now() - begun) / 1000) })
process.exit(0)
