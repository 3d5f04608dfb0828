// What every client script tells the test, one line of JSON at a time, and the checks they share.

import { generateSecretKey, getPublicKey, verifyEvent } from 'nostr-tools/pure'
import { nip04, nip44 } from 'nostr-tools'
import WebSocket from 'ws'

// Node 20 has no WebSocket of its own; both libraries take it from here.
globalThis.WebSocket = WebSocket

const PATIENCE = 15000 // milliseconds for one operation

export function tell(line) {
  process.stdout.write(JSON.stringify(line) + '\n')
}

/** Run one operation and tell how it went; gives its value, or undefined. */
export async function attempt(operation, action) {
  let timer
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer in ${PATIENCE} ms`)), PATIENCE)
  })
  try {
    const value = await Promise.race([action(), late])
    tell({ operation, outcome: 'ok' })
    return value
  } catch (error) {
    tell({ operation, outcome: `failed: ${error?.message ?? JSON.stringify(error)}` })
  } finally {
    clearTimeout(timer)
  }
}

export function demand(condition, reason) {
  if (!condition) throw new Error(reason)
}

/** The time in seconds, as created_at wants it. */
export function now() {
  return Math.floor(Date.now() / 1000)
}

export const TEMPLATE = {
  kind: 1,
  content: 'Signed from desktop, key on phone!\n"äöü" 🦊',
  tags: [['t', 'interop']],
}

/** An event that the client was not granted, so that the signer denies it. */
export const FORBIDDEN = { kind: 7, content: '+', tags: [] }

/** Check a signed event and hand it to the test, which checks it again with its own code. */
export function checkSigned(event, user) {
  const plain = JSON.parse(JSON.stringify(event)) // without nostr-tools' mark that it is verified
  demand(verifyEvent(plain), 'signature does not verify')
  demand(plain.pubkey === user, 'signed by another key')
  demand(plain.content === TEMPLATE.content, 'another content')
  tell({ signed: plain })
}

/** The other end of encryption: a key of this script, whose own code opens what the signer sealed. */
export function thirdParty(user) {
  const secret = generateSecretKey()
  const conversation = nip44.getConversationKey(secret, user)
  return {
    pubkey: getPublicKey(secret),
    nip44: {
      encrypt: text => nip44.encrypt(text, conversation),
      decrypt: payload => nip44.decrypt(payload, conversation),
    },
    nip04: {
      encrypt: text => nip04.encrypt(secret, user, text),
      decrypt: payload => nip04.decrypt(secret, user, payload),
    },
  }
}

/** Encrypt and decrypt with both schemes: `encrypt` and `decrypt` ask the signer. */
export async function attemptEncryption(user, encrypt, decrypt) {
  const other = thirdParty(user)
  const texts = ['a', 'für dich 🦊']
  for (const scheme of ['nip44', 'nip04']) {
    await attempt(`${scheme}_encrypt`, async () => {
      for (const text of texts) {
        const opened = await other[scheme].decrypt(await encrypt(scheme, other.pubkey, text))
        demand(opened === text, 'the third party reads another text')
      }
    })
    await attempt(`${scheme}_decrypt`, async () => {
      for (const text of texts) {
        const payload = await other[scheme].encrypt(text)
        demand((await decrypt(scheme, other.pubkey, payload)) === text, 'decrypts to another text')
      }
    })
  }
}

/** Encrypt and decrypt what only fits NIP-44's extended length prefix. */
export async function attemptLongText(user, encrypt, decrypt) {
  const other = thirdParty(user)
  const text = 'x'.repeat(66000)
  await attempt('nip44 66 kB', async () => {
    const opened = other.nip44.decrypt(await encrypt('nip44', other.pubkey, text))
    demand(opened === text, 'the third party reads another text')
    const payload = other.nip44.encrypt(text)
    demand((await decrypt('nip44', other.pubkey, payload)) === text, 'decrypts to another text')
  })
}

/** Succeed only if the signer itself refuses: both libraries reject with its text, a bare string. */
export async function attemptRefusal(operation, action, text = '') {
  await attempt(operation, async () => {
    let answer
    try {
      answer = await action()
    } catch (error) {
      if (typeof error === 'string' && error && error.includes(text)) return
      throw error
    }
    throw new Error(`answered with ${answer}`)
  })
}
