// The one door to the native addon: its functions with their types. Only src/sys imports this.
//
// Rules of every function unless it says otherwise:
// - It returns >= 0, or -errno. It never throws for an operating error and makes no JS object.
// - It is synchronous and runs on the calling thread.
// - `ref` names a NUL-terminated string: > 0 is a byte offset in this worker's arena; < 0 is
//   -(8-byte unit) in the shared name arena; 0 is the empty path, meaning `fd` itself.
// - No symbolic link is ever followed in the last component; every fd is made O_CLOEXEC.
// - EINTR is retried inside.
// - State (addresses of the arenas, current request) is thread_local: one set per worker.

import { existsSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

/** copyData(): the copy is on the disk when it ends. */
export const DURABILITY_SYNCED = 0
/** copyData(): the copy may be lost. */
export const DURABILITY_NONE = 1
/**
 * copyData(): the data is written, and what the journal gets later is durable no sooner than that data;
 * so a rename that survives a power loss leads to the whole file. For file systems with an ordered journal.
 */
export const DURABILITY_ORDERED = 2

/** tryAtOnce(): TypeScript is to answer. */
export const NOT_AT_ONCE = 0x7ffffffd

export interface Native {
  /** ABI number of the addon; compared with NATIVE_ABI at load. */
  readonly abi: number

  // -- memory ------------------------------------------------------------------------------
  /**
   * Tells this thread where its arena and the shared name arena are, and keeps both alive. Every
   * place outside of them gives -EFAULT from then on, and so does every place before it. Reads the
   * thread's ids and capabilities, and ends serveAtOnce(). It has its own working directory and umask
   * afterwards: chdir does not reach it, and the umask of its own files is that of the last making. Throws a
   * TypeError for anything but two Uint8Arrays.
   */
  attach(arena: Uint8Array, names: Uint8Array): void

  /**
   * Gives the whole pages between two byte offsets of an array back to the system; they read as zeros
   * from then on (what is left of pages at either end stays as it is). Nobody may use them meanwhile.
   */
  releasePages(array: Uint8Array, from: number, to: number): number
  /** Gives memory back that the C library's heap keeps for later. */
  trimHeap(): number

  // -- looking -----------------------------------------------------------------------------
  /** statx(2) with AT_SYMLINK_NOFOLLOW (| AT_EMPTY_PATH for ref 0); writes a Stat at `out`. */
  statAt(fd: number, ref: number, out: number): number
  /**
   * statAt() over `count` directory fds (i32 words at `fds`; -1 entries are skipped) starting at
   * index `from`, until one has the name. Returns the index that has it, -ENOENT when none has,
   * or another errno (ENOTDIR and ENAMETOOLONG of a layer count as absent). With `dotWhiteouts` != 0, before stepping from index i to i+1 it looks for
   * `.wh.NAME` in fds[i] and gives -ENOENT when that exists (not for the last index).
   */
  statLayers(fds: number, count: number, from: number, ref: number, dotWhiteouts: number, out: number): number
  /**
   * statAt() of `count` names of one directory. `list`: pairs of i32 words, the arena offset of a
   * name and of its Stat; the first becomes the result of each.
   */
  statMany(fd: number, list: number, count: number): number
  /** readlinkat(2). Returns the length; no NUL is added. */
  readlinkAt(fd: number, ref: number, out: number, capacity: number): number
  /** getdents64(2) at the fd's own position, raw records at `out`. 0 at the end. */
  getdents(fd: number, out: number, capacity: number): number
  /**
   * The list of a plain directory, merged from several; one at a time in each thread. listBegin(), a
   * listName() for each of `.` and `..`, listDirectory() for each real, top first, listSort(); then
   * listTake() until it returns 0. `isMerged` 0: there is one real. `hasUpper`: layer 0 is the upper.
   */
  listBegin(isMerged: number, hasUpper: number): number
  /** Adds the name of a directory with this ino. */
  listName(ref: number, low: number, high: number): number
  /**
   * Adds the names of a directory that is open for reading, but those that were there before or are
   * hidden by a whiteout. -EAGAIN when something in it is not plain: see native/listing.cc. `buffer` is
   * for getdents64(2).
   */
  listDirectory(fd: number, layer: number, buffer: number, capacity: number): number
  /**
   * The same from an index: `entries` as they lie there, and the bytes of their names, of which the first
   * is number `firstName` of the index's. `base`: what their layers are counted from.
   */
  listEntries(entries: Uint8Array, names: Uint8Array, firstName: number, base: number): number
  /** Returns how many names there are. */
  listSort(): number
  /**
   * Writes as many of the next records as go into `capacity` bytes at `out`: struct fuse_dirent with its
   * key as cookie from the start, the layer of each as u16 from the end backwards. Returns their
   * number << 16 | bytes of the records.
   */
  listTake(out: number, capacity: number): number
  /** lseek(2) on an fd; positions as numbers. Returns the new offset as a number. */
  lseek(fd: number, offset: number, whence: number): number
  /** Writes struct fuse_kstatfs at `out` (80 bytes), from fstatfs(2). */
  fstatfs(fd: number, out: number): number
  /** The f_type that statfs(2) gives for the fd's file system, as 32 bits without sign. */
  fsType(fd: number): number

  /**
   * Maps a whole file for reading (mmap(2)); the same memory for all threads that map it. Returns an
   * ArrayBuffer of whole pages and one page more, which must not be written to; or -errno. The first word
   * of the last page counts the pages that could not be read: they are zeros. Unmapped when the last
   * buffer is collected.
   */
  mapFile(fd: number): ArrayBuffer | number

  // -- opening -----------------------------------------------------------------------------
  /**
   * openat2(2) with O_CLOEXEC|O_NOFOLLOW and RESOLVE_BENEATH|RESOLVE_NO_SYMLINKS|
   * RESOLVE_NO_MAGICLINKS (openat when the kernel has no openat2). `ref` may be a path of several
   * components for this call. ref 0 reopens `fd` itself through /proc/self/fd. Flags that would
   * make something (O_CREAT, O_TMPFILE) and the kernel's internal ones are dropped.
   */
  openAt(fd: number, ref: number, flags: number): number
  /** open(2) of an absolute or relative path given as bytes; follows symbolic links. Cold path. */
  openPath(path: Uint8Array, flags: number, mode: number): number
  /**
   * Returns an O_PATH fd of the same directory on a private mount of it, read-only and without atime
   * (open_tree(2), mount_setattr(2)): the kernel itself refuses every write through it.
   */
  cloneReadOnly(fd: number): number
  close(fd: number): number
  /** dup3(2) of `from` onto `to` with O_CLOEXEC: the open file behind `to` is replaced atomically. */
  replaceFd(from: number, to: number): number
  /** fcntl(F_GETFL) / F_SETFL on the fd. */
  getFl(fd: number): number
  setFl(fd: number, flags: number): number

  // -- making: the owner is (uid, gid), the mode is `mode & ~umask`, or what a default ACL says --
  // With uid or gid -1 the thread's own ids are used. Implementation: setfsuid/setfsgid and
  // umask(2) of this thread only (unshare(CLONE_FS) at attach), with the capabilities kept
  // effective; the thread's state is cached so that the common root/022 case costs no syscall.
  // When ids can't be switched (no CAP_SETUID, or no mapping) the object is made as ourselves and
  // chowned if that is possible at all, quietly not when EPERM or EINVAL; for createAt() only with
  // O_EXCL, because without it the file may have been there before.
  createAt(
    fd: number,
    ref: number,
    flags: number,
    mode: number,
    uid: number,
    gid: number,
    umask: number,
  ): number
  /** O_TMPFILE in directory `fd`. Returns the fd. */
  tmpfileAt(fd: number, flags: number, mode: number, uid: number, gid: number, umask: number): number
  mkdirAt(fd: number, ref: number, mode: number, uid: number, gid: number, umask: number): number
  mknodAt(
    fd: number,
    ref: number,
    mode: number,
    rdev: number,
    uid: number,
    gid: number,
    umask: number,
  ): number
  symlinkAt(target: number, fd: number, ref: number, uid: number, gid: number): number

  // -- changing ----------------------------------------------------------------------------
  /** linkat(2). fromRef 0: links the file behind fromFd (AT_EMPTY_PATH, else /proc/self/fd). */
  linkAt(fromFd: number, fromRef: number, toFd: number, toRef: number): number
  unlinkAt(fd: number, ref: number, flags: number): number
  /** renameat2(2). */
  renameAt(fromFd: number, fromRef: number, toFd: number, toRef: number, flags: number): number
  /** Never follows a link: fchmodat2, else through an O_PATH fd and /proc/self/fd. Works for ref 0 on O_PATH fds. */
  chmodAt(fd: number, ref: number, mode: number): number
  /** uid or gid -1: unchanged. Works for ref 0 on O_PATH fds. */
  chownAt(fd: number, ref: number, uid: number, gid: number): number
  /**
   * utimensat(2). `times`: byte offset of 6 words: atime lo, atime hi, atime ns, mtime lo, hi, ns;
   * an ns word of 0x3fffffff is UTIME_NOW, 0x3ffffffe UTIME_OMIT. Works for ref 0 on O_PATH fds.
   */
  utimensAt(fd: number, ref: number, times: number): number
  /** ftruncate(2) on an fd open for writing. */
  truncate(fd: number, size: number): number

  // -- extended attributes (getxattrat & co., Linux 6.13; else /proc/self/fd/N[/name]) -------
  /** Works for ref 0 on O_PATH fds too. `capacity` 0 asks for the size. */
  getXattrAt(fd: number, ref: number, nameRef: number, out: number, capacity: number): number
  listXattrAt(fd: number, ref: number, out: number, capacity: number): number
  setXattrAt(fd: number, ref: number, nameRef: number, value: number, size: number, flags: number): number
  removeXattrAt(fd: number, ref: number, nameRef: number): number

  // -- data ----------------------------------------------------------------------------------
  /**
   * pread(2) into the arena at `out`. When the page cache does not have the bytes and a request is
   * current, the read goes to the pool, which replies by itself: returns PARKED.
   */
  read(fd: number, offset: number, size: number, out: number): number
  /**
   * The same of what the page cache has, whether a request is current or not: the count, or -EAGAIN when
   * some of it is not there. Of a file system that can't tell, everything.
   */
  readNow(fd: number, offset: number, size: number, out: number): number
  /** pwrite(2) of `size` bytes at arena offset `data`; offset -1 appends (write(2)). */
  write(fd: number, offset: number, size: number, data: number): number
  /** lseek for SEEK_DATA/SEEK_HOLE etc. with the result as u64 at `out`; returns 8. */
  seekReply(fd: number, offset: number, whence: number, out: number): number
  /** ioctl on a fd with in/out data in the arena (FS_IOC_GETFLAGS family only). */
  ioctl(fd: number, command: number, data: number): number

  // -- work off the loop -----------------------------------------------------------------------
  // Each of these returns PARKED when a request is current (the pool does the work and replies
  // with its result, no JS involved), and otherwise works at once and returns the result.
  fsync(fd: number, isDataOnly: number): number
  syncfs(fd: number): number
  fallocate(fd: number, mode: number, offset: number, length: number): number
  /** Reply: u64 count at the reply's body (8 bytes); inline: the count is written at `out`, returns 8. */
  copyFileRange(
    fdIn: number,
    offsetIn: number,
    fdOut: number,
    offsetOut: number,
    length: number,
    out: number,
  ): number

  /**
   * Copies the data of `from` to `to` (both stay open): FICLONE, else copy_file_range, else
   * read/write, keeping holes; only the first `length` bytes when length >= 0, and the size is
   * set to that; then made as durable as DURABILITY_* says. `job` > 0: runs in the pool and its end comes
   * as a completion (job, result) on this worker, returns PARKED; `job` 0: works at once.
   */
  copyData(from: number, to: number, length: number, durability: number, job: number): number
  /** Removes everything below directory `fd` (not fd itself), never crossing mounts. Inline. */
  removeTree(fd: number): number
  /** The same on a thread of Node's pool. Resolves with 0 or -errno. */
  removeTreeSoon(fd: number): Promise<number>
  /** removeTree of `name` below `fd` and then `name` itself, in the pool, no completion. Closes nothing. */
  removeTreeLater(fd: number, ref: number): number

  // -- parking lot -------------------------------------------------------------------------
  /**
   * Puts the current request aside until wake(key). Returns PARKED, or -ENOMEM. When no request
   * is current (unit tests, or it was handed over already) returns -EAGAIN. Does not block: may be called under the table lock.
   * A key belongs to the names that attach() got: with others it is another key.
   */
  park(key: number): number
  /**
   * Lets go all requests parked under `key`, on whichever worker they came in. error 0: each is
   * dispatched again by its own worker; error < 0: each is answered with it. Returns how many.
   */
  wake(key: number, error: number): number
  /**
   * Takes one finished thing of this worker. 0: none. 1: a parked request is at IN again and is
   * current: dispatch it and call reply(). 2: a job ended: its number is at CTL word 8, its
   * result in CTL word 9. -EBUSY when a request is current.
   */
  nextCompletion(): number

  // -- passthrough -------------------------------------------------------------------------
  /**
   * FUSE_DEV_IOC_BACKING_OPEN on the session's device fd. With `isForUser` != 0 every write through it clears
   * set-id bits, as one without CAP_FSETID does. Returns the backing id.
   */
  backingOpen(device: number, fd: number, isForUser: number): number
  backingClose(device: number, id: number): number

  // -- transport: /dev/fuse ----------------------------------------------------------------
  /** A new fd on the same session (FUSE_DEV_IOC_CLONE). */
  cloneDevice(device: number): number
  /**
   * Registers this thread's loop: `onReady` is called when the device is readable or completions
   * wait, again and again until there is neither, so it may return early. The device fd is
   * non-blocking from here on; the transport keeps a duplicate of it until it has ended and the
   * last parked request is answered. IN, OUT, CTL are those of vfs/arena.ts. An exception from
   * `onReady` is printed and answers the current request with EIO.
   */
  devFuseStart(device: number, onReady: () => void): number
  /** Ends the transport; requests that are parked on this worker are answered with EIO. */
  devFuseStop(): number
  /** Looks at the device once in `ms` at most, so that FORGETs come in numbers; 0: always. */
  devFusePause(ms: number): number
  /**
   * Reads the next request to IN and fills CTL. Returns its length, -EAGAIN, or -ENODEV at the end
   * (the transport has stopped by then), -EBUSY when the request before is not ended. At least the
   * 40 bytes of the header are there, its `len` is right, and 8 NUL bytes follow the request.
   */
  devFuseNext(): number
  /**
   * Ends the current request and reads the next one: `result` >= 0 is the length of the body
   * at OUT, < 0 an errno, PARKED and NO_REPLY send nothing. Returns as devFuseNext().
   */
  devFuseReplyAndNext(result: number): number
  /** Ends the current request only. */
  reply(result: number): number
  /**
   * Sends a notification: `code` with the body of `length` bytes at `body` in the arena. Waits for
   * locks that the kernel may hold for a request which this thread has yet to answer: only for
   * codes that take none (INVAL_INODE without data, STORE of nothing cached, RESEND, INC_EPOCH).
   */
  notify(device: number, code: number, body: number, length: number): number

  // -- requests that need no TypeScript: see native/at-once.cc --------------------------------
  /**
   * From here on until the transport of this thread ends it answers such requests by itself. The arrays are
   * bytes of the tables (union/tables.ts) and of an index (index/view.ts; both empty without one), and kept alive
   * by the caller (`devices`, a u32 for each layer, is copied); `counters`: a float64 for each opcode;
   * `settings`: u32 words in the arena, AtOnceSettings in native/calls.h. Needs attach() before.
   */
  serveAtOnce(
    header: Uint8Array,
    nodes: Uint8Array,
    dentries: Uint8Array,
    slots: Uint8Array,
    links: Uint8Array,
    nodeSlabs: Uint8Array,
    dentrySlabs: Uint8Array,
    nameSlabs: Uint8Array,
    index: Uint8Array,
    ready: Uint8Array,
    devices: Uint8Array,
    counters: Uint8Array,
    settings: number,
  ): number
  /**
   * Looks the names of READDIRPLUS records (fuse_direntplus) up that have no Entry yet, as far as the index can
   * tell of them by itself, and binds them. Returns how many are left, without `.` and `..`.
   */
  enterRecords(directory: number, records: number, length: number): number
  /**
   * For tests: a fuse_in_header at `request`, what follows it at `args`, and the reply at `out`. Returns its length,
   * -errno, or NOT_AT_ONCE when TypeScript is to answer.
   */
  tryAtOnce(request: number, args: number, size: number, out: number): number

  // -- the io_uring transport: see fuse/io-uring.ts ------------------------------------------
  /** 0 when this process can make a ring such as uringStart() needs; else -errno. */
  uringProbe(): number
  /** An eventfd(2), by which a worker in uringNext() is woken. */
  uringEvent(): number
  /** Makes the worker that waits on this event end: its uringNext() returns -ESHUTDOWN. */
  uringSignal(event: number): number
  /**
   * Makes this thread's ring and gives its entries to the kernel. `queues`: offset of `count` pairs
   * of words: the number of a queue, and how many entries it gets. Payload buffers of
   * `payloadBytes` (whole pages; at least the largest READ or WRITE) each lie in the arena from
   * `place` on, with one page to spare. Needs: INIT was answered. -errno when one of the queues got no entry.
   */
  uringStart(
    device: number,
    event: number,
    place: number,
    payloadBytes: number,
    queues: number,
    count: number,
  ): number
  /** Ends the transport; requests in our hands are answered with EIO. */
  uringStop(): number
  /**
   * Waits. Returns the length of a request at IN, 0 when completions wait (take them all), -EAGAIN
   * when nothing came for a second (once; then it waits for good), -ENODEV at the end of the
   * mount, -ESHUTDOWN after uringSignal(), or another error of the ring.
   */
  uringNext(): number
  /** Ends the current request as reply() does, and the same as uringNext(). One system call. */
  uringReplyAndNext(result: number): number
  /** Has the kernel give up rings that it waits for after INIT: requests come by the device. */
  uringRefuse(device: number): number

  // -- mounting (cold path; strings allowed) -------------------------------------------------
  /** open("/dev/fuse", O_RDWR|O_CLOEXEC). */
  openDevice(): number
  /** mount(2). Returns 0 or -errno. */
  mount(source: string, target: Uint8Array, type: string, flags: number, data: string): number
  /** umount2(2). */
  umount(target: Uint8Array, flags: number): number
  /** Puts the mount behind an fd, as cloneReadOnly() makes it, on a directory (move_mount(2)). */
  moveMount(tree: number, target: Uint8Array): number
  /**
   * Runs `fusermount3 -o OPTIONS -- TARGET` with _FUSE_COMMFD and returns the device fd it sends;
   * on failure -EPERM with its words in `lastMessage()`, or -ENOENT when there is no such program.
   */
  fusermount(program: string, options: string, target: Uint8Array): number
  lastMessage(): string
  /** unshare(2), setns(2), pivot etc. used by `mica chroot`. */
  unshare(flags: number): number
  setns(fd: number, type: number): number
  /** chroot(2) and chdir("/"), of this thread and what it starts. */
  chroot(path: Uint8Array): number
  /**
   * pivot_root(2): the mount at `path` becomes the root of this mount namespace. The old root stays, as the
   * current directory, until leaveOldRoot() detaches it with all that is mounted there.
   */
  pivotRoot(path: Uint8Array): number
  leaveOldRoot(): number
  /** setgroups(2) to none. */
  setgroups(): number
  /** setgid(2), then setuid(2), for the whole process; -1: unchanged. */
  setuidgid(uid: number, gid: number): number
  /** sethostname(2), of this thread's uts namespace. */
  setHostname(name: string): number
  /** setsid(2). */
  setsid(): number
  /** dup2(from, to). */
  dup2(from: number, to: number): number
  /** Unlocks a pseudo-terminal and opens its other end (TIOCGPTPEER), whatever /dev/pts holds. */
  terminalPeer(master: number): number
  /** TIOCSWINSZ. */
  setTerminalSize(fd: number, rows: number, columns: number): number
  /** cfmakeraw(3) on a terminal, or (0) what it was before that. Node's own raw mode still turns \n into \r\n. */
  rawMode(fd: number, isRaw: number): number
  /**
   * Starts a program in a session of its own: on our standard streams, or (`terminal` >= 0) with that as
   * controlling terminal and standard streams; with these ids, and signals as a new process has them; looked
   * for in the PATH of `env`. `argv` and `env` are strings that each end in NUL, `groups` are gids of 32 bits.
   * Returns its pid, or -errno of what failed before it ran.
   */
  spawnProgram(
    terminal: number,
    argv: Uint8Array,
    env: Uint8Array,
    cwd: Uint8Array,
    uid: number,
    gid: number,
    groups: Uint8Array,
  ): number
  /** execve(2) with our standard streams; strings as for spawnProgram(), the first one a path. Returns -errno or never. */
  execProgram(argv: Uint8Array, env: Uint8Array): number
  /**
   * waitpid(2) for every child that has ended, without waiting: nobody else's may be among them (libuv's).
   * Returns the exit status of `pid`, 128 + N after signal N; -EAGAIN while it runs.
   */
  reapChildren(pid: number): number
  /**
   * Numbers of the kernel ABI header, for the test that compares them with src/fuse/abi.ts. Keys:
   * 'FUSE_LOOKUP', 'FUSE_PASSTHROUGH' (INIT flags with their 64-bit values), 'sizeof NAME',
   * 'NAME.field' (offset), 'arena.NAME' for vfs/arena.ts, 'union.NAME' and 'index.NAME' for what
   * native/at-once.cc knows of those.
   */
  abiTable(): Record<string, number>
  /** prctl(PR_SET_NAME). */
  setThreadName(name: string): number
  /** sched_setaffinity of this thread to one CPU; -1: to all. */
  pinToCpu(cpu: number): number
  /**
   * Lets this thread step back to SCHED_IDLE, so that whom it wakes may run on its CPU; and with `cpu`
   * >= 0 pins it to that. Ended by stepForward(), and by itself when the thread is kept from running or
   * has nothing to do. Costs next to nothing where it is so already. -EAGAIN after it was kept from
   * running a short time ago; -EPERM when this process could not come back. See native/place.cc, which does it
   * by itself for watchRingCallers() and watchDeviceCallers(); this and the next two are for tests.
   */
  stepBack(cpu: number): number
  /** Ends stepBack() within some milliseconds, and lets the thread run on all CPUs if it was pinned by that. */
  stepForward(): number
  /** Returns the CPU that a thread of any process runs on, or ran on last; -ESRCH. */
  cpuOf(thread: number): number
  /**
   * For a worker on a ring, which is pinned to a CPU: it steps back when one caller comes in turns to it and to
   * another ring, which is to say, when callers are moved from CPU to CPU. `last`: four bytes that all rings of
   * the mount share, kept alive by the caller. Ends with the transport.
   */
  watchRingCallers(last: Uint8Array, worker: number): number
  /** For the one worker on the device: it goes where the caller is that sends most requests. Ends with the transport. */
  watchDeviceCallers(): number
  /** For tests: a request of thread `pid` comes. Returns 1 when the worker steps back now, or follows, else 0. */
  noteCaller(pid: number): number
  /**
   * From here on memory of 64 KiB and more is always mapped for itself: it costs pages only where it is
   * touched, and goes back when it is freed. For processes that have many mounts. -ENOSYS where malloc
   * has no such switch.
   */
  mapBigBlocks(): number
  /** Raises RLIMIT_NOFILE's soft limit to the hard one; returns the limit. */
  raiseFileLimit(): number
  /** For tests: 1 makes this process do without openat2, fchmodat2 and getxattrat & co.; 0 ends that. */
  limitKernelCalls(isLimited: number): number
}

/** Must equal MICA_NATIVE_ABI in native/abi.h. */
export const NATIVE_ABI = 1

/** Finds the addon beside the compiled or the source tree. */
function addonPath(): string {
  let dir = dirname(fileURLToPath(import.meta.url))
  for (let up = 0; up < 6; up++) {
    const candidate = join(dir, 'build', 'Release', 'mica.node')
    if (existsSync(candidate)) return candidate
    dir = dirname(dir)
  }
  throw new Error('the native addon is missing: run `npm run build`')
}

function load(): Native {
  const addon = createRequire(import.meta.url)(addonPath()) as Native
  if (addon.abi !== NATIVE_ABI) {
    throw new Error(`the native addon has ABI ${addon.abi}, ${NATIVE_ABI} is needed: run \`npm run build\``)
  }
  return addon
}

/** The addon's functions. */
export const native: Native = load()
