// nostr-tools as a client: node nostr_tools_client.mjs bunker BUNKER_URI
//                          node nostr_tools_client.mjs nostrconnect RELAY_URL

import {
  attempt,
  attemptEncryption,
  attemptLongText,
  attemptRefusal,
  checkSigned,
  demand,
  FORBIDDEN,
  now,
  tell,
  TEMPLATE,
} from './report.mjs'
import { BunkerSigner, createNostrConnectURI, parseBunkerInput } from 'nostr-tools/nip46'
import { SimplePool } from 'nostr-tools/pool'
import { generateSecretKey, getPublicKey } from 'nostr-tools/pure'

const [flow, address] = process.argv.slice(2)
const key = generateSecretKey()

async function login() {
  if (flow === 'bunker') {
    const pointer = await parseBunkerInput(address)
    demand(pointer, 'the URI is not understood')
    const signer = BunkerSigner.fromBunker(key, pointer)
    await signer.connect({ name: 'nostr-tools', url: 'https://example.com' })
    return signer
  }
  const uri = createNostrConnectURI({
    clientPubkey: getPublicKey(key),
    relays: [address],
    secret: 'interop-secret',
    perms: ['sign_event:1', 'nip44_encrypt'],
    name: 'nostr-tools',
  })
  // A connected pool sends the subscription at once, so that it stands before the URI is shown.
  const pool = new SimplePool()
  await pool.ensureRelay(address)
  const signer = BunkerSigner.fromURI(key, uri, { pool }, 15000)
  setImmediate(() => tell({ uri }))
  return signer
}

const signer = await attempt('connect', login)
if (signer) {
  await attempt('ping', () => signer.ping())
  const user = await attempt('get_public_key', () => signer.getPublicKey())
  tell({ user })
  await attempt('sign_event', async () => {
    checkSigned(await signer.signEvent({ ...TEMPLATE, created_at: now() }), user)
  })
  const encrypt = (scheme, peer, text) => signer[`${scheme}Encrypt`](peer, text)
  const decrypt = (scheme, peer, payload) => signer[`${scheme}Decrypt`](peer, payload)
  await attemptEncryption(user, encrypt, decrypt)
  await attemptLongText(user, encrypt, decrypt)
  await attempt('switch_relays', async () => {
    await signer.switchRelays() // takes every failure for "no change", so ask once more, openly
    const answer = await signer.sendRequest('switch_relays', [])
    demand(answer === 'null', `answered with ${answer}`)
  })
  await attemptRefusal(
    'denied',
    () => signer.signEvent({ ...FORBIDDEN, created_at: now() }),
    'denied',
  )
  await attemptRefusal('unknown method', () => signer.sendRequest('get_relays', []))
  await attempt('logout', () => signer.logout())
  await attemptRefusal('after logout', async () => {
    const again = BunkerSigner.fromBunker(key, signer.bp)
    return again.getPublicKey()
  })
}
process.exit(0)
