// All questions, in the order they are asked.

import type { Question } from '../question.js'
import { chmod } from './chmod.js'
import { copyUp } from './copy-up.js'
import { create } from './create.js'
import { dispatch } from './dispatch.js'
import { find } from './find.js'
import { cBuild, dpkg, gitStatus, python, tar } from './jobs.js'
import { lookup } from './lookup.js'
import { lookupThreads } from './lookup-threads.js'
import { memory } from './memory.js'
import { mountTime } from './mount-time.js'
import { read } from './read.js'
import { readdir } from './readdir.js'
import { remove } from './remove.js'
import { rename } from './rename.js'
import { smallFiles } from './small-files.js'
import { write } from './write.js'

export const QUESTIONS: readonly Question[] = [
  lookup,
  lookupThreads,
  find,
  readdir,
  smallFiles,
  read,
  write,
  create,
  copyUp,
  chmod,
  remove,
  rename,
  mountTime,
  gitStatus,
  python,
  tar,
  dpkg,
  cBuild,
  dispatch,
  memory,
]
