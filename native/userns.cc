// mica-userns [--join PID | --share-mounts] PROGRAM ARGS...: runs a program as root of a user namespace, in this
// process. A new one maps root to the caller and 1.. to the ids that /etc/subuid and /etc/subgid give the caller
// (by newuidmap and newgidmap), as podman does; without those root alone. Its mounts are its own unless they
// are shared; --join enters the user and mount namespaces of another process.
//
// The program finds in MICA_USERNS what became of it: "ids", "one" (root alone), or "none" (no namespace: it
// runs as the caller), and for the last two in MICA_USERNS_REASON why; and in MICA_USERNS_UID who the caller
// is. For root nothing is done.

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <fstream>
#include <optional>
#include <pwd.h>
#include <sched.h>
#include <string>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

namespace {

struct Range {
  std::string start;
  std::string count;
};

std::string reasonOf(const std::string &what) { return what + ": " + strerror(errno); }

std::string whyNoNamespace() {
  // user_namespaces(7): ENOSPC stands for a limit.
  if (errno == ENOSPC) return "the kernel allows no more user namespaces (sysctl user.max_user_namespaces)";
  return errno == EPERM ? "user namespaces are not allowed here" : reasonOf("no user namespace");
}

/** The ranges of a user in a file of lines `name:start:count`, where the name may be a number. */
std::vector<Range> rangesIn(const char *path, const std::string &name, const std::string &number) {
  std::vector<Range> ranges;
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    size_t first = line.find(':'), second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos) continue;
    std::string owner = line.substr(0, first);
    Range range{line.substr(first + 1, second - first - 1), line.substr(second + 1)};
    bool isCount = strtoul(range.count.c_str(), nullptr, 10) > 0;
    if (isCount && (owner == number || (!name.empty() && owner == name))) ranges.push_back(range);
  }
  return ranges;
}

/** Runs a program to its end; its words are added to `words` when it fails. */
bool runToEnd(std::vector<std::string> args, std::string &words) {
  std::vector<char *> argv;
  for (std::string &arg : args) argv.push_back(&arg[0]);
  argv.push_back(nullptr);
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) < 0) return false;
  pid_t pid = fork();
  if (pid == 0) {
    dup2(ends[1], 2);
    execvp(argv[0], argv.data());
    fprintf(stderr, "%s: %s", argv[0], errno == ENOENT ? "not installed" : strerror(errno));
    _exit(127);
  }
  close(ends[1]);
  std::string said;
  char part[512];
  for (ssize_t count; (count = read(ends[0], part, sizeof part)) != 0;) {
    if (count > 0) said.append(part, static_cast<size_t>(count));
    else if (errno != EINTR) break;
  }
  close(ends[0]);
  int status = 0;
  while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR) continue;
  if (pid > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0) return true;
  if (words.empty()) words = said.substr(0, said.find('\n'));
  return false;
}

std::vector<std::string> mapCommand(const char *program, pid_t pid, unsigned own, const std::vector<Range> &ranges) {
  std::vector<std::string> args{program, std::to_string(pid), "0", std::to_string(own), "1"};
  unsigned long next = 1;
  for (const Range &range : ranges) {
    args.insert(args.end(), {std::to_string(next), range.start, range.count});
    next += strtoul(range.count.c_str(), nullptr, 10);
  }
  return args;
}

bool put(const char *path, const std::string &text) {
  int fd = open(path, O_WRONLY | O_CLOEXEC);
  if (fd < 0) return false;
  bool isWhole = write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size());
  close(fd);
  return isWhole;
}

bool isMapped(const char *path) {
  std::ifstream file(path);
  return file.peek() != std::ifstream::traits_type::eof();
}

/** The process that maps ids for its parent from outside of the parent's new namespace; it ends with the parent's word. */
class Mapper {
public:
  Mapper(const std::vector<Range> &uids, const std::vector<Range> &gids) {
    pid_t target = getpid();
    if (pipe2(go_, O_CLOEXEC) < 0 || pipe2(said_, O_CLOEXEC) < 0) return;
    pid_ = fork();
    if (pid_ != 0) return;
    char byte;
    close(go_[1]);
    close(said_[0]);
    if (read(go_[0], &byte, 1) != 1) _exit(1);
    std::string words;
    runToEnd(mapCommand("newuidmap", target, getuid(), uids), words) &&
        runToEnd(mapCommand("newgidmap", target, getgid(), gids), words);
    (void)!write(said_[1], words.data(), words.size());
    _exit(0);
  }

