// A signer of nostr-tools' parts; the library has none of its own. What such signers do in the
// field: one key, one subscription, who has brought the secret may do what is listed here.

import { NostrConnect } from 'nostr-tools/kinds'
import * as nip04 from 'nostr-tools/nip04'
import * as nip44 from 'nostr-tools/nip44'
import { SimplePool } from 'nostr-tools/pool'
import { finalizeEvent, generateSecretKey, getPublicKey } from 'nostr-tools/pure'

const SIGNED = [1, 3, 4]
const shared = nip44.getConversationKey

const methods = {
  connect: () => 'ack',
  ping: () => 'pong',
  get_public_key: key => getPublicKey(key),
  switch_relays: () => 'null',
  sign_event(key, text) {
    const { kind, content, tags, created_at } = JSON.parse(text)
    if (!SIGNED.includes(kind)) throw new Error(`kind ${kind} is not permitted`)
    return JSON.stringify(finalizeEvent({ kind, content, tags, created_at }, key))
  },
  nip44_encrypt: (key, peer, text) => nip44.encrypt(text, shared(key, peer)),
  nip44_decrypt: (key, peer, payload) => nip44.decrypt(payload, shared(key, peer)),
  nip04_encrypt: (key, peer, text) => nip04.encrypt(key, peer, text),
  nip04_decrypt: (key, peer, payload) => nip04.decrypt(key, peer, payload),
}

/** Serve on `relays` until the process ends; `invitation` is a nostrconnect:// URI. */
export async function serve(relays, secret, invitation) {
  const key = generateSecretKey()
  const pubkey = getPublicKey(key)
  const pool = new SimplePool({ enableReconnect: true })
  const paired = new Set()

  async function answer(event) {
    const conversation = shared(key, event.pubkey)
    const request = JSON.parse(nip44.decrypt(event.content, conversation))
    const { id, method, params } = request
    const respond = response => send(event.pubkey, { id, ...response })
    try {
      if (method === 'connect' && params[1] === secret) paired.add(event.pubkey)
      if (!paired.has(event.pubkey)) throw new Error('not connected, or another secret')
      if (method === 'logout') paired.delete(event.pubkey)
      else if (!Object.hasOwn(methods, method)) throw new Error(`unknown method ${method}`)
      await respond({ result: method === 'logout' ? 'ack' : await methods[method](key, ...params) })
    } catch (error) {
      await respond({ result: '', error: error.message })
    }
  }

  function send(to, response) {
    const content = nip44.encrypt(JSON.stringify(response), shared(key, to))
    const created_at = Math.floor(Date.now() / 1000)
    const template = { kind: NostrConnect, tags: [['p', to]], content, created_at }
    return Promise.any(pool.publish(relays, finalizeEvent(template, key)))
  }

  pool.subscribeMany(
    relays,
    { kinds: [NostrConnect], '#p': [pubkey], limit: 0 },
    { onevent: event => answer(event).catch(() => {}) }, // what can't be read has no answer
  )
  const connected = await Promise.any(relays.map(relay => pool.ensureRelay(relay)))
  connected.resubscribeBackoff = [200] // its own is ten seconds
  if (invitation) {
    const { hostname, searchParams } = new URL(invitation)
    paired.add(hostname)
    await send(hostname, { id: 'invited', result: searchParams.get('secret') })
  }
  return pubkey
}
