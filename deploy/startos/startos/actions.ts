/** What a person does in StartOS's own pages; all else is in the console. */
import { addresses } from './interfaces'
import { sdk } from './sdk'
import { chosen, password } from './settings'

const { InputSpec, Value } = sdk

const choice = (name: 'console' | 'relay', title: string, description: string) =>
  Value.dynamicSelect(async ({ effects }) => {
    const urls = await addresses(effects, name)
    return {
      name: title,
      description,
      values: Object.fromEntries(urls.map((url) => [url, url])),
      default: urls[0] ?? '',
    }
  })

export const showPassword = sdk.Action.withoutInput(
  'show-password',
  {
    name: 'Show the password',
    description: 'The console asks for it once, to bind your first browser',
    warning: null,
    allowedStatuses: 'any',
    group: null,
    visibility: 'enabled',
  },
  async () => ({
    version: '1',
    title: 'Password of the console',
    message: 'It binds a browser while none is bound. Further devices are bound in the console.',
    result: {
      type: 'single',
      value: (await password.read().once()) ?? '',
      copyable: true,
      masked: true,
      qr: false,
    },
  }),
)

export const setAddresses = sdk.Action.withInput(
  'set-addresses',
  {
    name: 'Choose the addresses',
    description: 'By which browsers open the console, and apps find the relay',
    warning: 'Apps that are paired keep the address of the relay that they were paired by.',
    allowedStatuses: 'any',
    group: null,
    visibility: 'enabled',
  },
  InputSpec.of({
    console: choice('console', 'Console', 'The only address at which the console lets a browser in'),
    relay: choice('relay', 'Relay', 'The address in the codes that pair an app'),
  }),
  async () => chosen.read().once(),
  async ({ effects, input }) => {
    await chosen.merge(effects, input)
  },
)

export const actions = sdk.Actions.of().addAction(showPassword).addAction(setAddresses)