  Mapper(const Mapper &) = delete;
  Mapper &operator=(const Mapper &) = delete;
  ~Mapper() {
    for (int fd : {go_[0], go_[1], said_[0], said_[1]})
      if (fd >= 0) close(fd);
    while (pid_ > 0 && waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) continue;
  }

  /** Returns why it failed, nothing when all is mapped. */
  std::string map() {
    if (pid_ < 0) return reasonOf("fork");
    (void)!write(go_[1], "g", 1);
    close(said_[1]);
    said_[1] = -1;
    char part[512];
    ssize_t count = read(said_[0], part, sizeof part);
    return std::string(part, count > 0 ? static_cast<size_t>(count) : 0);
  }

private:
  pid_t pid_ = -1;
  int go_[2] = {-1, -1};
  int said_[2] = {-1, -1};
};

struct Result {
  const char *kind;
  std::string reason;
};

/** Moves this process into a new namespace. */
Result enterNew(bool isMountsShared) {
  const unsigned uid = getuid(), gid = getgid();
  const passwd *entry = getpwuid(uid);
  const std::string name = entry ? entry->pw_name : "", shown = name.empty() ? std::to_string(uid) : name;
  auto uids = rangesIn("/etc/subuid", name, std::to_string(uid));
  auto gids = rangesIn("/etc/subgid", name, std::to_string(uid));
  std::string reason;
  if (uids.empty() || gids.empty())
    reason = shown + " has no ids in " + (uids.empty() ? "/etc/subuid" : "/etc/subgid");
  std::optional<Mapper> mapper;
  if (reason.empty()) mapper.emplace(uids, gids);
  if (unshare(CLONE_NEWUSER | (isMountsShared ? 0 : CLONE_NEWNS)) < 0) return {"none", whyNoNamespace()};
  if (mapper) reason = mapper->map();
  const bool hasIds = isMapped("/proc/self/uid_map") && isMapped("/proc/self/gid_map");
  if (hasIds && reason.empty()) return {"ids", ""};
  if (!isMapped("/proc/self/gid_map")) {
    put("/proc/self/setgroups", "deny");
    put("/proc/self/gid_map", "0 " + std::to_string(gid) + " 1\n");
  }
  if (!isMapped("/proc/self/uid_map") && !put("/proc/self/uid_map", "0 " + std::to_string(uid) + " 1\n"))
    return {"none", reasonOf("/proc/self/uid_map")};
  return {"one", reason};
}

bool enter(const std::string &pid, const char *space, int type) {
  int fd = open(("/proc/" + pid + "/ns/" + space).c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return false;
  bool isIn = setns(fd, type) == 0;
  close(fd);
  return isIn;
}

/** Tells whether every number of the map has one outside that is not the caller's own. */
const char *kindOfJoined() {
  std::ifstream file("/proc/self/uid_map");
  int lines = 0;
  for (std::string line; std::getline(file, line);) lines++;
  return lines > 1 ? "ids" : "one";
}

int usage() {
  fprintf(stderr, "usage: mica-userns [--join PID | --share-mounts] PROGRAM [ARGUMENT...]\n");
  return 2;
}

}  // namespace

int main(int argc, char **argv) {
  int at = 1;
  std::string target;
  bool isMountsShared = false;
  for (; at < argc && strncmp(argv[at], "--", 2) == 0; at++) {
    if (strcmp(argv[at], "--share-mounts") == 0) isMountsShared = true;
    else if (strcmp(argv[at], "--join") == 0 && at + 1 < argc) target = argv[++at];
    else return usage();
  }
  if (at >= argc) return usage();
  if (geteuid() != 0) {
    Result result{"none", ""};
    setenv("MICA_USERNS_UID", std::to_string(geteuid()).c_str(), 1);
    if (target.empty()) result = enterNew(isMountsShared);
    else if (enter(target, "user", CLONE_NEWUSER) && enter(target, "mnt", CLONE_NEWNS)) result = {kindOfJoined(), ""};
    else result.reason = reasonOf("namespaces of process " + target);
    setenv("MICA_USERNS", result.kind, 1);
    setenv("MICA_USERNS_REASON", result.reason.c_str(), 1);
  }
  execvp(argv[at], argv + at);
  fprintf(stderr, "mica: cannot run %s: %s\n", argv[at], strerror(errno));
  return 127;
}
