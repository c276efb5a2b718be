// Random lower layers, and the tree that they must show.
//
// The merge here is the definition, written as plainly as possible: of a name the topmost entry
// counts; directories merge down to the first opaque one, non-directory or whiteout.
#include <dirent.h>
#include <errno.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>
#include <algorithm>
#include <set>
#include <stdexcept>
#include "model.h"

static const std::vector<std::string> NAMES = {"a", "b", "c", "d", "e", "f"};

static void must(bool ok, const std::string& what) {
  if (!ok) throw std::runtime_error(what + ": " + errnoName(errno));
}

// ---- generating

struct LayerWriter {
  Random& random;
  int layer;
  std::vector<std::string>& lines;
  std::set<std::string> made{"."};
  std::vector<std::string> files{}, links{};

  std::string owner() {
    static const std::vector<std::string> owners = {"0 0", "0 0", "1000 1000", "1001 2000"};
    return random.pick(owners) + format(" %ld.%ld", 1000000000 + random.below(1000000), random.below(1000000000));
  }
  void line(const char* verb, const std::string& path, const std::string& rest) {
    lines.push_back(format("%d %s %s %s", layer, verb, escape(path).c_str(), rest.c_str()));
  }
  bool ensureDirectory(const std::string& path) {
    if (made.count(path)) return std::find(files.begin(), files.end(), path) == files.end();
    size_t slash = path.rfind('/');
    if (slash != std::string::npos && !ensureDirectory(path.substr(0, slash))) return false;
    static const std::vector<std::string> modes = {"755", "755", "777", "700", "1777", "2775", "555"};
    line("dir", path, random.pick(modes) + " " + owner());
    made.insert(path);
    if (random.chance(15)) line("opaque", path, "");
    if (random.chance(15)) line("xattr", path, format("user.dir v%ld", random.below(9)));
    return true;
  }
  void object(const std::string& path, bool hardLinks) {
    size_t slash = path.rfind('/');
    if (made.count(path) || (slash != std::string::npos && !ensureDirectory(path.substr(0, slash)))) return;
    long kind = random.below(100);
    if (kind < 25) {
      ensureDirectory(path);
      return;
    }
    made.insert(path);
    if (kind < 37) return line("whiteout", path, ""), files.push_back(path);
    if (kind < 47) return line("symlink", path, random.pick(NAMES) + " " + owner()), files.push_back(path);
    if (kind < 52) return line("node", path, "10644 0 0 " + owner()), files.push_back(path);
    if (kind < 56) return line("node", path, "20666 1 3 " + owner()), files.push_back(path);
    if (kind < 66 && hardLinks && !links.empty())
      return line("link", path, escape(random.pick(links))), files.push_back(path);
    static const std::vector<std::string> modes = {"644", "644", "600", "755", "4755", "2755", "444", "666"};
    static const std::vector<std::string> sizes = {"0", "1", "100", "4096", "4097", "20000", "200000"};
    line("file", path, random.pick(modes) + " " + owner() + format(" %ld ", random.below(1000)) + random.pick(sizes) +
                           (random.chance(10) ? " 300000" : " 0"));
    files.push_back(path);
    links.push_back(path);
    if (random.chance(20)) line("xattr", path, format("user.n%ld v%ld", random.below(3), random.below(9)));
    if (random.chance(5)) line("xattr", path, "trusted.own v");
  }
};

std::vector<std::string> generateLayers(Random& random, int count, bool hardLinks) {
  std::vector<std::string> lines;
  for (int layer = 0; layer < count; layer++) {
    LayerWriter writer{random, layer, lines};
    for (long i = 8 + random.below(18); i > 0; i--) {
      std::string path = random.pick(NAMES);
      for (long depth = random.below(4); depth > 0; depth--) path += "/" + random.pick(NAMES);
      writer.object(path, hardLinks);
    }
  }
  return lines;
}

// ---- building

static struct timespec timeOf(const std::string& text) {
  size_t dot = text.find('.');
  return {atol(text.c_str()), dot == std::string::npos ? 0 : atol(text.c_str() + dot + 1)};
}

static void finish(const std::string& path, const Args& a, size_t at) {
  must(lchown(path.c_str(), atoi(a.at(at).c_str()), atoi(a.at(at + 1).c_str())) == 0, "chown " + path);
  struct timespec times[2] = {timeOf(a.at(at + 2)), timeOf(a.at(at + 2))};
  must(utimensat(AT_FDCWD, path.c_str(), times, AT_SYMLINK_NOFOLLOW) == 0, "utimes " + path);
}

