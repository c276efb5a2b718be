// Looking at things by (directory fd, name): attributes, link targets, records, file systems.
// Never follows a symbolic link in the last component.

#include "abi.h"
#include "calls.h"
#include "sys.h"
#include <sys/stat.h>
#include <sys/vfs.h>

static const unsigned STAT_MASK = STATX_BASIC_STATS | STATX_BTIME;

/** As the kernel's new_encode_dev(): what fuse_attr.rdev and mknod(2) carry. */
static uint32_t encodeDevice(uint32_t major, uint32_t minor) {
  return (minor & 0xff) | (major << 8) | ((minor & ~0xffu) << 12);
}

static void fill(Stat *out, const struct statx &from) {
  out->ino = from.stx_ino;
  out->size = from.stx_size;
  out->blocks = from.stx_blocks;
  out->atime = static_cast<uint64_t>(from.stx_atime.tv_sec);
  out->mtime = static_cast<uint64_t>(from.stx_mtime.tv_sec);
  out->ctime = static_cast<uint64_t>(from.stx_ctime.tv_sec);
  out->atimeNs = from.stx_atime.tv_nsec;
  out->mtimeNs = from.stx_mtime.tv_nsec;
  out->ctimeNs = from.stx_ctime.tv_nsec;
  out->mode = from.stx_mode;
  out->nlink = from.stx_nlink;
  out->uid = from.stx_uid;
  out->gid = from.stx_gid;
  out->rdev = encodeDevice(from.stx_rdev_major, from.stx_rdev_minor);
  out->blksize = from.stx_blksize;
  out->flags = 0;
  out->dev = encodeDevice(from.stx_dev_major, from.stx_dev_minor);
  bool hasBirth = from.stx_mask & STATX_BTIME;
  out->btime = hasBirth ? static_cast<uint64_t>(from.stx_btime.tv_sec) : 0;
  out->btimeNs = hasBirth ? from.stx_btime.tv_nsec : 0;
  out->attributes = static_cast<uint32_t>(from.stx_attributes);
  out->spare = 0;
}

static int64_t look(int fd, const char *name, int flags, Stat *out) {
  struct statx found;
  int64_t result = retry([&] { return statx(fd, name, AT_SYMLINK_NOFOLLOW | flags, STAT_MASK, &found); });
  if (result == 0) fill(out, found);
  return result;
}

int64_t statAt(int32_t fd, Path path, Out<Stat> out) {
  return look(fd, path.text, path.isSelf ? AT_EMPTY_PATH : 0, out.at);
}

int64_t statMany(int32_t fd, int32_t list, int32_t count) {
  if (count < 0 || list < 0 || list % 4 != 0) return -EINVAL;
  auto *words = reinterpret_cast<int32_t *>(At{static_cast<uint32_t>(list)}.take(uint64_t(count) * 8));
  if (!words) return -EFAULT;
  for (int32_t i = 0; i < count; i++, words += 2) {
    uint8_t *name = At{static_cast<uint32_t>(words[0])}.take(256);
    auto *out = reinterpret_cast<Stat *>(At{static_cast<uint32_t>(words[1])}.take(sizeof(Stat)));
    if (!name || !out || words[1] % 8 != 0 || !memchr(name, 0, 256)) return -EFAULT;
    words[0] = static_cast<int32_t>(look(fd, reinterpret_cast<const char *>(name), 0, out));
  }
  return 0;
}

static bool isAbsent(int64_t result) {
  return result == -ENOENT || result == -ENOTDIR || result == -ENAMETOOLONG;
}

/** Whether `.wh.NAME` is in the directory: 1, 0, or -errno. */
static int64_t hasDotWhiteout(int fd, const char *name) {
  char marker[5 + 255];
  size_t length = strnlen(name, 256);
  if (length > 251) return 0;
  memcpy(marker, ".wh.", 4);
  memcpy(marker + 4, name, length + 1);
  struct statx found;
  int64_t result = retry([&] { return statx(fd, marker, AT_SYMLINK_NOFOLLOW, STATX_TYPE, &found); });
  if (result == 0) return 1;
  return isAbsent(result) ? 0 : result;
}

int64_t statLayers(int32_t fds, int32_t count, int32_t from, Path path, int32_t dotWhiteouts, Out<Stat> out) {
  if (count < 0 || from < 0 || fds < 0 || fds % 4 != 0) return -EINVAL;
  auto *table = reinterpret_cast<const int32_t *>(At{static_cast<uint32_t>(fds)}.take(uint64_t(count) * 4));
  if (!table || path.isSelf) return -EFAULT;
  for (int32_t i = from; i < count; i++) {
    if (table[i] < 0) continue;
    int64_t result = look(table[i], path.text, 0, out.at);
    if (result == 0) return i;
    if (!isAbsent(result)) return result;
    if (dotWhiteouts != 0 && i + 1 < count) {
      int64_t marked = hasDotWhiteout(table[i], path.text);
      if (marked < 0) return marked;
      if (marked > 0) return -ENOENT;
    }
  }
  return -ENOENT;
}

int64_t readlinkAt(int32_t fd, Path path, At out, uint32_t capacity) {
  uint8_t *to = out.take(capacity);
  if (!to) return -EFAULT;
  return retry([&] { return readlinkat(fd, path.text, reinterpret_cast<char *>(to), capacity); });
}

int64_t getdents(int32_t fd, At out, uint32_t capacity) {
  uint8_t *to = out.take(capacity);
  if (!to) return -EFAULT;
  return retry([&] { return syscall(SYS_getdents64, fd, to, capacity); });
}

int64_t lseekFd(int32_t fd, int64_t offset, int32_t whence) {
  return retry([&] { return lseek64(fd, offset, whence); });
}

int64_t fstatfsFd(int32_t fd, At out) {
  uint8_t *to = out.take(sizeof(fuse_kstatfs));
  if (!to) return -EFAULT;
  struct statfs64 found;
  int64_t result = retry([&] { return fstatfs64(fd, &found); });
  if (result < 0) return result;
  fuse_kstatfs answer{};
  answer.blocks = found.f_blocks;
  answer.bfree = found.f_bfree;
  answer.bavail = found.f_bavail;
  answer.files = found.f_files;
  answer.ffree = found.f_ffree;
  answer.bsize = static_cast<uint32_t>(found.f_bsize);
  answer.namelen = static_cast<uint32_t>(found.f_namelen);
  answer.frsize = static_cast<uint32_t>(found.f_frsize);
  memcpy(to, &answer, sizeof answer);
  return 0;
}

int64_t fsType(int32_t fd) {
  struct statfs64 found;
  int64_t result = retry([&] { return fstatfs64(fd, &found); });
  return result < 0 ? result : static_cast<int64_t>(static_cast<uint32_t>(found.f_type));
}
