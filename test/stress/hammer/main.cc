//   hammer prepare DIR PROCESSES             fills the directory on the lower
//   hammer run DIR PROCESSES SECONDS SEED STATE   the load; each model is left in STATE.<process>
//   hammer lookups DIR PROCESSES SECONDS SEED MOUNT   cold lookups, made and forgotten again
//   hammer verify DIR PROCESSES STATE        the directory holds exactly what the models say
// Exit status: 0 all answers were right · 1 a wrong one, told on stderr · 2 wrong use.
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <fstream>
#include <set>
#include "hammer.h"

uint64_t Random::next() {
  uint64_t z = (state += 0x9e3779b97f4a7c15ull);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
  return z ^ (z >> 31);
}

std::string content(uint64_t seed, size_t length) {
  Random random(seed);
  std::string out(length, '\0');
  for (char& c : out) c = static_cast<char>(random.next() | 1);
  return out;
}

std::string ownDirectory(int process) {
  return "own" + std::to_string(process);
}

/**
 * 4 to 60 bytes, so that names fall into all size classes and replies overlap long ones. Every other
 * name is in a directory of the process's own: the kernel's lock of the common one would keep two
 * workers from ever changing the tables at once.
 */
std::string ownName(int process, int index) {
  std::string folder = index % 2 ? ownDirectory(process) + "/" : "";
  std::string name = std::to_string(process) + "-" + std::to_string(index) + "-";
  size_t length = 4 + static_cast<size_t>(index * 7 % 57);
  if (name.size() > length) length = name.size();
  return folder + name + std::string(length - name.size(), static_cast<char>('a' + index % 26));
}

std::string commonName(int index) {
  return "common" + std::string(static_cast<size_t>(index * 9), 'x') + std::to_string(index);
}

std::string errnoName(int err) {
  const char* name = err ? strerrorname_np(err) : "success";
  return name ? name : std::to_string(err);
}

Names initialNames(int process) {
  Names out;
  for (int i = 0; i < OWN_NAMES; i++) {
    if (i % 4 > 1) continue;
    auto file = std::make_shared<File>();
    file->seed = static_cast<uint64_t>(process * 1000 + i);
    file->length = static_cast<size_t>(50 + i);
    out[ownName(process, i)] = file;
  }
  return out;
}

static bool put(int dir, const std::string& name, const std::string& bytes) {
  int fd = openat(dir, name.c_str(), O_CREAT | O_EXCL | O_WRONLY, 0644);
  bool ok = fd >= 0 && write(fd, bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size());
  if (fd >= 0) close(fd);
  return ok;
}

static int prepare(int dir, int processes) {
  bool ok = true;
  for (int p = 0; p < processes; p++) ok = mkdirat(dir, ownDirectory(p).c_str(), 0755) == 0 && ok;
  for (int p = 0; p < processes; p++)
    for (auto& [name, file] : initialNames(p)) ok = put(dir, name, content(file->seed, file->length)) && ok;
  for (int i = 0; i < COMMON_NAMES; i += 2) ok = put(dir, commonName(i), content(7, 100)) && ok;
  return ok && prepareLookups(dir) ? 0 : 1;
}

static void save(const Worker& worker, const std::string& path) {
  std::map<const File*, int> numbers;
  std::ofstream out(path);
  for (auto& [name, file] : worker.names) {
    int number = numbers.try_emplace(file.get(), static_cast<int>(numbers.size())).first->second;
    out << name << " " << number << " " << file->seed << " " << file->length << " " << file->ino << "\n";
  }
}

static Names load(const std::string& path) {
  Names out;
  std::map<int, std::shared_ptr<File>> files;
  std::ifstream in(path);
  std::string name;
  File file;
  for (int number; in >> name >> number >> file.seed >> file.length >> file.ino;) {
    auto& at = files[number];
    if (!at) at = std::make_shared<File>(file);
    out[name] = at;
  }
  return out;
}

static int run(int dir, int processes, double seconds, uint64_t seed, const std::string& state) {
  for (int p = 0; p < processes; p++) {
    if (fork() != 0) continue;
    Worker worker(dir, p, seed * 100 + static_cast<uint64_t>(p));
    bool ok = worker.run(seconds);
    save(worker, state + "." + std::to_string(p));
    printf("process %d: %ld calls\n", p, worker.calls);
    fflush(stdout);
    _exit(ok ? 0 : 1);
  }
  int failed = 0, status;
  while (wait(&status) > 0) failed |= status != 0;
  return failed;
}

static int verify(int dir, int processes, const std::string& state) {
  int failed = 0;
  std::set<std::string> allowed{".", ".."};
  for (int i = 0; i < COMMON_NAMES; i++) allowed.insert(commonName(i));
  for (int p = 0; p < processes; p++) {
    Worker worker(dir, p, 1);
    worker.names = load(state + "." + std::to_string(p));
    for (auto& entry : worker.names) allowed.insert(entry.first);
    allowed.insert(ownDirectory(p));
    for (int i = 0; i < 8; i++) allowed.insert("many" + std::to_string(i));
    failed |= !worker.checkAll();
  }
  for (int p = -1; p < processes; p++) {
    std::string folder = p < 0 ? "" : ownDirectory(p) + "/";
    DIR* stream = fdopendir(openat(dir, (folder + ".").c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    while (struct dirent* entry = readdir(stream)) {
      if (allowed.count(entry->d_name) || allowed.count(folder + entry->d_name)) continue;
      fprintf(stderr, "%s%s should not be there\n", folder.c_str(), entry->d_name);
      failed = 1;
    }
    closedir(stream);
  }
  return failed;
}

int main(int argc, char** argv) {
  std::string verb = argc > 3 ? argv[1] : "";
  int dir = argc > 3 ? open(argv[2], O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
  if (dir < 0) {
    fprintf(stderr, "hammer: %s\n", argc > 3 ? strerror(errno) : "too few arguments");
    return argc > 3 ? 1 : 2;
  }
  int processes = atoi(argv[3]);
  if (verb == "prepare") return prepare(dir, processes);
  if (verb == "run" && argc > 6)
    return run(dir, processes, atof(argv[4]), strtoull(argv[5], nullptr, 10), argv[6]);
  if (verb == "lookups" && argc > 6)
    return runLookups(dir, processes, atof(argv[4]), strtoull(argv[5], nullptr, 10), argv[6]);
  if (verb == "verify" && argc > 4) return verify(dir, processes, argv[4]);
  return 2;
}
