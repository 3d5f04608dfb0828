// NDK as a client: node ndk_client.mjs bunker BUNKER_URI
//                  node ndk_client.mjs nostrconnect RELAY_URL

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
import NDK, { NDKEvent, NDKNip46Signer, NDKPrivateKeySigner, NDKUser } from '@nostr-dev-kit/ndk'

const [flow, address] = process.argv.slice(2)
const relay = flow === 'bunker' ? new URL(address).searchParams.get('relay') : address
const ndk = new NDK({ explicitRelayUrls: [relay], enableOutboxModel: false })
const key = NDKPrivateKeySigner.generate()

// NDK has no method for ping and logout; its own way to send a request is public.
function request(signer, method) {
  return new Promise((resolve, reject) => {
    signer.rpc.sendRequest(signer.bunkerPubkey, method, [], 24133, response =>
      response.error ? reject(response.error) : resolve(response.result),
    )
  })
}

async function login() {
  await ndk.connect(5000)
  if (flow === 'bunker') {
    const signer = NDKNip46Signer.bunker(ndk, address, key)
    await signer.blockUntilReady()
    return signer
  }
  const signer = NDKNip46Signer.nostrconnect(ndk, relay, key, {
    name: 'NDK with a space',
    perms: 'sign_event:1,nip44_encrypt',
  })
  await signer.startListening() // ends with EOSE: the subscription stands before the URI is shown
  const ready = signer.blockUntilReady()
  tell({ uri: signer.nostrConnectUri })
  await ready
  return signer
}

const signer = await attempt('connect', login)
if (signer) {
  await attempt('ping', async () => {
    demand((await request(signer, 'ping')) === 'pong', 'not pong')
  })
  const user = await attempt('get_public_key', () => signer.getPublicKey())
  tell({ user })
  const sign = async template => {
    const event = new NDKEvent(ndk, { ...template, pubkey: user, created_at: now() })
    await event.sign(signer)
    return event.rawEvent()
  }
  await attempt('sign_event', async () => {
    checkSigned(await sign(TEMPLATE), user)
  })
  const other = pubkey => new NDKUser({ pubkey })
  const encrypt = (scheme, pubkey, text) => signer.encrypt(other(pubkey), text, scheme)
  const decrypt = (scheme, pubkey, payload) => signer.decrypt(other(pubkey), payload, scheme)
  await attemptEncryption(user, encrypt, decrypt)
  await attemptLongText(user, encrypt, decrypt)
  await attempt('switch_relays', async () => {
    await signer.switchRelays() // takes silence for "no change", so ask once more, openly
    const answer = await request(signer, 'switch_relays')
    demand(answer === 'null', `answered with ${answer}`)
  })
  await attemptRefusal('denied', () => sign(FORBIDDEN), 'denied')
  await attemptRefusal('unknown method', () => signer.createAccount('name', 'example.com'))
  await attempt('logout', async () => {
    demand((await request(signer, 'logout')) === 'ack', 'not ack')
  })
  await attemptRefusal('after logout', () => request(signer, 'get_public_key'))
}
process.exit(0)