static void buildFile(const std::string& path, const Args& a) {
  int fd = open(path.c_str(), O_CREAT | O_WRONLY | O_EXCL | O_CLOEXEC, 0600);
  must(fd >= 0, "create " + path);
  Bytes content = pattern(atol(a.at(7).c_str()), atol(a.at(8).c_str()));
  must(pwrite(fd, content.data(), content.size(), atol(a.at(9).c_str())) == (ssize_t)content.size(), "write");
  close(fd);
}

static void buildOne(const std::string& base, const Args& a) {
  std::string layer = base + "/l" + a.at(0), path = layer + "/" + a.at(2);
  const std::string& verb = a.at(1);
  const char* p = path.c_str();
  auto mode = [&] { return static_cast<mode_t>(std::stoul(a.at(3), nullptr, 8)); };
  if (verb == "dir") {
    must(mkdir(p, 0700) == 0 || errno == EEXIST, "mkdir " + path);
    finish(path, a, 4);
    must(chmod(p, mode()) == 0, "chmod");
  } else if (verb == "file") {
    buildFile(path, a);
    finish(path, a, 4);
    must(chmod(p, mode()) == 0, "chmod");
    finish(path, a, 4);
    must(chmod(p, mode()) == 0, "chmod");
  } else if (verb == "symlink") {
    must(symlink(a.at(3).c_str(), p) == 0, "symlink " + path);
    finish(path, a, 4);
  } else if (verb == "node") {
    must(mknod(p, mode(), makedev(atoi(a.at(4).c_str()), atoi(a.at(5).c_str()))) == 0, "mknod " + path);
    finish(path, a, 6);
  } else if (verb == "whiteout") {
    must(mknod(p, S_IFCHR, makedev(0, 0)) == 0, "whiteout " + path);
  } else if (verb == "opaque") {
    must(setxattr(p, "trusted.overlay.opaque", "y", 1, 0) == 0, "opaque " + path);
  } else if (verb == "xattr") {
    must(lsetxattr(p, a.at(3).c_str(), a.at(4).data(), a.at(4).size(), 0) == 0, "xattr " + path);
  } else if (verb == "link") {
    must(link((layer + "/" + a.at(3)).c_str(), p) == 0, "link " + path);
  } else {
    throw std::runtime_error("unknown layer line: " + verb);
  }
}

void buildLayers(const std::string& base, int count, const std::vector<std::string>& lines) {
  for (int i = 0; i < count; i++) {
    std::string layer = base + format("/l%d", i);
    must(mkdir(layer.c_str(), 0755) == 0, "mkdir " + layer);
  }
  for (int pass = 0; pass < 2; pass++) {
    for (const std::string& text : lines) {
      Args a = split(text);
      if (pass == 1 && a.at(1) != "dir") continue;  // their mtimes moved with each new entry
      try {
        buildOne(base, a);
      } catch (const std::exception&) {
        // A shrunk script may have lost the directory that this line needs.
      }
    }
  }
  for (int i = 0; i < count; i++) {
    struct timespec times[2] = {{1000000000 + i, 0}, {1000000000 + i, 0}};
    utimensat(AT_FDCWD, (base + format("/l%d", i)).c_str(), times, 0);
  }
}

// ---- merging

struct Merge {
  bool tidy;
  std::map<std::pair<uint64_t, uint64_t>, std::pair<std::string, struct statx>> links{};
  std::map<std::string, unsigned> shown{};

  static bool isOpaque(const std::string& dir) {
    char value[8];
    return lgetxattr(dir.c_str(), "trusted.overlay.opaque", value, sizeof value) == 1 && value[0] == 'y';
  }

  void attributes(const std::string& from, const struct statx& s, const std::string& to) {
    must(lchown(to.c_str(), s.stx_uid, s.stx_gid) == 0, "chown " + to);
    for (auto& [name, value] : readXattrs(from))
      must(lsetxattr(to.c_str(), name.c_str(), value.data(), value.size(), 0) == 0, "xattr " + to);
    if (!S_ISLNK(s.stx_mode)) must(chmod(to.c_str(), s.stx_mode & 07777) == 0, "chmod " + to);
    struct timespec times[2] = {{s.stx_atime.tv_sec, s.stx_atime.tv_nsec}, {s.stx_mtime.tv_sec, s.stx_mtime.tv_nsec}};
    must(utimensat(AT_FDCWD, to.c_str(), times, AT_SYMLINK_NOFOLLOW) == 0, "utimes " + to);
  }

