// NDK's NDKNip46Backend as a signer: node ndk_backend.mjs RELAY_URL

import { require, tell } from './modules.mjs'

const { default: NDK, NDKNip46Backend, NDKPrivateKeySigner } = require('@nostr-dev-kit/ndk')
const [relay] = process.argv.slice(2)
const ndk = new NDK({ explicitRelayUrls: [relay], enableOutboxModel: false })
await ndk.connect(5000)
const signer = NDKPrivateKeySigner.generate()
const backend = new NDKNip46Backend(ndk, signer, async () => true, [relay])
backend.applyToken = async () => {}
await backend.start()
await new Promise(resolve => setTimeout(resolve, 500)) // its subscription, of which it tells nothing
tell({ uri: `bunker://${signer.pubkey}?relay=${encodeURIComponent(relay)}&secret=bench` })
