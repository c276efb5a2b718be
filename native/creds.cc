// Ids and umask of one thread. The kernel does the rest (setgid directories, default ACLs,
// quota) by itself when a file is made with the caller's ids, so we make it with these ids
// instead of changing owners afterwards.
//
// setfsuid(2) and setfsgid(2) are per thread when called raw; glibc's wrappers are too. Leaving
// fsuid 0 drops the file capabilities from the effective set: they are put back, because the
// permission to make the file was decided above us. umask(2) is per thread after
// unshare(CLONE_FS). Rule: outside a Making the thread's fs ids are its own.

#include "creds.h"
#include "sys.h"
#include <linux/capability.h>
#include <sched.h>
#include <sys/stat.h>
#include <sys/xattr.h>

static uid_t setFsUid(uid_t uid) { return static_cast<uid_t>(syscall(SYS_setfsuid, uid)); }
static gid_t setFsGid(gid_t gid) { return static_cast<gid_t>(syscall(SYS_setfsgid, gid)); }

static bool getCaps(__user_cap_data_struct *caps) {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  return syscall(SYS_capget, &header, caps) == 0;
}

static void setCaps(const __user_cap_data_struct *caps) {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  (void)syscall(SYS_capset, &header, caps);
}

/** The process's umask without changing it; 077 when /proc does not tell (then we chmod more). */
static mode_t readUmask() {
  OwnedFd fd(open("/proc/thread-self/status", O_RDONLY | O_CLOEXEC));
  char text[4096];
  ssize_t length = fd.isOpen() ? read(fd.get(), text, sizeof text - 1) : 0;
  text[length > 0 ? length : 0] = 0;
  const char *line = strstr(text, "Umask:");
  unsigned value;
  return line && sscanf(line, "Umask: %o", &value) == 1 ? value & 0777 : 0777;
}

void initCreds() {
  Creds &creds = tls.creds;
  bool wasPrivate = creds.isUmaskPrivate;
  creds.uid = creds.mappedUid = setFsUid(static_cast<uid_t>(-1));
  creds.gid = creds.mappedGid = setFsGid(static_cast<gid_t>(-1));
  creds.hasCaps = getCaps(creds.caps);
  const uint32_t needed = 1u << CAP_SETUID | 1u << CAP_SETGID;
  creds.canSwitch = creds.hasCaps && (creds.caps[0].effective & needed) == needed;
  creds.isUmaskPrivate = wasPrivate || unshare(CLONE_FS) == 0;
  creds.umask = readUmask();
}

WithoutFsetid::WithoutFsetid(bool isWanted) {
  if (!isWanted) return;
  const Creds &creds = tls.creds;
  const uint32_t bit = 1u << CAP_FSETID;
  if (!creds.hasCaps || !(creds.caps[0].effective & bit)) return;
  __user_cap_data_struct less[2];
  memcpy(less, creds.caps, sizeof less);
  less[0].effective &= ~bit;
  setCaps(less);
  wasTaken_ = true;
}

WithoutFsetid::~WithoutFsetid() {
  if (wasTaken_) setCaps(tls.creds.caps);
}

/** Where a directory has a default ACL the umask does not count. */
static bool hasDefaultAcl(int dir) {
  ProcPath self(dir);
  return getxattr(self.text, "system.posix_acl_default", nullptr, 0) > 0;
}

Making::Making(int dir, int32_t mode, int32_t uid, int32_t gid, int32_t umask)
    : uid_(static_cast<uid_t>(uid)), gid_(static_cast<gid_t>(gid)), mode_(static_cast<mode_t>(mode)), parent_(dir) {
  Creds &creds = tls.creds;
  mode_t mask = static_cast<mode_t>(umask) & 0777;
  if (mask != creds.umask) {
    if (creds.isUmaskPrivate) {
      ::umask(mask);
      creds.umask = mask;
    } else if (!hasDefaultAcl(dir)) {
      mode_ &= ~mask;
      mustChmod_ = (mode_ & creds.umask) != 0;
    }
  }
  if (uid == -1) uid_ = creds.uid;
  if (gid == -1) gid_ = creds.gid;
  if (uid_ != creds.uid || gid_ != creds.gid) switchIds();
}

void Making::switchIds() {
  Creds &creds = tls.creds;
  if (!creds.canSwitch) {
    mustChown_ = true;
    return;
  }
  isForeign_ = true;
  if (gid_ != creds.gid) setFsGid(gid_);
  if (uid_ != creds.uid) setFsUid(uid_);
  if (uid_ != creds.mappedUid || gid_ != creds.mappedGid) {
    // Both calls fail silently; an id without a mapping in our user namespace is one reason.
    if (setFsUid(static_cast<uid_t>(-1)) != uid_ || setFsGid(static_cast<gid_t>(-1)) != gid_) {
      restoreIds();
      mustChown_ = true;
      return;
    }
    creds.mappedUid = uid_;
    creds.mappedGid = gid_;
  }
  if (uid_ != creds.uid) setCaps(creds.caps);
}

void Making::restoreIds() {
  if (!isForeign_) return;
  Creds &creds = tls.creds;
  if (uid_ != creds.uid) {
    setFsUid(creds.uid);
    // Going back to 0 raises the file capabilities by itself; leaving 0 drops them.
    if (creds.uid != 0) setCaps(creds.caps);
  }
  if (gid_ != creds.gid) setFsGid(creds.gid);
  isForeign_ = false;
}

Making::~Making() { restoreIds(); }

int64_t Making::settle(int dir, const char *name, bool isSymlink) {
  if (!mustChown_ && !mustChmod_) return 0;
  int64_t result = 0;
  int flags = AT_SYMLINK_NOFOLLOW | (name ? 0 : AT_EMPTY_PATH);
  const char *path = name ? name : "";
  if (mustChown_) {
    struct stat parent;
    bool isGroupInherited = fstat(parent_, &parent) == 0 && (parent.st_mode & S_ISGID);
    gid_t gid = isGroupInherited ? static_cast<gid_t>(-1) : gid_;
    result = retry([&] { return fchownat(dir, path, uid_, gid, flags); });
    // EINVAL: the id has no mapping here. Both mean "made as ourselves", which is all we can do.
    if (result == -EPERM || result == -EINVAL) result = 0;
    else if (result == 0 && (mode_ & (S_ISUID | S_ISGID))) mustChmod_ = true;
  }
  if (result == 0 && mustChmod_ && !isSymlink) {
    result = name ? retry([&] { return fchmodat(dir, name, mode_ & 07777, 0); })
                  : retry([&] { return fchmod(dir, mode_ & 07777); });
  }
  return result;
}
