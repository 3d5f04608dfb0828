/** What StartOS calls. */
import { buildManifest, IMPOSSIBLE, utils, VersionGraph, VersionInfo } from '@start9labs/start-sdk'
import { actions, showPassword } from './actions'
import { setInterfaces } from './interfaces'
import { manifest as described } from './manifest'
import { sdk } from './sdk'
import { password } from './settings'

export { actions } from './actions'
export { main } from './main'

const current = VersionInfo.of({
  version: '0.1.0:0',
  releaseNotes: 'The first package for StartOS.',
  migrations: { down: IMPOSSIBLE },
})
const versions = VersionGraph.of({ current, other: [] })

/** The relay keeps nothing: what is worth a backup is the signer's, and what was chosen here. */
export const { createBackup, restoreInit } = sdk.setupBackups(async () =>
  sdk.Backups.ofVolumes('signer', 'settings'),
)

const setPassword = sdk.setupOnInit(async (effects, kind) => {
  if (kind !== 'install') return
  await password.write(effects, utils.getDefaultString({ charset: 'a-z,0-9', len: 32 }))
  await sdk.action.createOwnTask(effects, showPassword, 'important', {
    reason: 'The console asks for this password, to bind your first browser',
  })
})

export const init = sdk.setupInit(restoreInit, versions, setInterfaces, actions, setPassword)
export const uninit = sdk.setupUninit(versions)
export const manifest = buildManifest(versions, described)
