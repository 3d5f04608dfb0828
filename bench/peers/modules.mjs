// Finds the npm packages where `make peers` has put them.

import { createRequire } from 'node:module'
import { join } from 'node:path'

export const require = createRequire(join(process.env.BENCH_NODE_MODULES, 'x.js'))
export const tell = object => console.log(JSON.stringify(object))
globalThis.WebSocket = require('ws')
