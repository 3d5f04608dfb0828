// Other projects' clients for `bunker conformance client`: node client.mjs LIBRARY
//
// Reads orders, a line of JSON each, and runs many clients at once; see docs/how-to/conformance.md.

import { register } from 'node:module'
import { createInterface } from 'node:readline'
import { generateSecretKey, getPublicKey } from 'nostr-tools/pure'
import { tell } from '../report.mjs'

const UNSUPPORTED = Symbol('the library has no such call')
const unsupported = () => Promise.reject(UNSUPPORTED)
const SECRET = () => Math.random().toString(36).slice(2).padEnd(10, '0')

// Each gives for a URI, or for an invitation's relays, what the kit's orders need. `onauth` is told
// where the signer sends its user.
const libraries = {
  'nostr-tools': async () => {
    const { BunkerSigner, createNostrConnectURI, parseBunkerInput } = await import('nostr-tools/nip46')
    const { SimplePool } = await import('nostr-tools/pool')
    const calls = signer => ({
      user: () => signer.getPublicKey(),
      sign: event => signer.signEvent(event),
      encrypt: (scheme, peer, text) => signer[`${scheme}Encrypt`](peer, text),
      decrypt: (scheme, peer, payload) => signer[`${scheme}Decrypt`](peer, payload),
      ping: () => signer.ping(),
      logout: () => signer.logout(),
    })
    return {
      async connect(uri, onauth) {
        const signer = BunkerSigner.fromBunker(generateSecretKey(), await parseBunkerInput(uri), {
          pool: new SimplePool({ enableReconnect: true }),
          onauth,
        })
        await signer.connect({ name: 'nostr-tools' })
        await signer.switchRelays()
        return calls(signer)
      },
      async invite(relays, onauth) {
        const key = generateSecretKey()
        const uri = createNostrConnectURI({
          clientPubkey: getPublicKey(key),
          relays,
          secret: SECRET(),
          name: 'nostr-tools',
        })
        const pool = new SimplePool({ enableReconnect: true })
        await Promise.any(relays.map(relay => pool.ensureRelay(relay)))
        const paired = BunkerSigner.fromURI(key, uri, { pool, onauth }, 15000)
        return { uri, paired: paired.then(calls) }
      },
    }
  },

  NDK: () => ndk('@nostr-dev-kit/ndk'),
  'NDK 2': () => ndk('ndk2'),

  Snort: async () => {
    register('../resolve.mjs', import.meta.url)
    const { Nip46Signer, PrivateKeySigner } = await import('@snort/system')
    const calls = async signer => {
      const user = await signer.getPubKey()
      return {
        user: () => user,
        sign: template => signer.sign({ ...template, pubkey: user }),
        encrypt: unsupported, // NIP-44 throws: not there yet
        decrypt: (scheme, peer, payload) =>
          scheme === 'nip04' ? signer.nip4Decrypt(payload, peer) : unsupported(),
        ping: unsupported,
        logout: unsupported,
      }
    }
    return {
      async connect(uri, onauth) {
        const signer = new Nip46Signer(uri, new PrivateKeySigner(generateSecretKey()))
        signer.on?.('oauth', onauth)
        await signer.init()
        return calls(signer)
      },
      async invite(relays, onauth) {
        const key = generateSecretKey()
        const query = new URLSearchParams([...relays.map(relay => ['relay', relay]), ['secret', SECRET()]])
        const uri = `nostrconnect://${getPublicKey(key)}?${query}`
        const signer = new Nip46Signer(uri, new PrivateKeySigner(key))
        signer.on?.('oauth', onauth)
        const listens = new Promise(resolve => signer.once('ready', resolve))
        const paired = signer.init()
        await listens
        return { uri, paired: paired.then(() => calls(signer)) }
      },
    }
  },

  applesauce: async () => {
    const { NostrConnectSigner } = await import('applesauce-signers')
    const { SimplePool } = await import('nostr-tools/pool')
    const { methodsOf } = await import('../applesauce_pool.mjs')
    const methods = onauth => ({
      onAuth: async url => onauth(url),
      ...methodsOf(new SimplePool({ enableReconnect: true })),
    })
    const calls = signer => ({
      user: () => signer.getPublicKey(),
      sign: event => signer.signEvent(event),
      encrypt: (scheme, peer, text) => signer[`${scheme}Encrypt`](peer, text),
      decrypt: (scheme, peer, payload) => signer[`${scheme}Decrypt`](peer, payload),
      ping: unsupported,
      logout: () => (signer.logout ? signer.logout() : unsupported()),
    })
    return {
      connect: async (uri, onauth) => calls(await NostrConnectSigner.fromBunkerURI(uri, methods(onauth))),
      async invite(relays, onauth) {
        const signer = new NostrConnectSigner({ relays, ...methods(onauth) })
        const uri = signer.getNostrConnectURI({ name: 'applesauce' })
        const paired = signer.waitForSigner(AbortSignal.timeout(20000))
        return { uri, paired: paired.then(() => calls(signer)) }
      },
    }
  },

  welshman: async () => {
    const { Nip46Broker, Nip46Signer } = await import('@welshman/signer')
    const { makeSecret } = await import('@welshman/util')
    // It opens a window by itself; the kit names the client in the page's address.
    globalThis.window = {
      open(url) {
        tell({ client: new URL(url).searchParams.get('client'), auth_url: url })
        return { closed: false, close() {} }
      },
    }
    const calls = broker => ({
      user: () => broker.getPublicKey(),
      sign: event => broker.signEvent(event),
      encrypt: (scheme, peer, text) => broker[`${scheme}Encrypt`](peer, text),
      decrypt: (scheme, peer, payload) => broker[`${scheme}Decrypt`](peer, payload),
      ping: () => broker.ping(),
      logout: () => (broker.logout ? broker.logout() : unsupported()),
    })
    return {
      async connect(uri) {
        const broker = Nip46Broker.fromBunkerUrl(uri)
        await broker.connect(broker.params.connectSecret)
        return calls(broker)
      },
      async invite(relays) {
        const broker = new Nip46Broker({ relays, clientSecret: makeSecret() })
        const uri = await broker.makeNostrconnectUrl({ name: 'welshman' })
        const waiting = broker.waitForNostrconnect(uri, AbortSignal.timeout(20000))
        return { uri, paired: waiting.then(() => calls(broker)) }
      },
    }
  },

  nostrify: async () => {
    const { NConnectSigner, NPool, NRelay1, NSecSigner } = await import('@nostrify/nostrify')
    return {
      async connect(uri) {
        const { hostname, searchParams } = new URL(uri)
        const relays = searchParams.getAll('relay')
        const pool = new NPool({
          open: url => new NRelay1(url),
          reqRouter: filters => new Map(relays.map(relay => [relay, filters])),
          eventRouter: () => relays,
        })
        const signer = new NConnectSigner({
          relay: relays.length > 1 ? pool : new NRelay1(relays[0]),
          pubkey: hostname,
          signer: new NSecSigner(generateSecretKey()),
          timeout: 15000,
        })
        await signer.connect(searchParams.get('secret'))
        return {
          user: () => signer.getPublicKey(),
          sign: event => signer.signEvent(event),
          encrypt: (scheme, peer, text) => signer[scheme].encrypt(peer, text),
          decrypt: (scheme, peer, payload) => signer[scheme].decrypt(peer, payload),
          ping: () => signer.ping(),
          logout: unsupported,
        }
      },
      invite: unsupported,
    }
  },

  snstr: async () => {
    const { NostrRemoteSignerClient } = await import('snstr')
    return {
      async connect(uri) {
        const signer = new NostrRemoteSignerClient({ timeout: 15000 })
        await signer.connect(uri)
        return {
          user: () => signer.getUserPublicKey(),
          sign: event => signer.signEvent(event),
          encrypt: (scheme, peer, text) => signer[`${scheme}Encrypt`](peer, text),
          decrypt: (scheme, peer, payload) => signer[`${scheme}Decrypt`](peer, payload),
          ping: () => signer.ping(),
          logout: unsupported,
        }
      },
      invite: unsupported,
    }
  },
}

