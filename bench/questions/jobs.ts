// Whole programs in a tree of eight layers: git, python, tar, dpkg, a C build. One file, as each is only
// an input and a command; each is a question of its own.

import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { runProgram } from '../probe.js'
import { type Case, type Question, type Step, stepCase } from '../question.js'

const LAYERS = 8

function job(
  name: string,
  title: string,
  build: (path: string) => void,
  steps: Step[],
  isChanging = false,
): Case {
  return stepCase({
    id: 'job',
    title,
    isChanging,
    tree: (fixtures) => fixtures.made(`job-${name}`, LAYERS, build),
    steps,
  })
}

function twice(command: Step['command']): Step[] {
  return [
    { id: 'first', title: 'first', command },
    { id: 'again', title: 'again', command },
  ]
}

function makeSources(path: string, dirs: number, files: number): void {
  for (let d = 0; d < dirs; d++) {
    const dir = join(path, `module-${d}`)
    mkdirSync(dir, { recursive: true })
    for (let f = 0; f < files; f++) {
      const text = `#include <stdio.h>\n#include "../common.h"\nint f_${d}_${f}(int x) { printf("%d\\n", x); return x + ${f}; }\n`
      writeFileSync(join(dir, `file-${f}.c`), text)
    }
  }
}

export const gitStatus: Question = {
  id: 'git-status',
  title: 'git status in a lower checkout (per run)',
  cases: () => [
    job(
      'git',
      '4,000 files in 100 directories',
      (path) => {
        makeSources(path, 100, 40)
        const git = (...args: string[]) =>
          runProgram(['git', '-c', 'user.name=bench', '-c', 'user.email=bench@localhost', ...args], path)
        git('init', '-q')
        git('add', '.')
        git('commit', '-qm', 'all')
        git('gc', '-q')
      },
      twice((path) => ['spawn', path, 1, '-', 'git', '--no-optional-locks', 'status', '--porcelain']),
    ),
  ],
}

const PYTHON = '/usr/bin/python3'

/** Returns the folder of the standard library of the system's Python. */
function pythonLibrary(): string | undefined {
  const found = existsSync('/usr/lib') ? readdirSync('/usr/lib').filter((n) => /^python3\.\d+$/.test(n)) : []
  return found.map((name) => join('/usr/lib', name)).find((path) => existsSync(join(path, 'os.py')))
}

export const python: Question = {
  id: 'python',
  title: 'python3 -c pass (per run)',
  excuse: () => (existsSync(PYTHON) && pythonLibrary() ? undefined : `no ${PYTHON} with its library`),
  cases: () => [
    job(
      'python',
      '20 runs with interpreter and library in the tree',
      (path) => {
        mkdirSync(join(path, 'usr/bin'), { recursive: true })
        mkdirSync(join(path, 'usr/lib'), { recursive: true })
        runProgram(['cp', '-aL', PYTHON, join(path, 'usr/bin/python3')])
        runProgram(['cp', '-a', pythonLibrary()!, join(path, 'usr/lib')])
      },
      [
        {
          id: 'runs',
          title: 'run',
          command: (path) => [
            ...['spawn', path, 20, '-', 'env', `PYTHONHOME=${path}/usr`, 'PYTHONDONTWRITEBYTECODE=1'],
            ...[`${path}/usr/bin/python3`, '-c', 'pass'],
          ],
        },
      ],
    ),
  ],
}

export const tar: Question = {
  id: 'tar',
  title: 'tar c of a part of /usr (per run)',
  cases: () => [
    job(
      'tar',
      '/usr/include and the Python library',
      (path) => {
        mkdirSync(path, { recursive: true })
        for (const source of ['/usr/include', pythonLibrary()]) {
          if (source !== undefined && existsSync(source)) runProgram(['cp', '-a', source, path])
        }
      },
      // Into a pipe: tar reads nothing when its output is /dev/null.
      twice((path) => ['spawn', path, 1, '-', 'sh', '-c', 'tar c . | cat >/dev/null']),
    ),
  ],
}

const ARCHIVES = '/var/cache/apt/archives'
const PACKAGES = 10
const PACKAGE_MIN = 50_000
const PACKAGE_MAX = 1_000_000

/** Returns ten middling packages of the local cache that run no script of their own when unpacked. */
function packages(): string[] {
  const found: string[] = []
  if (!existsSync(ARCHIVES)) return found
  for (const name of readdirSync(ARCHIVES).sort()) {
    const path = join(ARCHIVES, name)
    const { size } = statSync(path)
    if (!name.endsWith('.deb') || size < PACKAGE_MIN || size > PACKAGE_MAX) continue
    const control = execFileSync('sh', ['-c', 'dpkg-deb --ctrl-tarfile "$0" | tar t', path], {
      encoding: 'utf8',
    })
    if (!control.includes('preinst')) found.push(path)
    if (found.length === PACKAGES) break
  }
  return found
}

export const dpkg: Question = {
  id: 'dpkg',
  title: 'dpkg --unpack of ten packages (per run)',
  excuse: () =>
    existsSync('/usr/bin/dpkg') && packages().length === PACKAGES
      ? undefined
      : `${ARCHIVES} has fewer than ten fitting packages (apt-get install --download-only fills it)`,
  cases: () => [
    job(
      'dpkg',
      'ten packages of 50 kB to 1 MB',
      (path) => {
        for (const dir of ['info', 'updates', 'triggers'])
          mkdirSync(join(path, 'var/lib/dpkg', dir), { recursive: true })
        for (const name of ['status', 'available']) writeFileSync(join(path, 'var/lib/dpkg', name), '')
        // dpkg runs in the tree: what it calls must be there by name.
        mkdirSync(join(path, 'usr/share'), { recursive: true })
      },
      [
        {
          id: 'unpack',
          title: 'unpack',
          command: (path) => [
            ...['spawn', path, 1, '-', 'dpkg', `--root=${path}`, '--force-all', '--log=/dev/null'],
            ...['--unpack', ...packages()],
          ],
        },
      ],
      true,
    ),
  ],
}

export const cBuild: Question = {
  id: 'c-build',
  title: 'C build (per run)',
  excuse: () =>
    ['/usr/bin/make', '/usr/bin/cc'].every((path) => existsSync(path)) ? undefined : 'make or cc is missing',
  cases: () => [
    job(
      'c-build',
      'make -j2 of 60 files, objects into the upper',
      (path) => {
        makeSources(path, 6, 10)
        writeFileSync(join(path, 'common.h'), '#include <stdlib.h>\n#include <string.h>\n')
        const main = Array.from({ length: 6 }, (_, d) => `int f_${d}_0(int);`).join('\n')
        writeFileSync(join(path, 'main.c'), `${main}\nint main(void) { return f_0_0(0) + f_5_0(0); }\n`)
        const rules = [
          'SOURCES := main.c $(wildcard module-*/*.c)',
          'all: $(SOURCES:.c=.o)',
          '\t$(CC) -o program $^',
          '%.o: %.c common.h',
          '\t$(CC) -O1 -c -o $@ $<',
        ]
        writeFileSync(join(path, 'Makefile'), `${rules.join('\n')}\n`)
      },
      [{ id: 'make', title: 'make', command: (path) => ['spawn', path, 1, 'program', 'make', '-j2', '-s'] }],
      true,
    ),
  ],
}
