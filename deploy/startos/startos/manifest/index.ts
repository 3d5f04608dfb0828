/** What the store and the server read before anything runs. */
import { setupManifest } from '@start9labs/start-sdk'

export const manifest = setupManifest({
  id: 'nostr-bunker',
  title: 'Nostr Bunker',
  license: 'MIT',
  packageRepo: 'https://nostr-bunker.example',
  upstreamRepo: 'https://nostr-bunker.example',
  marketingUrl: 'https://nostr-bunker.example',
  donationUrl: null,
  description: {
    short: 'Keep your Nostr key at home and sign from any app',
    long:
      'Your key stays on your server. Apps on your phone and desktop ask it to sign, you answer in ' +
      'the browser, and no app ever sees the key (NIP-46, remote signing). Every request says what ' +
      'it would sign, change or delete, before you allow it. The relay that carries the requests ' +
      'comes with it, and stores nothing.',
  },
  // relay: that it is its own; signer: sealed keys and what was answered; settings: this package's.
  volumes: ['relay', 'signer', 'settings'],
  images: {
    bunker: {
      source: { dockerTag: 'nostr-bunker/nostr-bunker:0.1.0' },
      arch: ['x86_64', 'aarch64'],
    },
  },
  dependencies: {},
})
