// A client that does what it is told: node driven.mjs LIBRARY
//
// Reads lines of JSON, {"number": 1, "do": "sign", ...}, and does them all at once. Each is answered
// by {"answered": 1, "result": ...} or {"answered": 1, "error": TEXT}, the text being what the
// library gives to its caller.

import { register } from 'node:module'
import { createInterface } from 'node:readline'
import { tell } from './report.mjs'
import { SimplePool } from 'nostr-tools/pool'
import { generateSecretKey, getPublicKey } from 'nostr-tools/pure'

const now = () => Math.floor(Date.now() / 1000)

/** NDK, of either version. */
async function ndk(uri, module) {
  const { default: NDK, NDKEvent, NDKNip46Signer, NDKPrivateKeySigner, NDKUser } = await import(module)
  const relay = new URL(uri).searchParams.get('relay')
  const made = new NDK({ explicitRelayUrls: [relay], enableOutboxModel: false })
  await made.connect(5000)
  const key = NDKPrivateKeySigner.generate()
  const signer = NDKNip46Signer.bunker(made, uri, key)
  const user = await signer.blockUntilReady()
  return {
    pubkey: key.pubkey,
    user: () => signer.getPublicKey(),
    sign: async template => {
      const event = new NDKEvent(made, { ...template, pubkey: user.pubkey })
      await event.sign(signer)
      return event.rawEvent()
    },
    decrypt: (pubkey, payload) => signer.decrypt(new NDKUser({ pubkey }), payload, 'nip44'),
  }
}

// What each library calls the four things that the test asks for. `pubkey` is the client's.
const libraries = {
  'nostr-tools': async uri => {
    const { BunkerSigner, parseBunkerInput } = await import('nostr-tools/nip46')
    const key = generateSecretKey()
    const signer = BunkerSigner.fromBunker(key, await parseBunkerInput(uri))
    await signer.connect({ name: 'nostr-tools' })
    return {
      pubkey: getPublicKey(key),
      user: () => signer.getPublicKey(),
      sign: template => signer.signEvent(template),
      decrypt: (peer, payload) => signer.nip44Decrypt(peer, payload),
    }
  },

  NDK: uri => ndk(uri, '@nostr-dev-kit/ndk'),
  'NDK 2': uri => ndk(uri, 'ndk2'),

  Snort: async uri => {
    register('./resolve.mjs', import.meta.url)
    const { Nip46Signer, PrivateKeySigner } = await import('@snort/system')
    const key = generateSecretKey()
    const signer = new Nip46Signer(uri, new PrivateKeySigner(key))
    await signer.init()
    const user = await signer.getPubKey()
    return {
      pubkey: getPublicKey(key),
      user: () => signer.getPubKey(),
      sign: template => signer.sign({ ...template, pubkey: user }),
      decrypt: (peer, payload) => signer.nip4Decrypt(payload, peer), // NIP-44 throws: not there yet
    }
  },

  applesauce: async uri => {
    const { NostrConnectSigner } = await import('applesauce-signers')
    const { methodsOf } = await import('./applesauce_pool.mjs')
    const signer = await NostrConnectSigner.fromBunkerURI(uri, methodsOf(new SimplePool()))
    return {
      pubkey: signer.clientPubkey,
      user: () => signer.getPublicKey(),
      sign: template => signer.signEvent(template),
      decrypt: (peer, payload) => signer.nip44Decrypt(peer, payload),
    }
  },

  welshman: async uri => {
    const { Nip46Broker } = await import('@welshman/signer')
    const broker = Nip46Broker.fromBunkerUrl(uri)
    await broker.connect(broker.params.connectSecret)
    return {
      pubkey: await broker.signer.getPubkey(),
      user: () => broker.getPublicKey(),
      sign: template => broker.signEvent(template),
      decrypt: (peer, payload) => broker.nip44Decrypt(peer, payload),
    }
  },

  nostrify: async uri => {
    const { NConnectSigner, NRelay1, NSecSigner } = await import('@nostrify/nostrify')
    const { hostname, searchParams } = new URL(uri)
    const key = new NSecSigner(generateSecretKey())
    const relay = new NRelay1(searchParams.get('relay'))
    const signer = new NConnectSigner({ relay, pubkey: hostname, signer: key })
    await signer.connect(searchParams.get('secret'))
    return {
      pubkey: await key.getPublicKey(),
      user: () => signer.getPublicKey(),
      sign: template => signer.signEvent(template),
      decrypt: (peer, payload) => signer.nip44.decrypt(peer, payload),
    }
  },

  snstr: async uri => {
    const { NostrRemoteSignerClient } = await import('snstr')
    const signer = new NostrRemoteSignerClient({ timeout: 60000 })
    await signer.connect(uri)
    return {
      pubkey: signer.engine.clientKeys.publicKey,
      user: () => signer.getUserPublicKey(),
      sign: template => signer.signEvent(template),
      decrypt: (peer, payload) => signer.nip44Decrypt(peer, payload),
    }
  },
}

const [library] = process.argv.slice(2)
let client

async function obey(order) {
  switch (order.do) {
    case 'connect':
      client = await libraries[library](order.uri)
      return { client: client.pubkey, user: await client.user() }
    case 'sign': {
      const event = await client.sign({
        kind: order.kind,
        content: order.content,
        tags: [],
        created_at: now(),
      })
      return JSON.parse(JSON.stringify(event)) // without what a library hangs on its events
    }
    case 'decrypt':
      return client.decrypt(order.peer, order.payload)
  }
}

/** The text that a caller is given: libraries reject with errors, texts, and whole responses. */
function text(error) {
  if (typeof error === 'string') return error
  return error?.message ?? error?.error ?? JSON.stringify(error)
}

for await (const line of createInterface({ input: process.stdin })) {
  const order = JSON.parse(line)
  obey(order).then(
    result => tell({ answered: order.number, result }),
    error => tell({ answered: order.number, error: text(error) }),
  )
}
process.exit(0)