/** NDK, in one version or the other. */
async function ndk(module) {
  const { default: NDK, NDKEvent, NDKNip46Signer, NDKPrivateKeySigner, NDKUser } = await import(module)
  const calls = (ndk, signer, user) => ({
    user: () => signer.getPublicKey(),
    sign: async template => {
      const event = new NDKEvent(ndk, { ...template, pubkey: user.pubkey })
      await event.sign(signer)
      return event.rawEvent()
    },
    encrypt: (scheme, pubkey, text) => signer.encrypt(new NDKUser({ pubkey }), text, scheme),
    decrypt: (scheme, pubkey, text) => signer.decrypt(new NDKUser({ pubkey }), text, scheme),
    ping: unsupported,
    logout: unsupported,
  })
  const connected = async relays => {
    const ndk = new NDK({ explicitRelayUrls: relays, enableOutboxModel: false })
    await ndk.connect(2000)
    return ndk
  }
  return {
    async connect(uri, onauth) {
      const ndk = await connected(new URL(uri).searchParams.getAll('relay'))
      const signer = NDKNip46Signer.bunker(ndk, uri, NDKPrivateKeySigner.generate())
      signer.on('authUrl', onauth)
      return calls(ndk, signer, await signer.blockUntilReady())
    },
    async invite(relays, onauth) {
      const ndk = await connected(relays)
      const key = NDKPrivateKeySigner.generate()
      const signer = NDKNip46Signer.nostrconnect(ndk, relays[0], key, { name: 'NDK' })
      signer.on('authUrl', onauth)
      await signer.startListening() // ends when its subscription stands
      const paired = signer.blockUntilReady()
      return { uri: signer.nostrConnectUri, paired: paired.then(user => calls(ndk, signer, user)) }
    },
  }
}

