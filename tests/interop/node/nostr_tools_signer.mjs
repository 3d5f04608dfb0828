// A signer of nostr-tools' parts: node nostr_tools_signer.mjs RELAY_URL
// Prints its bunker:// URI when it listens, and serves until it is killed.

import { serve } from './conformance/nostr_tools_signer.mjs'
import { tell } from './report.mjs'

const [relay] = process.argv.slice(2)
const SECRET = 'interop-secret'
const pubkey = await serve([relay], SECRET)
tell({ uri: `bunker://${pubkey}?relay=${encodeURIComponent(relay)}&secret=${SECRET}` })
