// The commands of the image store: one row each. Loaded only when none of the others was asked for, as
// the database and the registry client take their time to load.

import type { Command } from 'commander'
import { commitCommand } from './commit.js'
import { cpCommand } from './cp.js'
import { createCommand } from './create.js'
import { dfCommand } from './df.js'
import { diffCommand } from './diff.js'
import { execCommand } from './exec.js'
import { exportCommand } from './export.js'
import { fsckCommand } from './fsck.js'
import { historyCommand } from './history.js'
import { imagesCommand } from './images.js'
import { importCommand } from './import.js'
import { inspectCommand } from './inspect.js'
import { loadCommand } from './load.js'
import { loginCommand, logoutCommand } from './login.js'
import { pruneCommand } from './prune.js'
import { psCommand } from './ps.js'
import { pullCommand } from './pull.js'
import { pushCommand } from './push.js'
import { rmCommand } from './rm.js'
import { rmiCommand } from './rmi.js'
import { runCommand } from './run.js'
import { saveCommand } from './save.js'
import { searchCommand } from './search.js'
import { tagCommand } from './tag.js'
import { treeCommand } from './tree.js'

export const STORE_COMMANDS: readonly (() => Command)[] = [
  loadCommand,
  imagesCommand,
  inspectCommand,
  historyCommand,
  tagCommand,
  rmiCommand,
  runCommand,
  execCommand,
  createCommand,
  psCommand,
  rmCommand,
  pruneCommand,
  dfCommand,
  commitCommand,
  diffCommand,
  exportCommand,
  saveCommand,
  pullCommand,
  pushCommand,
  loginCommand,
  logoutCommand,
  searchCommand,
  cpCommand,
  fsckCommand,
  importCommand,
  treeCommand,
]
