// An app that signs with nostr-tools, tested against the real thing and against its failures.
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'

import { BunkerSigner, parseBunkerInput } from 'nostr-tools/nip46'
import { generateSecretKey, verifyEvent } from 'nostr-tools/pure'
import { SimplePool, useWebSocketImplementation } from 'nostr-tools/pool'
import WebSocket from 'ws'

import { startTestbed } from './testbed.mjs'

useWebSocketImplementation(WebSocket)

let bed, pool, signer
const note = () => ({ kind: 1, content: 'hello', tags: [], created_at: Math.floor(Date.now() / 1000) })

before(async () => {
  bed = await startTestbed()
  pool = new SimplePool()
  const pointer = await parseBunkerInput(bed.uri)
  signer = BunkerSigner.fromBunker(generateSecretKey(), pointer, { pool })
  await signer.connect()
})

after(async () => {
  await signer.close()
  pool.destroy()
  await bed.stop()
})

test('the event is signed by the key behind the bunker', async () => {
  const event = await signer.signEvent(note())
  assert.equal(event.pubkey, bed.pubkey)
  assert.ok(verifyEvent(event))
})

test('a denial reaches the app', async () => {
  await bed.call('PATCH', '/signers/0', { denying: true })
  await assert.rejects(signer.signEvent(note()), (error) => /denied/.test(String(error)))
  await bed.call('PATCH', '/signers/0', { denying: false })
})

test('a response that comes twice is taken once', async () => {
  await bed.call('POST', '/signers/0/faults', { name: 'duplicate', method: 'sign_event' })
  assert.equal((await signer.signEvent(note())).content, 'hello')
  const crossed = await bed.call('GET', '/transcript')
  assert.equal(crossed.filter((entry) => entry.fault === 'duplicate').length, 2)
})

test('a lost response is not waited for for ever', async () => {
  await bed.call('POST', '/signers/0/faults', { name: 'drop', method: 'sign_event' })
  const deadline = new Promise((_, reject) => setTimeout(reject, 500, new Error('too late')))
  await assert.rejects(Promise.race([signer.signEvent(note()), deadline]), /too late/)
  assert.equal((await signer.signEvent(note())).content, 'hello')
})
