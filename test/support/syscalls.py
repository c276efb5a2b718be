"""Runs system calls for the mount tests, one request at a time, and never dies of an errno.

Each line of stdin is a JSON array [timeout_s, name, ...args]; each line of stdout the answer:
{"ok": value} or {"errno": "ENOENT"} or {"fault": traceback}. A name is one of the functions
below marked @op, or else a function of module os. File descriptors are this process's own and
stay open between requests. Bytes travel as text with surrogate escapes (b'\\xff' is U+DCFF).
A call that takes longer than its timeout ends the process by SIGALRM, also inside a hung mount.
usage: syscalls.py [UID GID]
"""
import ctypes
import errno
import fcntl
import hashlib
import io
import json
import mmap
import os
import select
import signal
import socket
import stat
import struct
import sys
import time
import traceback

libc = ctypes.CDLL(None, use_errno=True)
OPS = {}
MAPS = {}
DIRS = {}
AT_FDCWD, AT_EMPTY_PATH, AT_SYMLINK_FOLLOW, AT_SYMLINK_NOFOLLOW = -100, 0x1000, 0x400, 0x100
FS_IOC_GETFLAGS, FS_IOC_SETFLAGS = 0x80086601, 0x40086602


def op(function):
    OPS[function.__name__] = function
    return function


def raw(text):
    return text.encode('utf-8', 'surrogateescape') if isinstance(text, str) else text


def text(data):
    return data.decode('utf-8', 'surrogateescape')


def checked(result):
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def describe(st):
    return {
        'type': kind(st.st_mode), 'mode': st.st_mode & 0o7777, 'uid': st.st_uid, 'gid': st.st_gid,
        'nlink': st.st_nlink, 'size': st.st_size, 'blocks': st.st_blocks,
        'rdev': [os.major(st.st_rdev), os.minor(st.st_rdev)], 'dev': str(st.st_dev), 'ino': str(st.st_ino),
        'atime': str(st.st_atime_ns), 'mtime': str(st.st_mtime_ns), 'ctime': str(st.st_ctime_ns),
    }


KINDS = {stat.S_IFREG: 'file', stat.S_IFDIR: 'dir', stat.S_IFLNK: 'symlink', stat.S_IFIFO: 'fifo',
         stat.S_IFSOCK: 'socket', stat.S_IFCHR: 'char', stat.S_IFBLK: 'block'}


def kind(mode):
    return KINDS[stat.S_IFMT(mode)]


# --- calls that os has, with arguments or results put into JSON's terms

@op
def open(path, flags, mode=0o666, dir_fd=None):
    return os.open(raw(path), flags, mode, dir_fd=dir_fd)


@op
def lstat(path):
    return describe(os.lstat(raw(path)))


@op
def stat_(path):
    return describe(os.stat(raw(path)))


@op
def fstat(fd):
    return describe(os.fstat(fd))


@op
def pwrite(fd, data, offset):
    return os.pwrite(fd, raw(data), offset)


@op
def write(fd, data):
    return os.write(fd, raw(data))


@op
def utimens(path, atime, mtime, follow=True):
    os.utime(raw(path), ns=(int(atime), int(mtime)), follow_symlinks=follow)


@op
def futimens(fd, atime, mtime):
    os.utime(fd, ns=(int(atime), int(mtime)))


@op
def setxattr(path, name, value, flags=0, follow=True):
    os.setxattr(raw(path), raw(name), raw(value), flags, follow_symlinks=follow)


@op
def getxattr(path, name, follow=True):
    return text(os.getxattr(raw(path), raw(name), follow_symlinks=follow))


@op
def getxattr_sized(path, name, size):
    """The result of getxattr(2) with a buffer of `size` bytes: a length."""
    buffer = ctypes.create_string_buffer(max(size, 1))
    return checked(libc.getxattr(raw(path), raw(name), buffer if size else None, ctypes.c_size_t(size)))


