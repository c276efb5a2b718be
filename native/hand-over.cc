// The way of a mount to a server (src/mount/server.ts) that was started before, which spares the start of
// a Node process.
//
// A server may act for a caller when nothing tells them apart that counts: the name of its socket is a
// hash of user, groups, capabilities, namespaces, root directory, systemd service, program and the
// environment that mounts depend on. While it runs its namespaces live, so their numbers belong to no
// others. A server of another user in a directory that others may write to is not believed.

#include "hand-over.h"
#include <cerrno>
#include <climits>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <linux/capability.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

extern char **environ;

/** A server that says nothing for so long is passed over. */
static const int TAKE_MS = 1000;
/** One that has taken a mount on may wait for slow disks. */
static const int MOUNT_MS = 60'000;

namespace {

class Key {
public:
  void add(const std::string &text) {
    for (unsigned char byte : text) step(byte);
    step(0);
  }
  void add(uint64_t number) { add(std::to_string(number)); }
  /** False when the link can't be read. */
  bool addLink(const char *path) {
    char text[256];
    ssize_t length = readlink(path, text, sizeof text);
    if (length <= 0) return false;
    add(std::string(text, static_cast<size_t>(length)));
    return true;
  }
  bool addFile(const char *path, bool withTime) {
    struct stat stat;
    if (::stat(path, &stat) != 0) return false;
    add(stat.st_dev);
    add(stat.st_ino);
    if (withTime) add(static_cast<uint64_t>(stat.st_mtim.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(stat.st_mtim.tv_nsec));
    return true;
  }
  std::string text() const {
    char text[32];
    snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(hash_));
    return text;
  }

private:
  // FNV-1a; it tells apart what is honest, and is no lock.
  void step(unsigned char byte) { hash_ = (hash_ ^ byte) * 0x100000001b3u; }
  uint64_t hash_ = 0xcbf29ce484222325u;
};

std::string readText(const char *path) {
  std::string text;
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return text;
  char part[4096];
  ssize_t count;
  while ((count = read(fd, part, sizeof part)) > 0) text.append(part, static_cast<size_t>(count));
  close(fd);
  return text;
}

/** The systemd service that we are a part of: its end takes all its processes along, so it shares none. */
std::string serviceOf(const std::string &cgroups) {
  size_t end = cgroups.rfind(".service");
  if (end == std::string::npos) return "";
  size_t start = cgroups.rfind('/', end);
  return cgroups.substr(start + 1, end - start - 1);
}

bool isInitialUserNamespace() {
  unsigned inside, outside, count;
  std::string map = readText("/proc/self/uid_map");
  return map.empty() || (sscanf(map.c_str(), "%u %u %u", &inside, &outside, &count) == 3 && inside == 0 &&
                         outside == 0 && count == UINT32_MAX);
}

std::string variable(const char *name) {
  const char *value = getenv(name);
  return value ? value : "";
}

/** As runtimeDir() of src/mount/runtime-dir.ts. */
std::string runtimeDir() {
  std::string forced = variable("MICA_RUNTIME_DIR"), xdg = variable("XDG_RUNTIME_DIR");
  if (!forced.empty()) return forced;
  if (geteuid() == 0 && (!getenv("XDG_RUNTIME_DIR") || isInitialUserNamespace())) return "/run/mica";
  if (!xdg.empty()) return xdg + "/mica";
  return "/tmp/mica-" + std::to_string(geteuid());
}

/** Whether nobody else can put a socket there. A directory that is not there yet is made by the first server. */
bool isOurs(const std::string &dir) {
  struct stat stat;
  if (lstat(dir.c_str(), &stat) != 0) return errno == ENOENT;
  return S_ISDIR(stat.st_mode) && stat.st_uid == geteuid() && (stat.st_mode & 022) == 0;
}

bool startsWith(const char *text, const char *start) { return strncmp(text, start, strlen(start)) == 0; }

struct sockaddr_un addressOf(const std::string &path) {
  struct sockaddr_un address {};
  address.sun_family = AF_UNIX;
  memcpy(address.sun_path, path.c_str(), path.size());
  return address;
}

int connectTo(const std::string &path) {
  struct sockaddr_un address = addressOf(path);
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return -1;
  struct ucred peer {};
  socklen_t size = sizeof peer;
  if (connect(fd, reinterpret_cast<struct sockaddr *>(&address), sizeof address) == 0 &&
      getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 && peer.uid == geteuid())
    return fd;
  close(fd);
  return -1;
}

bool isReady(int fd, short events, int timeoutMs) {
  struct pollfd one {
    fd, events, 0
  };
  return poll(&one, 1, timeoutMs) > 0;
}

bool sendAll(int fd, const std::string &text) {
  for (size_t sent = 0; sent < text.size();) {
    ssize_t count = send(fd, text.data() + sent, text.size() - sent, MSG_NOSIGNAL);
    if (count > 0) sent += static_cast<size_t>(count);
    else if (errno != EAGAIN || !isReady(fd, POLLOUT, TAKE_MS)) return false;
  }
  return true;
}

class Lines {
public:
  explicit Lines(int fd) : fd_(fd) {}
  /** Whether next() said false because the time was over. */
  bool isLate = false;
  /** The next line without its end; false at the end, on an error and after the time. */
  bool next(std::string &line, int timeoutMs) {
    for (;;) {
      size_t end = text_.find('\n');
      if (end != std::string::npos) {
        line = text_.substr(0, end);
        text_.erase(0, end + 1);
        return true;
      }
      char part[4096];
      ssize_t count = recv(fd_, part, sizeof part, 0);
      if (count > 0) text_.append(part, static_cast<size_t>(count));
      else if (count == 0 || errno != EAGAIN) return false;
      else if (!isReady(fd_, POLLIN, timeoutMs)) {
        isLate = true;
        return false;
      }
    }
  }

private:
  int fd_;
  std::string text_;
};

/** The outcome when a server that has taken a mount on says no more. */
Outcome late(const Lines &lines) {
  Outcome outcome;
  if (!lines.isLate) return outcome;
  outcome.kind = HandOver::failed;
  outcome.status = 1;
  outcome.words = "mica-overlay: the mount server did not answer within a minute; try again, or set MICA_SERVER_IDLE=0\n";
  return outcome;
}

Outcome converse(int fd, char *const *argv) {
  Outcome outcome;
  std::string request("mica-overlay");
  request.push_back('\0');
  request.append(std::to_string(getppid())).push_back('\0');
  for (; *argv; argv++) request.append(*argv).push_back('\0');
  Lines lines(fd);
  std::string line;
  char length[9];
  snprintf(length, sizeof length, "%08zx", request.size());
  if (!sendAll(fd, length + request) || !lines.next(line, TAKE_MS)) return outcome;
  int status = 0, used = 0;
  // From "go" on the mount is the server's, unless that ends: a second one would be in its way.
  if (line == "taken" && (!sendAll(fd, "go\n") || !lines.next(line, MOUNT_MS))) return late(lines);
  while (startsWith(line.c_str(), "warn ")) {
    outcome.words += line.substr(5) + "\n";
    if (!lines.next(line, MOUNT_MS)) return late(lines);
  }
  if (line == "ok") outcome.kind = HandOver::done;
  else if (sscanf(line.c_str(), "error %d %n", &status, &used) == 1 && used > 0) {
    outcome.kind = HandOver::failed;
    outcome.status = status > 0 && status < 256 ? status : 1;
    outcome.words += line.substr(static_cast<size_t>(used)) + "\n";
  }
  return outcome;
}

} // namespace

