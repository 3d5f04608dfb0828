// Starts `bunker testbed` and speaks to its API. Copy this file into your project.
import { spawn } from 'node:child_process'
import { createInterface } from 'node:readline'

/** Start a relay and a signer; resolves to what the testbed says of itself, plus `call` and `stop`. */
export async function startTestbed(args = [], command = process.env.BUNKER ?? 'bunker') {
  const child = spawn(command, ['testbed', ...args], { stdio: ['ignore', 'pipe', 'inherit'] })
  const line = await new Promise((resolve, reject) => {
    child.once('error', reject)
    child.once('exit', (code) => reject(new Error(`bunker testbed ended with ${code}`)))
    createInterface({ input: child.stdout }).once('line', resolve)
  })
  const told = JSON.parse(line)

  /** Call the API; see `${api}/openapi.json` for what there is. */
  async function call(method, path, body) {
    const response = await fetch(told.api + path, {
      method,
      headers: { 'content-type': 'application/json' },
      body: body === undefined ? undefined : JSON.stringify(body),
    })
    const text = await response.text()
    if (!response.ok) throw new Error(text)
    return text ? JSON.parse(text) : null
  }

  async function stop() {
    const ended = new Promise((resolve) => child.once('exit', resolve))
    child.kill()
    await ended
  }

  return { ...told, call, stop }
}