@op
def listxattr_sized(path, size):
    buffer = ctypes.create_string_buffer(max(size, 1))
    return checked(libc.listxattr(raw(path), buffer if size else None, ctypes.c_size_t(size)))


@op
def listxattr(path, follow=True):
    # os.listxattr grows its buffer by itself.
    return sorted(os.listxattr(raw(path), follow_symlinks=follow))


@op
def listdir(path):
    return sorted(text(name) for name in os.listdir(raw(path)))


@op
def mknod(path, mode, major=0, minor=0):
    os.mknod(raw(path), mode, os.makedev(major, minor))


@op
def statvfs(path):
    v = os.statvfs(raw(path))
    return {'bsize': v.f_bsize, 'blocks': v.f_blocks, 'bfree': v.f_bfree, 'files': v.f_files, 'namemax': v.f_namemax,
            'flag': v.f_flag}


@op
def copy_file_range(source, target, length, source_offset, target_offset):
    return os.copy_file_range(source, target, length, source_offset, target_offset)


@op
def listen_socket(path):
    """Leaves a socket node at path (bound relative to its folder: sun_path is short)."""
    cwd = os.getcwd()
    os.chdir(os.path.dirname(path))
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(os.path.basename(path))
    os.chdir(cwd)


@op
def reset(root):
    """Closes what requests opened and restores umask and cwd: the next test starts clean."""
    for m in list(MAPS.values()):
        m.close()
    MAPS.clear()
    for d in list(DIRS.values()):
        libc.closedir(ctypes.c_void_p(d))
    DIRS.clear()
    os.closerange(3, 200)
    os.umask(0o022)
    os.chdir(root)


# --- calls that os has not

@op
def renameat2(source, target, flags=0):
    checked(libc.renameat2(AT_FDCWD, raw(source), AT_FDCWD, raw(target), flags))


@op
def linkat_fd(fd, path):
    """Gives an open file a name the way open(2) tells for O_TMPFILE."""
    checked(libc.linkat(AT_FDCWD, b'/proc/self/fd/%d' % fd, AT_FDCWD, raw(path), AT_SYMLINK_FOLLOW))


@op
def fallocate(fd, mode, offset, length):
    call = libc.fallocate
    call.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
    checked(call(fd, mode, offset, length))


@op
def lseek(fd, offset, whence=0):
    return os.lseek(fd, offset, whence)


@op
def getflags(fd):
    buffer = ctypes.c_long(0)
    checked(libc.ioctl(fd, ctypes.c_ulong(FS_IOC_GETFLAGS), ctypes.byref(buffer)))
    return buffer.value & 0xffffffff


@op
def setflags(fd, flags):
    buffer = ctypes.c_long(flags)
    checked(libc.ioctl(fd, ctypes.c_ulong(FS_IOC_SETFLAGS), ctypes.byref(buffer)))


@op
def ioctl(fd, command):
    buffer = ctypes.create_string_buffer(4096)
    return checked(libc.ioctl(fd, ctypes.c_ulong(command), buffer))


@op
def syncfs(fd):
    checked(libc.syncfs(fd))


@op
def flock(fd, how):
    fcntl.flock(fd, how)


@op
def lock(fd, kind_name, is_ofd=False):
    """A whole-file record lock without waiting; kind_name is 'read', 'write' or 'none'."""
    kinds = {'read': fcntl.F_RDLCK, 'write': fcntl.F_WRLCK, 'none': fcntl.F_UNLCK}
    request = struct.pack('hhqqi4x', kinds[kind_name], os.SEEK_SET, 0, 0, 0)
    fcntl.fcntl(fd, 37 if is_ofd else fcntl.F_SETLK, request)


@op
def setfl(fd, flags):
    fcntl.fcntl(fd, fcntl.F_SETFL, flags)


@op
def getfl(fd):
    return fcntl.fcntl(fd, fcntl.F_GETFL)


@op
def setfsuid(uid, gid):
    libc.setfsgid(gid)
    libc.setfsuid(uid)


