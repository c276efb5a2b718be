// The commands of the image store: one row each. Loaded only when none of the others was asked for, as
// the database and the registry client take their time to load.

import type { Command } from 'commander'
import { imagesCommand } from './images.js'
import { loadCommand } from './load.js'

export const STORE_COMMANDS: readonly (() => Command)[] = [loadCommand, imagesCommand]
