// A subscriber that stays: node subscriber.mjs LIBRARY RELAY_URL TAG
//
// Tells {"subscribed": true} when its subscription stands, and {"event": CONTENT} for every event
// with the tag, for as long as it runs. What happens to the relay meanwhile is the library's affair.

import { tell } from './report.mjs'

const [library, url, tag] = process.argv.slice(2)
const filter = { kinds: [20001], '#t': [tag] }
const stands = () => tell({ subscribed: true })
const came = event => tell({ event: event.content })

const libraries = {
  async 'nostr-tools Relay'() {
    const { Relay } = await import('nostr-tools/relay')
    const relay = await Relay.connect(url, { enableReconnect: true })
    relay.resubscribeBackoff = [200] // its own is ten seconds
    relay.subscribe([filter], { onevent: came, oneose: stands })
  },

  async 'nostr-tools SimplePool'() {
    const { SimplePool } = await import('nostr-tools/pool')
    const pool = new SimplePool({ enableReconnect: true })
    const relay = await pool.ensureRelay(url)
    relay.resubscribeBackoff = [200]
    pool.subscribeMany([url], filter, { onevent: came, oneose: stands })
  },

  async NDK() {
    const { default: NDK } = await import('@nostr-dev-kit/ndk')
    const ndk = new NDK({ explicitRelayUrls: [url], enableOutboxModel: false })
    await ndk.connect(5000)
    ndk.subscribe(filter, { closeOnEose: false }, { onEvent: came, onEose: stands })
  },

  async applesauce() {
    const { RelayPool } = await import('applesauce-relay')
    const pool = new RelayPool()
    pool
      .relay(url)
      .subscription(filter, { reconnect: Infinity, resubscribe: Infinity })
      .subscribe(answer => (answer === 'EOSE' ? stands() : came(answer)))
  },

  async welshman() {
    const { request } = await import('@welshman/net')
    request({ relays: [url], filters: [filter], onEvent: came, onEose: stands })
  },
}

await libraries[library]()
setInterval(() => {}, 1 << 30) // a library may have nothing that keeps the process
