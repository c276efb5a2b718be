// A real Debian: a root made by debootstrap and a few real packages, from the mirror that apt is
// configured for. Both are kept between runs in the user's cache folder, as they take a minute.
import { type SpawnSyncReturns, spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'

const cache = join(process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'micafs-test')
const included = ['gcc', 'libc6-dev', 'python3-minimal']
const wanted = ['hello', 'tree', 'jq', 'libjq1', 'libonig5']

/** What the tests stand on. `packages` holds .deb files and their index. */
export type Debian = { root: string; packages: string; names: string[] }

function sh(program: string, args: string[], cwd = '/'): SpawnSyncReturns<string> {
  const env = { ...process.env, LC_ALL: 'C', DEBIAN_FRONTEND: 'noninteractive' }
  return spawnSync(program, args, { encoding: 'utf8', cwd, env, maxBuffer: 1 << 26 })
}

function mustDo(program: string, args: string[], cwd?: string): string {
  const { status, stdout, stderr, error } = sh(program, args, cwd)
  if (status === 0) return stdout
  const said = `${stdout ?? ''}\n${stderr ?? ''}`.trim().split('\n').slice(-3).join(' | ')
  throw new Error(`${program} ended with ${status}: ${error?.message ?? said}`)
}

/** Where apt gets Debian from: the first source whose release debootstrap knows. */
function mirror(): { uri: string; release: string } | undefined {
  const listed = sh('apt-get', ['indextargets', '--format', '$(REPO_URI) $(RELEASE)', 'Created-By: Packages'])
  const sources = (listed.stdout ?? '').split('\n').map((line) => line.split(' '))
  const known = sources.find(
    ([, release]) => release && existsSync(`/usr/share/debootstrap/scripts/${release}`),
  )
  return known && { uri: known[0]!, release: known[1]! }
}

/** Makes a folder whole or not at all. */
function makeFolder(path: string, fill: (partial: string) => void): void {
  if (existsSync(path)) return
  mkdirSync(cache, { recursive: true })
  const partial = mkdtempSync(`${path}.partial-`)
  try {
    fill(partial)
    renameSync(partial, path)
  } catch (error) {
    rmSync(partial, { recursive: true, force: true })
    throw error
  }
}

function fillRoot(folder: string, uri: string, release: string): void {
  const args = ['--variant=minbase', `--include=${included.join()}`, release, folder, uri]
  mustDo('debootstrap', args)
  for (const name of readdirSync(join(folder, 'var/cache/apt/archives'))) {
    if (name.endsWith('.deb')) rmSync(join(folder, 'var/cache/apt/archives', name))
  }
}

function fillPackages(folder: string): void {
  const download = () => sh('apt-get', ['download', ...wanted], folder)
  let answer = download()
  if (answer.status !== 0) {
    mustDo('apt-get', ['update', '-q'])
    answer = download()
  }
  if (answer.status !== 0) throw new Error(`apt-get download: ${answer.stderr.trim().split('\n').at(-1)}`)
  const index = sh('dpkg-scanpackages', ['--multiversion', '.'], folder)
  const text = index.error ? mustDo('apt-ftparchive', ['packages', '.'], folder) : index.stdout
  spawnSync('tee', [join(folder, 'Packages')], { input: text, stdio: ['pipe', 'ignore', 'ignore'] })
}

/** Returns the Debian root and packages, or why there are none. */
export function debian(): Debian | string {
  if (sh('debootstrap', ['--version']).error) return 'debootstrap is not installed'
  const source = mirror()
  if (!source) return 'apt names no source that debootstrap knows'
  const root = join(cache, `debian-${source.release}-${included.join('-')}`)
  const packages = join(cache, `packages-${source.release}-${wanted.join('-')}`)
  makeFolder(root, (partial) => fillRoot(partial, source.uri, source.release))
  makeFolder(packages, fillPackages)
  return { root, packages, names: readdirSync(packages).filter((name) => name.endsWith('.deb')) }
}
