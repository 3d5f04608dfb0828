// NDK's NDKNip46Backend as a signer: node ndk_backend.mjs RELAY_URL
// Prints its bunker:// URI when it listens, and serves until it is killed.

import { tell } from './report.mjs'
import NDK, { NDKNip46Backend, NDKPrivateKeySigner } from '@nostr-dev-kit/ndk'

const [relay] = process.argv.slice(2)
const SECRET = 'interop-secret'
const ndk = new NDK({ explicitRelayUrls: [relay], enableOutboxModel: false })
await ndk.connect(5000)

const paired = new Set()
const signer = NDKPrivateKeySigner.generate()
const backend = new NDKNip46Backend(ndk, signer, async ({ pubkey }) => paired.has(pubkey), [relay])
backend.applyToken = async (pubkey, token) => {
  if (token !== SECRET) throw new Error('invalid secret')
  paired.add(pubkey)
}

// `start` does not say when its subscription stands: look over its shoulder.
let live
const subscribe = ndk.subscribe.bind(ndk)
ndk.subscribe = (...parameters) => {
  const subscription = subscribe(...parameters)
  live = new Promise(resolve => subscription.on('eose', resolve))
  return subscription
}
await backend.start()
await live
tell({ user: signer.pubkey })
tell({ uri: `bunker://${signer.pubkey}?relay=${encodeURIComponent(relay)}&secret=${SECRET}` })
