/** Relay and signer: a user, a volume and a container each. */
import { consolePort, relayCommand, relayPort, signerCommand } from './commands'
import { addresses } from './interfaces'
import { sdk } from './sdk'
import { chosen } from './settings'

export const main = sdk.setupMain(async ({ effects }) => {
  const set = await chosen.read().const(effects)
  const [console] = await addresses(effects, 'console')
  const [relay] = await addresses(effects, 'relay')
  if (!console || !relay) throw new Error('the server has given console and relay no address yet')
  const found = {
    console: set?.console || console,
    relay: set?.relay || relay,
    proxy: await effects.getOsIp(),
  }

  const data = (volumeId: 'relay' | 'signer') =>
    sdk.Mounts.of().mountVolume({ volumeId, subpath: null, mountpoint: '/data', readonly: false })
  const image = { imageId: 'bunker' as const }
  const relayBox = sdk.SubContainer.of(effects, image, data('relay'), 'relay')
  const signerBox = sdk.SubContainer.of(
    effects,
    image,
    data('signer').mountVolume({
      volumeId: 'settings',
      subpath: null,
      mountpoint: '/settings',
      readonly: true,
    }),
    'signer',
  )

  return sdk.Daemons.of(effects)
    .addOneshot('own-relay', {
      subcontainer: relayBox,
      exec: { command: ['chown', '-R', 'relay:relay', '/data'], user: 'root' },
      requires: [],
    })
    .addOneshot('own-signer', {
      subcontainer: signerBox,
      exec: { command: ['chown', '-R', 'signer:signer', '/data'], user: 'root' },
      requires: [],
    })
    .addDaemon('relay', {
      subcontainer: relayBox,
      exec: {
        command: relayCommand(found),
        user: 'relay',
        env: { BUNKER_RELAY_TRUSTED_PROXIES: found.proxy },
      },
      ready: {
        display: 'Relay',
        gracePeriod: 30_000,
        fn: () =>
          sdk.healthCheck.checkPortListening(effects, relayPort, {
            successMessage: 'Apps can connect',
            errorMessage: 'The relay does not answer',
          }),
      },
      requires: ['own-relay'],
    })
    .addDaemon('signer', {
      subcontainer: signerBox,
      exec: { command: signerCommand(found), user: 'signer' },
      ready: {
        display: 'Signer and console',
        gracePeriod: 30_000,
        fn: () =>
          sdk.healthCheck.checkPortListening(effects, consolePort, {
            successMessage: 'The console is ready',
            errorMessage: 'The console does not answer',
          }),
      },
      requires: ['own-signer', 'relay'],
    })
})
