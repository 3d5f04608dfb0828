// A client that does what it is told: node driven.mjs LIBRARY
//
// Reads lines of JSON, {"number": 1, "do": "sign", ...}, and does them all at once. Each is answered
// by {"answered": 1, "result": ...} or {"answered": 1, "error": TEXT}, the text being what the
// library gives to its caller.

import { createInterface } from 'node:readline'
import { tell } from './report.mjs'
import { SimplePool } from 'nostr-tools/pool'
import { generateSecretKey, getPublicKey } from 'nostr-tools/pure'

const now = () => Math.floor(Date.now() / 1000)

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

  NDK: async uri => {
    const { default: NDK, NDKEvent, NDKNip46Signer, NDKPrivateKeySigner, NDKUser } = await import(
      '@nostr-dev-kit/ndk'
    )
    const relay = new URL(uri).searchParams.get('relay')
    const ndk = new NDK({ explicitRelayUrls: [relay], enableOutboxModel: false })
    await ndk.connect(5000)
    const key = NDKPrivateKeySigner.generate()
    const signer = NDKNip46Signer.bunker(ndk, uri, key)
    const user = await signer.blockUntilReady()
    return {
      pubkey: key.pubkey,
      user: () => signer.getPublicKey(),
      sign: async template => {
        const event = new NDKEvent(ndk, { ...template, pubkey: user.pubkey })
        await event.sign(signer)
        return event.rawEvent()
      },
      decrypt: (pubkey, payload) => signer.decrypt(new NDKUser({ pubkey }), payload, 'nip44'),
    }
  },

  applesauce: async uri => {
    const { NostrConnectSigner } = await import('applesauce-signers')
    const { Observable } = await import('rxjs')
    const pool = new SimplePool() // applesauce leaves the relays to its user
    const signer = await NostrConnectSigner.fromBunkerURI(uri, {
      subscriptionMethod: (relays, filters) =>
        new Observable(observer => {
          const subscription = pool.subscribeMany(relays, filters[0], {
            onevent: event => observer.next(event),
            onclose: () => setTimeout(() => observer.complete(), 100), // it then repeats
          })
          return () => subscription.close()
        }),
      publishMethod: (relays, event) => Promise.any(pool.publish(relays, event)),
    })
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
