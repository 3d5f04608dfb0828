// Other projects' signers for `bunker conformance signer`:
//   node signer.mjs LIBRARY RELAY...             prints a bunker:// URI when it listens
//   node signer.mjs LIBRARY --accept URI         answers a nostrconnect:// invitation
//                                                (applesauce and nostr-tools)
//
// Each serves until it is killed.

import { generateSecretKey, getPublicKey } from 'nostr-tools/pure'
import { tell } from '../report.mjs'

const [library, ...rest] = process.argv.slice(2)
const invitation = rest[0] === '--accept' ? rest[1] : undefined
const relays = invitation ? new URL(invitation).searchParams.getAll('relay') : rest
const SECRET = 'conformance-secret'
const hex = bytes => Buffer.from(bytes).toString('hex')

function announce(pubkey) {
  const query = relays.map(relay => `relay=${encodeURIComponent(relay)}`).join('&')
  tell({ uri: `bunker://${pubkey}?${query}&secret=${SECRET}` })
}

const libraries = {
  async NDK() {
    const { default: NDK, NDKNip46Backend, NDKPrivateKeySigner } = await import('@nostr-dev-kit/ndk')
    const ndk = new NDK({ explicitRelayUrls: relays, enableOutboxModel: false })
    await ndk.connect(2000)
    const paired = new Set()
    const signer = NDKPrivateKeySigner.generate()
    const backend = new NDKNip46Backend(ndk, signer, async ({ pubkey }) => paired.has(pubkey), relays)
    backend.applyToken = async (pubkey, token) => {
      if (token !== SECRET) throw new Error('invalid secret')
      paired.add(pubkey)
    }
    await backend.start()
    announce(signer.pubkey)
  },

  async applesauce() {
    const { NostrConnectProvider, PrivateKeySigner } = await import('applesauce-signers')
    const { SimplePool } = await import('nostr-tools/pool')
    const { methodsOf } = await import('../applesauce_pool.mjs')
    const provider = new NostrConnectProvider({
      relays,
      upstream: new PrivateKeySigner(),
      bunkerSecret: invitation ? undefined : SECRET,
      ...methodsOf(new SimplePool({ enableReconnect: true })),
      onSignEvent: template => [1, 3, 4].includes(template.kind),
    })
    await provider.start(invitation)
    announce(await provider.signer.getPublicKey())
  },

  async 'nostr-tools'() {
    const { serve } = await import('./nostr_tools_signer.mjs')
    announce(await serve(relays, SECRET, invitation))
  },

  async snstr() {
    const { NostrRemoteSignerBunker } = await import('snstr')
    const user = generateSecretKey()
    const own = generateSecretKey()
    const permissions = ['sign_event:1', 'sign_event:3', 'sign_event:4']
    const bunker = new NostrRemoteSignerBunker({
      userPubkey: getPublicKey(user),
      signerPubkey: getPublicKey(own),
      relays,
      secret: SECRET,
      defaultPermissions: [
        ...permissions,
        ...['nip44_encrypt', 'nip44_decrypt', 'nip04_encrypt', 'nip04_decrypt'],
      ],
    })
    bunker.setPrivateKeys(hex(user), hex(own))
    await bunker.start()
    announce(getPublicKey(own))
  },
}

await libraries[library]()
setInterval(() => {}, 1 << 30)
