// Mounting the union under test: mica by its command, or the kernel's overlayfs.
#include <errno.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>
#include "model.h"

extern char** environ;

static std::string runCommand(const std::vector<std::string>& words) {
  std::vector<char*> argv;
  for (const std::string& word : words) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);
  pid_t pid;
  int err = posix_spawn(&pid, argv[0], nullptr, nullptr, argv.data(), environ);
  if (err) return words[0] + ": " + errnoName(err);
  int status = 0;
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  return status == 0 ? "" : format("%s %s: status 0x%x", words[0].c_str(), words[1].c_str(), status);
}

std::string Mount::mountKernel(const std::string& at, const std::string& work) const {
  std::string lowers;
  for (int i = 0; i < layers; i++) lowers += (i ? ":" : "") + base + format("/l%d", i);
  std::string data = "lowerdir=" + lowers + ",upperdir=" + base + "/upper,workdir=" + work +
                     (driver == "kernel" ? ",index=on,redirect_dir=on" : ",index=off,redirect_dir=on");
  int rc = ::mount("overlay", at.c_str(), "overlay", 0, data.c_str());
  return rc ? "mount overlay: " + errnoName(errno) : "";
}

std::string Mount::mount() const {
  if (driver == "kernel") return mountKernel(point(), base + "/work");
  std::vector<std::string> words{driver, "mount"};
  for (int i = 0; i < layers; i++) words.insert(words.end(), {"--lower", base + format("/l%d", i)});
  words.insert(words.end(), {"--upper", base + "/upper", "--work", base + "/work"});
  words.insert(words.end(), options.begin(), options.end());
  words.push_back(point());
  return runCommand(words);
}

std::string Mount::unmount(bool byCommand) const {
  if (driver != "kernel" && byCommand) return runCommand({driver, "umount", point()});
  return umount2(point().c_str(), 0) ? "umount: " + errnoName(errno) : "";
}

void Mount::dropDentries() const {
  struct statvfs s;
  if (statvfs(point().c_str(), &s)) return;
  unsigned long flags = MS_REMOUNT;  // reconfiguring shrinks the dentry cache; all flags stay
  flags |= (s.f_flag & ST_NODEV ? MS_NODEV : 0) | (s.f_flag & ST_NOSUID ? MS_NOSUID : 0);
  flags |= (s.f_flag & ST_RELATIME ? MS_RELATIME : 0) | (s.f_flag & ST_NOATIME ? MS_NOATIME : 0);
  ::mount(nullptr, point().c_str(), nullptr, flags, nullptr);
}