const library = await libraries[process.argv[2]]()
const clients = new Map()
const waiting = new Map()

async function obey(order) {
  const onauth = url => tell({ client: order.client, auth_url: String(url) })
  if (order.do === 'connect') {
    const client = await library.connect(order.uri, onauth)
    clients.set(order.client, client)
    return { user: await client.user() }
  }
  if (order.do === 'invite') {
    const { uri, paired } = await library.invite(order.relays, onauth)
    paired.catch(() => {}) // told when it is asked for
    waiting.set(order.client, paired)
    return { uri }
  }
  if (order.do === 'paired') {
    const client = await waiting.get(order.client)
    clients.set(order.client, client)
    return { user: await client.user() }
  }
  const client = clients.get(order.client)
  switch (order.do) {
    case 'sign':
      return JSON.parse(JSON.stringify(await client.sign(order.event)))
    case 'encrypt':
      return client.encrypt(order.scheme, order.peer, order.text)
    case 'decrypt':
      return client.decrypt(order.scheme, order.peer, order.payload)
    case 'ping':
      return client.ping()
    case 'logout':
      return client.logout()
  }
  return unsupported()
}

/** The text that a caller is given: libraries reject with errors, texts, and whole responses. */
function text(error) {
  if (typeof error === 'string') return error
  return error?.message ?? error?.error ?? JSON.stringify(error)
}

// A library that lets an exception go where nobody can catch it has not answered.
process.on('unhandledRejection', () => {})
process.on('uncaughtException', () => {})

for await (const line of createInterface({ input: process.stdin })) {
  const order = JSON.parse(line)
  obey(order).then(
    result => tell({ answered: order.number, result: result ?? null }),
    error =>
      tell({ answered: order.number, ...(error === UNSUPPORTED ? { unsupported: true } : { error: text(error) }) }),
  )
}
process.exit(0)
