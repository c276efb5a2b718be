// A long-lived process that makes system calls for a test: those Node lacks, those of another
// user, and those that a hung mount may never answer (the process then dies of its alarm and the
// test fails with the call's name). Calls are synchronous and file descriptors are its own, so a
// test reads like a C program. Needs: python3.
import { execFileSync, spawn } from 'node:child_process'
import { closeSync, constants, mkdtempSync, openSync, readSync, rmSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { packageRoot } from './package-root.js'

/** What lstat tells; numbers that may pass 2^53 are bigints. Times are ns. */
export type Stat = {
  type: 'file' | 'dir' | 'symlink' | 'fifo' | 'socket' | 'char' | 'block'
  mode: number
  uid: number
  gid: number
  nlink: number
  size: number
  blocks: number
  rdev: [number, number]
  dev: bigint
  ino: bigint
  atime: bigint
  mtime: bigint
  ctime: bigint
}

/** One path of a snapshot; which fields are there depends on the type and on what was asked for. */
export type Entry = Record<string, unknown>
export type Snapshot = Record<string, Entry>

/** A directory entry as getdents64 gives it. */
export type Dirent = { name: string; ino: bigint; type: string }

export class SyscallError extends Error {
  readonly code: string
  constructor(code: string, call: string) {
    super(`${call}: ${code}`)
    this.code = code
  }
}

type Answer = { ok?: unknown; errno?: string; message?: string; fault?: string }
type Wire = Omit<Stat, 'dev' | 'ino' | 'atime' | 'mtime' | 'ctime'> & Record<string, string>

const timeoutS = 20

/** open(2)'s flags and friends that `fs.constants` has not, for x86-64 and arm64 alike where they agree. */
export const { O_RDONLY, O_WRONLY, O_RDWR, O_CREAT, O_EXCL, O_TRUNC, O_APPEND, O_NONBLOCK } = constants
export const O_DIRECT = process.arch === 'arm64' ? 0o200000 : 0o40000
export const O_DIRECTORY = process.arch === 'arm64' ? 0o40000 : 0o200000
export const O_TMPFILE = 0o20000000 | O_DIRECTORY
export const [RENAME_NOREPLACE, RENAME_EXCHANGE, RENAME_WHITEOUT] = [1, 2, 4]
export const [XATTR_CREATE, XATTR_REPLACE] = [1, 2]
export const [SEEK_DATA, SEEK_HOLE] = [3, 4]
export const [LOCK_SH, LOCK_EX, LOCK_NB] = [1, 2, 4]
export const S_IFCHR = 0o020000

export class Syscalls {
  readonly uid: number
  #requests = -1
  #answers = -1

  constructor(uid = 0) {
    this.uid = uid
  }

  #startProcess(): void {
    const folder = mkdtempSync(join(tmpdir(), 'mica-pipes-'))
    const [up, down] = [join(folder, 'up'), join(folder, 'down')]
    execFileSync('mkfifo', [up, down])
    // A FIFO opened for both ways never blocks; it stands in until all four real ends are open.
    const spare = [openSync(up, constants.O_RDWR), openSync(down, constants.O_RDWR)]
    const theirs = [openSync(up, O_RDONLY), openSync(down, O_WRONLY)]
    this.#requests = openSync(up, O_WRONLY)
    this.#answers = openSync(down, O_RDONLY)
    const args = [join(packageRoot, 'test/support/syscalls.py')]
    if (this.uid !== 0) args.push(String(this.uid), String(this.uid))
    spawn('python3', args, { stdio: [theirs[0], theirs[1], 'inherit'], cwd: '/' }).unref()
    for (const fd of [...spare, ...theirs]) closeSync(fd!)
    rmSync(folder, { recursive: true })
  }

  /** Sends a call without waiting; finish() gives its result. One at a time. */
  start(name: string, ...args: unknown[]): void {
    if (this.#requests < 0) this.#startProcess()
    writeSync(this.#requests, `${JSON.stringify([timeoutS, name, ...args])}\n`)
  }

  finish<T>(name = 'call'): T {
    const parts: Buffer[] = []
    const chunk = Buffer.alloc(1 << 16)
    do {
      const count = readSync(this.#answers, chunk)
      if (count === 0) {
        this.stop()
        throw new Error(`${name}: no answer after ${timeoutS} s, or its process was killed`)
      }
      parts.push(Buffer.from(chunk.subarray(0, count)))
    } while (parts.at(-1)!.at(-1) !== 10)
    const answer = JSON.parse(Buffer.concat(parts).toString()) as Answer
    if (answer.errno) throw new SyscallError(answer.errno, `${name} (${answer.message})`)
    if (answer.fault) throw new Error(`${name}: ${answer.fault}`)
    return answer.ok as T
  }

  call<T = void>(name: string, ...args: unknown[]): T {
    this.start(name, ...args)
    return this.finish(`${name} ${args.map((a) => JSON.stringify(a)?.slice(0, 80)).join(' ')}`)
  }

  stop(): void {
    if (this.#requests < 0) return
    closeSync(this.#requests)
    closeSync(this.#answers)
    this.#requests = this.#answers = -1
  }

  /** Closes all its file descriptors, unmaps, restores umask and working directory. */
  reset(): void {
    if (this.#requests >= 0) this.call('reset', '/')
  }

  open = (path: string, flags: number, mode = 0o666) => this.call<number>('open', path, flags, mode)
  close = (fd: number) => this.call('close', fd)
  pread = (fd: number, length: number, offset: number) => this.call<string>('pread', fd, length, offset)
  pwrite = (fd: number, data: string, offset: number) => this.call<number>('pwrite', fd, data, offset)
  write = (fd: number, data: string) => this.call<number>('write', fd, data)
  ftruncate = (fd: number, size: number) => this.call('ftruncate', fd, size)
  truncate = (path: string, size: number) => this.call('truncate', path, size)
  fchmod = (fd: number, mode: number) => this.call('fchmod', fd, mode)
  fsync = (fd: number) => this.call('fsync', fd)
  lseek = (fd: number, offset: number, whence = 0) => this.call<number>('lseek', fd, offset, whence)
  fallocate = (fd: number, mode: number, offset: number, length: number) =>
    this.call('fallocate', fd, mode, offset, length)
  copyFileRange = (from: number, to: number, length: number) =>
    this.call<number>('copy_file_range', from, to, length, 0, 0)

  lstat = (path: string) => toStat(this.call('lstat', path))
  stat = (path: string) => toStat(this.call('stat_', path))
  fstat = (fd: number) => toStat(this.call('fstat', fd))
  list = (path: string) => this.call<string[]>('listdir', path)
  getdents = (path: string): Dirent[] =>
    this.call<[string, string, string][]>('getdents', path).map(([name, ino, type]) => ({
      name,
      ino: BigInt(ino),
      type,
    }))

  mkdir = (path: string, mode = 0o777) => this.call('mkdir', path, mode)
  rmdir = (path: string) => this.call('rmdir', path)
  unlink = (path: string) => this.call('unlink', path)
  rename = (from: string, to: string) => this.call('rename', from, to)
  renameat2 = (from: string, to: string, flags: number) => this.call('renameat2', from, to, flags)
  link = (from: string, to: string) => this.call('link', from, to)
  symlink = (target: string, path: string) => this.call('symlink', target, path)
  readlink = (path: string) => this.call<string>('readlink', path)
  mkfifo = (path: string, mode = 0o666) => this.call('mkfifo', path, mode)
  mknod = (path: string, mode: number, major = 0, minor = 0) => this.call('mknod', path, mode, major, minor)
  chmod = (path: string, mode: number) => this.call('chmod', path, mode)
  chown = (path: string, uid: number, gid: number) => this.call('lchown', path, uid, gid)
  access = (path: string, how: number) => this.call<boolean>('access', path, how)
  utimens = (path: string, atime: bigint, mtime: bigint, follow = true) =>
    this.call('utimens', path, String(atime), String(mtime), follow)

  getxattr = (path: string, name: string, follow = true) => this.call<string>('getxattr', path, name, follow)
  setxattr = (path: string, name: string, value: string, flags = 0) =>
    this.call('setxattr', path, name, value, flags)
  removexattr = (path: string, name: string) => this.call('removexattr', path, name)
  listxattr = (path: string) => this.call<string[]>('listxattr', path)

  snapshot = (path: string, fields?: string[]) => this.call<Snapshot>('snapshot', path, fields ?? null)
  walk = (path: string) => this.call<string[]>('walk', path)

  exists(path: string): boolean {
    return this.errno('lstat', path) === 'ok'
  }

  /** The name of the errno that a call fails with, or 'ok'. */
  errno(name: string, ...args: unknown[]): string {
    try {
      this.call(name, ...args)
      return 'ok'
    } catch (error) {
      if (error instanceof SyscallError) return error.code
      throw error
    }
  }

  /** The whole content of a file. */
  read(path: string): string {
    const fd = this.open(path, O_RDONLY)
    const parts: string[] = []
    for (let at = 0; ; ) {
      const part = this.call<string>('pread', fd, 1 << 20, at)
      if (part === '') break
      parts.push(part)
      at += Buffer.byteLength(part)
    }
    this.close(fd)
    return parts.join('')
  }

  /** Opens for write with `flags`, writes all at once, closes. */
  put(path: string, data: string, flags = O_WRONLY | O_CREAT | O_TRUNC, mode = 0o666): void {
    const fd = this.open(path, flags, mode)
    if (data !== '') this.write(fd, data)
    this.close(fd)
  }
}

function toStat(wire: Wire): Stat {
  const big = (field: string) => BigInt(wire[field]!)
  return {
    ...(wire as unknown as Stat),
    dev: big('dev'),
    ino: big('ino'),
    atime: big('atime'),
    mtime: big('mtime'),
    ctime: big('ctime'),
  }
}
