// applesauce's NostrConnectProvider as a signer: node applesauce_provider.mjs RELAY_URL [INVITATION]
// Prints its bunker:// URI when it listens, or answers a nostrconnect:// invitation, and serves
// until it is killed.

import { tell } from './report.mjs'
import { NostrConnectProvider, PrivateKeySigner } from 'applesauce-signers'
import { SimplePool } from 'nostr-tools/pool'
import { Observable } from 'rxjs'

const [relay, invitation] = process.argv.slice(2)
const SECRET = 'interop-secret'
const pool = new SimplePool({ enableReconnect: true })
const connection = await pool.ensureRelay(relay)
connection.resubscribeBackoff = [200] // its own is ten seconds
let live

function subscriptionMethod(relays, filters) {
  return new Observable(observer => {
    let stands
    live = new Promise(resolve => (stands = resolve))
    const subscription = pool.subscribeMany(relays, filters[0], {
      onevent: event => observer.next(event),
      oneose: () => stands(),
    })
    return () => subscription.close()
  })
}

const upstream = new PrivateKeySigner()
const provider = new NostrConnectProvider({
  relays: [relay],
  upstream,
  bunkerSecret: invitation ? undefined : SECRET,
  subscriptionMethod,
  publishMethod: (relays, event) => Promise.any(pool.publish(relays, event)),
  onSignEvent: template => template.kind === 1,
})
await provider.start(invitation)
await live
tell({ user: await upstream.getPublicKey() })
const remote = await provider.signer.getPublicKey()
tell({ uri: `bunker://${remote}?relay=${encodeURIComponent(relay)}&secret=${SECRET}` })