@op
def direct_write(fd, size, offset, fill):
    buffer = mmap.mmap(-1, size)
    buffer.write(raw(fill) * size)
    return os.pwritev(fd, [buffer], offset)


@op
def direct_read(fd, size, offset):
    buffer = mmap.mmap(-1, size)
    count = os.preadv(fd, [buffer], offset)
    return text(buffer[:count])


@op
def map(fd, length, how):
    """Maps a file: 'shared-read', 'shared-write' or 'private'. Returns a number for the other map_ calls."""
    flags = mmap.MAP_PRIVATE if how == 'private' else mmap.MAP_SHARED
    prot = mmap.PROT_READ if how == 'shared-read' else mmap.PROT_READ | mmap.PROT_WRITE
    number = max(MAPS, default=0) + 1
    MAPS[number] = mmap.mmap(fd, length, flags=flags, prot=prot)
    return number


@op
def map_read(number, offset, length):
    return text(MAPS[number][offset:offset + length])


@op
def map_write(number, offset, data):
    MAPS[number][offset:offset + len(data)] = raw(data)


@op
def map_sync(number):
    MAPS[number].flush()


@op
def map_exec(path):
    """Maps a file privately with PROT_EXEC, as a loader does, and returns its first bytes."""
    fd = os.open(raw(path), os.O_RDONLY)
    m = mmap.mmap(fd, 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_EXEC)
    os.close(fd)
    data = text(m[:8])
    m.close()
    return data


@op
def run(argv):
    """Runs a program to its end and returns its exit status (127: it could not be executed)."""
    pid = os.fork()
    if pid == 0:
        null = os.open('/dev/null', os.O_RDWR)
        for fd in (0, 1, 2):
            os.dup2(null, fd)
        try:
            os.execv(argv[0], argv)
        finally:
            os._exit(127)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@op
def spawn(argv):
    pid = os.posix_spawn(argv[0], argv, {})
    deadline = time.monotonic() + 5
    while os.readlink('/proc/%d/exe' % pid) != os.path.realpath(argv[0]) and time.monotonic() < deadline:
        time.sleep(0.001)
    return pid


@op
def end(pid):
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


@op
def inotify(path, mask):
    fd = checked(libc.inotify_init1(os.O_NONBLOCK))
    checked(libc.inotify_add_watch(fd, raw(path), mask))
    return fd


@op
def inotify_events(fd, wait_s=1.0):
    """The union of the masks of all events that came."""
    total = 0
    if select.select([fd], [], [], wait_s)[0]:
        data = os.read(fd, 65536)
        at = 0
        while at < len(data):
            _, mask, _, size = struct.unpack_from('iIII', data, at)
            total |= mask
            at += 16 + size
    return total


# --- directories, by getdents64 and by the C library's seekdir and telldir

@op
def getdents(path):
    """Every entry of a directory as [name, ino, type], '.' and '..' included, in the order given."""
    fd = os.open(raw(path), os.O_RDONLY | os.O_DIRECTORY)
    try:
        return getdents_fd(fd)
    finally:
        os.close(fd)


@op
def getdents_fd(fd, size=32768, once=False):
    types = {0: 'unknown', 1: 'fifo', 2: 'char', 4: 'dir', 6: 'block', 8: 'file', 10: 'symlink', 12: 'socket'}
    found = []
    buffer = ctypes.create_string_buffer(size)
    while True:
        count = checked(libc.syscall(217, fd, buffer, size))
        if count == 0:
            return found
        at = 0
        while at < count:
            ino, _, length, dtype = struct.unpack_from('QqHB', buffer, at)
            name = buffer.raw[at + 19:at + length].split(b'\0', 1)[0]
            found.append([text(name), str(ino), types.get(dtype, str(dtype))])
            at += length
        if once:
            return found


class Dirent(ctypes.Structure):
    _fields_ = [('ino', ctypes.c_uint64), ('off', ctypes.c_int64), ('length', ctypes.c_ushort),
                ('type', ctypes.c_ubyte), ('name', ctypes.c_char * 256)]