  void leaf(const std::string& from, const struct statx& s, const std::string& to) {
    if (s.stx_nlink > 1) {
      auto [at, first] = links.try_emplace({s.stx_dev_minor, s.stx_ino}, to, s);
      shown[at->second.first]++;
      if (!first) {
        must(link(at->second.first.c_str(), to.c_str()) == 0, "link " + to);
        return;
      }
    }
    if (S_ISREG(s.stx_mode)) {
      int in = open(from.c_str(), O_RDONLY | O_CLOEXEC), out = open(to.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
      must(in >= 0 && out >= 0, "copy " + from);
      while (copy_file_range(in, nullptr, out, nullptr, 1 << 20, 0) > 0) {
      }
      close(in), close(out);
    } else if (S_ISLNK(s.stx_mode)) {
      char target[4096];
      ssize_t n = readlink(from.c_str(), target, sizeof target - 1);
      must(n >= 0, "readlink " + from);
      target[n] = 0;
      must(symlink(target, to.c_str()) == 0, "symlink " + to);
    } else {
      must(mknod(to.c_str(), s.stx_mode, makedev(s.stx_rdev_major, s.stx_rdev_minor)) == 0, "mknod " + to);
    }
    attributes(from, s, to);
  }

  /** `reals`: the directories that merge here, top first. */
  void directory(const std::vector<std::string>& reals, const std::string& to) {
    std::map<std::string, std::vector<std::string>> names;
    for (const std::string& real : reals) {
      DIR* dir = opendir(real.c_str());
      while (struct dirent* entry = readdir(dir))
        if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, "..")) names[entry->d_name].push_back(real);
      closedir(dir);
    }
    struct statx s;
    statAt(AT_FDCWD, reals[0], AT_SYMLINK_NOFOLLOW, &s);
    for (auto& [name, holders] : names) entry(name, holders, to + "/" + name, tidy && reals.size() == 1);
    struct timespec times[2] = {{s.stx_atime.tv_sec, s.stx_atime.tv_nsec}, {s.stx_mtime.tv_sec, s.stx_mtime.tv_nsec}};
    must(utimensat(AT_FDCWD, reals[0].c_str(), times, 0) == 0, "utimes " + reals[0]);
    attributes(reals[0], s, to);
  }

  void entry(const std::string& name, const std::vector<std::string>& holders, const std::string& to, bool sweep) {
    std::vector<std::string> below;
    for (const std::string& holder : holders) {
      std::string from = holder + "/" + name;
      struct statx s;
      must(statAt(AT_FDCWD, from, AT_SYMLINK_NOFOLLOW, &s) == 0, "stat " + from);
      bool whiteout = S_ISCHR(s.stx_mode) && s.stx_rdev_major == 0 && s.stx_rdev_minor == 0;
      // Kernel overlayfs lists a whiteout of a directory that merges with nothing.
      if (whiteout && sweep) must(unlink(from.c_str()) == 0, "unlink " + from);
      if (whiteout) break;
      if (!S_ISDIR(s.stx_mode)) {
        if (below.empty()) return leaf(from, s, to);
        break;
      }
      below.push_back(from);
      if (isOpaque(from)) break;
    }
    if (below.empty()) return;
    must(mkdir(to.c_str(), 0700) == 0, "mkdir " + to);
    directory(below, to);
  }
};

void mergeLayers(const std::string& base, int count, Side& oracle, Identity& id, bool tidy) {
  Merge merge{tidy};
  std::vector<std::string> reals{base + "/upper"};
  for (int i = 0; i < count; i++) reals.push_back(base + format("/l%d", i));
  merge.directory(reals, oracle.dir);
  for (auto& [key, at] : merge.links) {
    unsigned hidden = at.second.stx_nlink - merge.shown[at.first];
    struct statx s;
    if (hidden && statAt(AT_FDCWD, at.first, AT_SYMLINK_NOFOLLOW, &s) == 0) id.hiddenLinks[Identity::keyOf(s)] = hidden;
  }
}
