/** The console as the service's page, and the relay for apps; StartOS puts TLS before both. */
import type { T } from '@start9labs/start-sdk'
import { consolePort, relayPort } from './commands'
import { sdk } from './sdk'

const hosts = {
  console: { port: consolePort, scheme: /^https?:/ },
  relay: { port: relayPort, scheme: /^wss?:/ },
} as const

export const setInterfaces = sdk.setupInterfaces(async ({ effects }) => {
  const common = { masked: false, schemeOverride: null, username: null, path: '', query: {} }
  const console = await sdk.MultiHost.of(effects, 'console').bindPort(consolePort, {
    protocol: 'http',
  })
  const relay = await sdk.MultiHost.of(effects, 'relay').bindPort(relayPort, { protocol: 'ws' })
  return [
    await console.export([
      sdk.createInterface(effects, {
        ...common,
        id: 'console',
        name: 'Console',
        description: 'Where requests are answered, apps are paired and keys are kept',
        type: 'ui',
      }),
    ]),
    await relay.export([
      sdk.createInterface(effects, {
        ...common,
        id: 'relay',
        name: 'Relay',
        description: 'Where apps and the signer meet',
        type: 'api',
      }),
    ]),
  ]
})

/** The addresses of one of them: names before numbers, with TLS before without. */
export const addresses = async (effects: T.Effects, name: keyof typeof hosts): Promise<string[]> => {
  const { port, scheme } = hosts[name]
  const urls = await sdk.host
    .getOwn(effects, name, (host) => {
      const address = host?.bindings[port]?.interfaces[name]?.addressInfo.nonLocal
      if (!address) return []
      const names = address.filter({ kind: ['domain', 'mdns'] }).format()
      return [...new Set([...names, ...address.format()])]
    })
    .const()
  const secure = (url: string) => (/^(https|wss):/.test(url) ? 0 : 1)
  return urls
    .filter((url) => scheme.test(url))
    .map((url) => url.replace(/\/$/, ''))
    .sort((one, other) => secure(one) - secure(other))
}