libc.opendir.restype = ctypes.c_void_p
libc.readdir.restype = ctypes.POINTER(Dirent)
libc.telldir.restype = ctypes.c_long


@op
def opendir(path):
    stream = libc.opendir(raw(path))
    checked(0 if stream else -1)
    number = max(DIRS, default=0) + 1
    DIRS[number] = stream
    return number


@op
def readdir(number, count=1):
    """Up to `count` further names."""
    names = []
    while len(names) < count:
        entry = libc.readdir(ctypes.c_void_p(DIRS[number]))
        if not entry:
            break
        names.append(text(entry.contents.name))
    return names


@op
def telldir(number):
    return libc.telldir(ctypes.c_void_p(DIRS[number]))


@op
def seekdir(number, place):
    libc.seekdir(ctypes.c_void_p(DIRS[number]), ctypes.c_long(place))


@op
def rewinddir(number):
    libc.rewinddir(ctypes.c_void_p(DIRS[number]))


@op
def scan_and_remove(path):
    """Unlinks each entry as readdir gives it; returns the names seen."""
    stream = libc.opendir(raw(path))
    checked(0 if stream else -1)
    seen = []
    while True:
        entry = libc.readdir(ctypes.c_void_p(stream))
        if not entry:
            break
        name = entry.contents.name
        if name not in (b'.', b'..'):
            seen.append(text(name))
            os.unlink(raw(path) + b'/' + name)
    libc.closedir(ctypes.c_void_p(stream))
    return seen


# --- loops that watch for an instant, and work that another process does meanwhile

@op
def watch_file(path, stop_path, forbidden):
    """Opens and reads `path` until `stop_path` exists; returns how often the content was `forbidden`."""
    found = rounds = 0
    while not os.path.exists(stop_path):
        rounds += 1
        try:
            fd = os.open(raw(path), os.O_RDONLY)
        except FileNotFoundError:
            continue
        try:
            data = os.read(fd, 4096)
        finally:
            os.close(fd)
        found += data == raw(forbidden)
    return [found, rounds]


@op
def watch_whole(path, stop_path):
    """Reads `path` until `stop_path` exists; returns the distinct sets of byte values and sizes seen."""
    seen = set()
    while True:
        is_last = os.path.exists(stop_path)
        with io_open(path) as f:
            data = f.read()
        seen.add('%d:%s' % (len(data), ''.join(sorted({chr(b) for b in data}))))
        if is_last:
            return sorted(seen)


def io_open(path):
    return io.open(raw(path), 'rb', buffering=0)


@op
def wait_for(path):
    while not os.path.exists(path):
        time.sleep(0.0005)


@op
def open_when(go_path, path, flags):
    """Waits for go_path to appear, then opens: two processes start at one instant."""
    while not os.path.exists(go_path):
        pass
    return os.open(raw(path), flags)


@op
def append_lines(fd, tag, count):
    for i in range(count):
        os.write(fd, b'%s%04d\n' % (raw(tag), i))


@op
def churn(path):
    """Creates, renames, copies up and deletes without end: until the mount is gone."""
    # Relative to its own fd of the directory: what is mounted there later is not meant.
    top = os.open(raw(path), os.O_RDONLY | os.O_DIRECTORY)
    for i in range(1 << 30):
        for name in ('f%d' % (i % 60), 'new%d' % (i % 7)):
            fd = os.open(name, os.O_WRONLY | os.O_CREAT, 0o644, dir_fd=top)
            os.write(fd, b'churned')
            os.close(fd)
        os.rename('f%d' % (i % 60), 'moved%d' % (i % 5), src_dir_fd=top, dst_dir_fd=top)
        if i % 3 == 0:
            os.unlink('moved%d' % (i % 5), dir_fd=top)


# --- trees

def write_content(path, node):
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    for offset, data in node.get('parts') or []:
        os.pwrite(fd, raw(data), offset)
    if node.get('repeat'):
        unit, count = node['repeat']
        block = raw(unit) * 65536
        left = len(raw(unit)) * count
        while left > 0:
            left -= os.write(fd, block[:left])
    if node.get('size') is not None:
        os.ftruncate(fd, node['size'])
    os.close(fd)


