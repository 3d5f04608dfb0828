#!/usr/bin/env node
// How the conformance kit drives a client, here nostr-tools; replace its five calls by your own.
//   bunker conformance client -- npx --no-install conformance-client
import { createInterface } from 'node:readline'

import { BunkerSigner, parseBunkerInput } from 'nostr-tools/nip46'
import { generateSecretKey } from 'nostr-tools/pure'
import { SimplePool, useWebSocketImplementation } from 'nostr-tools/pool'
import WebSocket from 'ws'

useWebSocketImplementation(WebSocket)

const clients = new Map() // the kit runs many at once
const tell = line => console.log(JSON.stringify(line))

async function obey(order) {
  if (order.do === 'connect') {
    const signer = BunkerSigner.fromBunker(generateSecretKey(), await parseBunkerInput(order.uri), {
      pool: new SimplePool({ enableReconnect: true }),
      onauth: url => tell({ client: order.client, auth_url: url }),
    })
    await signer.connect({ name: 'example' })
    await signer.switchRelays()
    clients.set(order.client, signer)
    return { user: await signer.getPublicKey() }
  }
  const signer = clients.get(order.client)
  if (order.do === 'sign') return signer.signEvent(order.event)
  if (order.do === 'encrypt') return signer.nip44Encrypt(order.peer, order.text)
  if (order.do === 'decrypt') return signer.nip44Decrypt(order.peer, order.payload)
  if (order.do === 'ping') return signer.ping()
}

process.on('unhandledRejection', () => {})
for await (const line of createInterface({ input: process.stdin })) {
  const order = JSON.parse(line)
  const known = ['connect', 'sign', 'encrypt', 'decrypt', 'ping'].includes(order.do)
  if (!known) tell({ answered: order.number, unsupported: true })
  else
    obey(order).then(
      result => tell({ answered: order.number, result: result ?? null }),
      error => tell({ answered: order.number, error: error?.message ?? String(error) }),
    )
}
process.exit(0)
