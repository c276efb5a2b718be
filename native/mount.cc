// Mounting, by mount(2) or through the setuid helper fusermount3. Cold path.

#include "calls.h"
#include "sys.h"
#include <poll.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <vector>

extern char **environ;

/** MOVE_MOUNT_F_EMPTY_PATH, which old headers lack. */
static const unsigned FROM_EMPTY_PATH = 0x4;

int64_t mountAt(std::string source, Bytes target, std::string type, int64_t flags, std::string data) {
  std::string path;
  if (!target.toPath(path)) return -EINVAL;
  return retry([&] {
    return mount(source.c_str(), path.c_str(), type.c_str(), static_cast<unsigned long>(flags), data.c_str());
  });
}

int64_t umountAt(Bytes target, int32_t flags) {
  std::string path;
  if (!target.toPath(path)) return -EINVAL;
  return retry([&] { return umount2(path.c_str(), flags); });
}

int64_t moveMount(int32_t tree, Bytes target) {
  std::string path;
  if (!target.toPath(path)) return -EINVAL;
  return retry([&] { return syscall(SYS_move_mount, tree, "", AT_FDCWD, path.c_str(), FROM_EMPTY_PATH); });
}

static void setMessage(std::string text) {
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.pop_back();
  if (!tls.message) tls.message = new std::string;
  *tls.message = std::move(text);
}

napi_value lastMessage(napi_env env, napi_callback_info) {
  napi_value value = nullptr;
  const std::string &text = tls.message ? *tls.message : std::string();
  napi_create_string_utf8(env, text.c_str(), text.size(), &value);
  return value;
}

namespace {

/** In the child, between fork and exec: only what is safe there. Does not return. */
[[noreturn]] void runHelper(char *const *argv, char *const *envp, int socket, int words) {
  fcntl(socket, F_SETFD, 0);
  dup2(words, 2);
  signal(SIGPIPE, SIG_DFL);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  execvpe(argv[0], argv, envp);
  _exit(127); // without a word: there is no such program
}

/** The fd in the helper's message, or -1. */
int receiveFd(int socket) {
  char byte;
  struct iovec part{&byte, 1};
  alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int))];
  struct msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  if (retry([&] { return recvmsg(socket, &message, MSG_CMSG_CLOEXEC); }) <= 0) return -1;
  struct cmsghdr *header = CMSG_FIRSTHDR(&message);
  if (!header || header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) return -1;
  int fd;
  memcpy(&fd, CMSG_DATA(header), sizeof fd);
  return fd;
}

std::string readAllWords(int fd) {
  std::string text;
  char part[512];
  ssize_t count;
  while (text.size() < 4096 && (count = read(fd, part, sizeof part)) > 0) text.append(part, static_cast<size_t>(count));
  return text;
}

} // namespace

int64_t fusermount(std::string program, std::string options, Bytes target) {
  std::string path;
  if (!target.toPath(path)) return -EINVAL;
  int sockets[2], words[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets) != 0) return -errno;
  OwnedFd ours(sockets[0]), theirs(sockets[1]);
  if (pipe2(words, O_CLOEXEC) != 0) return -errno;
  OwnedFd wordsOut(words[0]), wordsIn(words[1]);

  // Everything that allocates comes before fork(): other threads may hold the heap's lock.
  std::string comm = "_FUSE_COMMFD=" + std::to_string(theirs.get());
  std::vector<char *> envp;
  for (char **entry = environ; *entry; entry++)
    if (strncmp(*entry, "_FUSE_COMMFD=", 13) != 0) envp.push_back(*entry);
  envp.push_back(&comm[0]);
  envp.push_back(nullptr);
  std::string minusO = "-o", dashes = "--";
  char *argv[] = {&program[0], &minusO[0], &options[0], &dashes[0], &path[0], nullptr};

  pid_t child = fork();
  if (child < 0) return -errno;
  if (child == 0) runHelper(argv, envp.data(), theirs.get(), wordsIn.get());
  theirs.reset();
  wordsIn.reset();
  int device = receiveFd(ours.get());
  std::string said = readAllWords(wordsOut.get());
  int status = 0;
  retry([&] { return waitpid(child, &status, 0); });
  setMessage(said);
  if (device >= 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0) return device;
  if (device >= 0) close(device);
  if (WIFEXITED(status) && WEXITSTATUS(status) == 127) return -ENOENT;
  return -EPERM;
}