def build_node(path, node, links, top):
    what = node['kind']
    if node.get('isTop'):
        top = path
    if what == 'dir':
        if not os.path.isdir(path):
            os.mkdir(path)
        for name, child in node['entries'].items():
            build_node(path + b'/' + raw(name), child, links, top)
    elif what == 'file':
        write_content(path, node)
    elif what == 'copy':
        import shutil
        shutil.copyfile(node['from'], path)
    elif what == 'symlink':
        os.symlink(raw(node['target']), path)
    elif what == 'socket':
        listen_socket(path)
    elif what == 'link':
        links.append((path, top + b'/' + raw(node['target'])))
        return
    else:
        bits = {'fifo': stat.S_IFIFO, 'char': stat.S_IFCHR, 'block': stat.S_IFBLK}[what]
        os.mknod(path, bits | 0o600, os.makedev(*node.get('rdev', [0, 0])))
    finish_node(path, node)


def finish_node(path, node):
    os.chown(path, node['uid'], node['gid'], follow_symlinks=False)
    if node['kind'] != 'symlink':
        os.chmod(path, node['mode'])
    for name, value in node.get('xattrs', {}).items():
        os.setxattr(path, raw(name), raw(value), follow_symlinks=False)


def settle_times(path, node):
    if node['kind'] == 'dir':
        for name, child in node['entries'].items():
            settle_times(path + b'/' + raw(name), child)
    if node['kind'] != 'link':
        os.utime(path, ns=(int(node['atime']), int(node['mtime'])), follow_symlinks=False)


@op
def build(path, tree):
    """Makes a tree (see tree.ts). A link's target is relative to the nearest isTop above it."""
    links = []
    build_node(raw(path), tree, links, raw(path))
    for name, target in links:
        os.link(target, name, follow_symlinks=False)
    settle_times(raw(path), tree)


def digest(path):
    # O_NOATIME: looking must not change what is looked at.
    h = hashlib.sha256()
    with io.open(os.open(path, os.O_RDONLY | os.O_NOATIME), 'rb', buffering=0) as f:
        while block := f.read(1 << 20):
            h.update(block)
    return h.hexdigest()[:16]


def xattrs_of(path):
    try:
        names = os.listxattr(path, follow_symlinks=False)
    except OSError:
        return {}
    result = {}
    for name in sorted(names):
        try:
            result[name] = os.getxattr(path, name, follow_symlinks=False).hex()
        except OSError as error:
            result[name] = errno.errorcode[error.errno]
    return result


def digest_of_names(folder, names):
    h = hashlib.sha256()
    for name in names:
        st = os.lstat(folder + b'/' + name)
        h.update(b'%s %d %d %d %d\n' % (name, st.st_mode, st.st_size, st.st_mtime_ns, st.st_ctime_ns))
    return h.hexdigest()[:16]


@op
def snapshot(path, fields=None):
    """Every path below `path` ('.' is itself) with what lstat, xattrs and the content say; atime never.
    `fields` narrows what is recorded; a directory of more than 10,000 names is one digest. Hard links name the first path of their group."""
    top = raw(path)
    groups = {}
    result = {}

    def visit(full, name):
        st = os.lstat(full)
        record = describe(st)
        for key in ('atime', 'dev', 'blocks'):
            del record[key]
        if record['type'] == 'dir':
            del record['nlink'], record['size']
        if record['type'] == 'file' and st.st_size <= 1 << 28:
            record['content'] = digest(full)
        if record['type'] == 'symlink':
            record['target'] = text(os.readlink(full))
        if record['type'] not in ('char', 'block'):
            del record['rdev']
        record['xattrs'] = xattrs_of(full)
        if record['type'] != 'dir' and st.st_nlink > 1:
            record['group'] = groups.setdefault((st.st_dev, st.st_ino), name)
        result[name] = record if fields is None else {k: v for k, v in record.items() if k in fields}
        if record['type'] == 'dir':
            children = sorted(os.listdir(full))
            if len(children) > 10000:
                result[name]['many'] = digest_of_names(full, children)
                return
            for child in children:
                visit(full + b'/' + child, text(child) if name == '.' else name + '/' + text(child))

    visit(top, '.')
    return result


