/** What runs in the two containers. Nothing of StartOS is needed here: the tests run it as it is. */

export const relayPort = 7777
export const consolePort = 7778
/** Both containers share one network; the signer needs no address from outside. */
export const localRelay = `ws://127.0.0.1:${relayPort}`

export type Addresses = {
  /** Where browsers open the console, such as https://server.local:49152. */
  console: string
  /** Where apps find the relay, such as wss://server.local:49153. */
  relay: string
  /** StartOS's own, from which its reverse proxy calls. */
  proxy: string
}

/** Carries signing traffic and stores nothing. */
export const relayCommand = ({ relay }: Addresses): [string, ...string[]] => [
  ...(['bunker', 'relay', 'run', '--profile', 'bunker', '--data', '/data'] as const),
  ...['--host', '0.0.0.0', '--port', String(relayPort)],
  ...['--url', localRelay, '--url', relay],
]

/** By the first relay's address the signer reaches it, by the second the apps do. */
export const signerCommand = ({ console, relay, proxy }: Addresses): [string, ...string[]] => [
  ...(['bunker', 'signer', 'run', '--data', '/data', '--ask'] as const),
  ...['--relay', localRelay, '--relay', relay],
  ...['--console', `0.0.0.0:${consolePort}`, '--console-url', console, '--console-proxy', proxy],
  ...['--console-password-file', '/settings/console-password'],
]
