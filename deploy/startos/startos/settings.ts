/** What this package keeps for itself: the addresses that were chosen, the console's password. */
import { FileHelper, z } from '@start9labs/start-sdk'
import { sdk } from './sdk'

const base = sdk.volumes.settings

export const chosen = FileHelper.json(
  { base, subpath: '/addresses.json' },
  z.object({
    console: z.string().optional().catch(undefined),
    relay: z.string().optional().catch(undefined),
  }),
)

export const password = FileHelper.string({ base, subpath: '/console-password' })