@op
def walk(path):
    """All paths below `path` with their type letter: cheap to compare by eye."""
    found = []
    for folder, dirs, files in os.walk(raw(path)):
        dirs.sort()
        for name in sorted(dirs + files):
            full = folder + b'/' + name
            found.append(text(full[len(raw(path)) + 1:]) + {'dir': '/', 'symlink': '@', 'char': '%'}.get(
                kind(os.lstat(full).st_mode), ''))
    return sorted(found)


@op
def remove_tree(path):
    """rm -rf that also takes off immutable and append-only flags; never crosses into another file system."""
    device = os.lstat(path).st_dev

    def clear(full):
        try:
            fd = os.open(full, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
        except OSError:
            return
        try:
            setflags(fd, getflags(fd) & ~0x30)
        except OSError:
            pass
        finally:
            os.close(fd)

    def gone(action, full):
        try:
            action(full)
        except PermissionError:
            clear(full)
            clear(os.path.dirname(full))
            action(full)

    def visit(full):
        st = os.lstat(full)
        if st.st_dev != device:
            raise OSError(errno.EXDEV, 'a mount is left', text(full))
        if stat.S_ISDIR(st.st_mode):
            for child in os.listdir(full):
                visit(full + b'/' + child)
            gone(os.rmdir, full)
        else:
            gone(os.unlink, full)

    visit(raw(path))


@op
def many_files(path, count, prefix='f'):
    """Makes `count` names quickly: links of one empty file, 30,000 a time."""
    first = None
    for i in range(count):
        name = raw('%s/%s%06d' % (path, prefix, i))
        if i % 30000 == 0:
            os.close(os.open(name, os.O_WRONLY | os.O_CREAT, 0o644))
            first = name
        else:
            os.link(first, name)


@op
def timed_stat(path):
    """How many µs one lstat takes, with its errno or 'ok'."""
    start = time.perf_counter()
    try:
        os.lstat(raw(path))
        outcome = 'ok'
    except OSError as error:
        outcome = errno.errorcode[error.errno]
    return [(time.perf_counter() - start) * 1e6, outcome]


@op
def timed_opendir(path):
    start = time.perf_counter()
    os.close(os.open(raw(path), os.O_RDONLY | os.O_DIRECTORY))
    return (time.perf_counter() - start) * 1e6


@op
def timed_listdir(path):
    start = time.perf_counter()
    count = len(os.listdir(raw(path)))
    return [(time.perf_counter() - start) * 1e6, count]


@op
def mkdir(path, mode=0o777):
    os.mkdir(raw(path), mode)


def answer(timeout, name, args):
    signal.alarm(timeout)
    function = OPS.get(name) or getattr(os, name)
    args = [raw(a) if isinstance(a, str) and name not in OPS else a for a in args]
    value = function(*args)
    return text(value) if isinstance(value, bytes) else value


def main():
    if len(sys.argv) > 1:
        os.setgroups([])
        os.setgid(int(sys.argv[2]))
        os.setuid(int(sys.argv[1]))
    os.umask(0o022)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for line in sys.stdin:
        try:
            request = json.loads(line)
            reply = {'ok': answer(request[0], request[1], request[2:])}
        except OSError as error:
            code = 'EOPNOTSUPP' if error.errno == 95 else errno.errorcode.get(error.errno, str(error.errno))
            reply = {'errno': code, 'message': str(error)}
        except Exception:
            reply = {'fault': traceback.format_exc()}
        signal.alarm(0)
        sys.stdout.write(json.dumps(reply) + '\n')
        sys.stdout.flush()


main()