std::string serverSocket(const char *script) {
  std::string idle = variable("MICA_SERVER_IDLE");
  std::string dir = runtimeDir();
  if (idle == "0" || dir[0] != '/' || !isOurs(dir)) return "";
  Key key;
  for (const char *name : {"/proc/self/ns/user", "/proc/self/ns/mnt", "/proc/self/ns/pid"})
    if (!key.addLink(name)) return "";
  if (!key.addFile("/", false) || !key.addFile(script, true)) return "";
  key.add(script);
  key.add(geteuid());
  key.add(getegid());
  gid_t groups[NGROUPS_MAX > 1024 ? 1024 : NGROUPS_MAX];
  int count = getgroups(sizeof groups / sizeof *groups, groups);
  for (int i = 0; i < count; i++) key.add(groups[i]);
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct caps[2]{};
  if (syscall(SYS_capget, &header, caps) != 0) return "";
  for (const auto &half : caps) key.add(half.effective);
  key.add(serviceOf(readText("/proc/self/cgroup")));
  for (char **entry = environ; *entry; entry++)
    if (startsWith(*entry, "MICA_") || startsWith(*entry, "FUSE_OVERLAYFS_")) key.add(*entry);
  std::string path = dir + "/server-" + key.text() + ".sock";
  // The socket is made under a longer name first.
  return path.size() + 12 < sizeof(sockaddr_un::sun_path) ? path : "";
}

void Door::remove() const {
  struct stat stat;
  if (lstat(path.c_str(), &stat) == 0 && stat.st_ino == inode) unlink(path.c_str());
}

// Callers wait in its queue while the server starts. It gets its name only when it listens, and only where no
// other one does: of two launchers at once the second goes to the first.
Door openDoor(const std::string &path) {
  Door door;
  std::string draft = path + "." + std::to_string(getpid());
  mkdir(path.substr(0, path.rfind('/')).c_str(), 0755);
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return door;
  struct sockaddr_un address = addressOf(draft);
  struct stat stat;
  unlink(draft.c_str());
  mode_t before = umask(0177);
  bool isMade = bind(fd, reinterpret_cast<struct sockaddr *>(&address), sizeof address) == 0 && listen(fd, SOMAXCONN) == 0;
  umask(before);
  bool isNamed = false;
  for (int attempt = 0; isMade && !isNamed && attempt < 3; attempt++) {
    isNamed = link(draft.c_str(), path.c_str()) == 0;
    if (isNamed || errno != EEXIST) break;
    int other = connectTo(path);
    if (other >= 0) {
      close(other);
      break;
    }
    unlink(path.c_str());
  }
  isNamed = isNamed && lstat(draft.c_str(), &stat) == 0;
  unlink(draft.c_str());
  if (!isNamed) {
    close(fd);
    return door;
  }
  door.fd = fd;
  door.path = path;
  door.inode = stat.st_ino;
  return door;
}

Outcome handOver(const std::string &path, char *const *argv) {
  int fd = path.empty() ? -1 : connectTo(path);
  if (fd < 0) return Outcome();
  Outcome outcome = converse(fd, argv);
  outcome.isAnybodyThere = true;
  close(fd);
  return outcome;
}
