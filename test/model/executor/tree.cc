// Snapshots of a tree, and what it means that two of them are equal.
//
// Equal: the same names with the same type, mode, owner, size, content, target, rdev, xattrs and
// number of links. An mtime set explicitly (below FRESH) is kept to the nanosecond; one that is
// "now" on the oracle is "now" on the union. st_ino: one number per oracle inode, for ever.
#include <dirent.h>
#include <errno.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>
#include <algorithm>
#include "model.h"

int statAt(int dir, const std::string& path, int flags, struct statx* out) {
  memset(out, 0, sizeof *out);
  return statx(dir, path.c_str(), flags, STATX_BASIC_STATS | STATX_BTIME, out);
}

bool isInternal(const Bytes& xattr) {
  return xattr.rfind("trusted.overlay.", 0) == 0 || xattr.rfind("security.selinux", 0) == 0;
}

std::map<Bytes, Bytes> readXattrs(const std::string& path) {
  std::map<Bytes, Bytes> out;
  char list[65536], value[65536];
  ssize_t n = llistxattr(path.c_str(), list, sizeof list);
  if (n < 0) {
    if (errno != EOPNOTSUPP) out["!list"] = errnoName(errno);
    return out;
  }
  for (char* name = list; name < list + n; name += strlen(name) + 1) {
    if (isInternal(name)) continue;
    ssize_t length = lgetxattr(path.c_str(), name, value, sizeof value);
    out[name] = length < 0 ? "!" + errnoName(errno) : Bytes(value, length);
  }
  return out;
}

static Bytes readAll(int dir, const std::string& path, std::string* problem) {
  int fd = openat(dir, path.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0) {
    *problem = "open for reading: " + errnoName(errno);
    return "";
  }
  Bytes out;
  char block[65536];
  ssize_t n;
  while ((n = read(fd, block, sizeof block)) > 0) out.append(block, n);
  if (n < 0) *problem = "read: " + errnoName(errno);
  close(fd);
  return out;
}

static void fill(int root, Node* node) {
  if (statAt(root, node->path, AT_SYMLINK_NOFOLLOW, &node->stat) < 0) {
    node->problem = "stat: " + errnoName(errno);
    return;
  }
  if (S_ISREG(node->stat.stx_mode)) node->content = readAll(root, node->path, &node->problem);
  if (S_ISLNK(node->stat.stx_mode)) {
    char target[4096];
    ssize_t n = readlinkat(root, node->path.c_str(), target, sizeof target);
    if (n < 0) node->problem = "readlink: " + errnoName(errno);
    else node->content.assign(target, n);
  }
  node->xattrs = readXattrs(format("/proc/self/fd/%d/", root) + node->path);
}

static void walk(int root, const std::string& path, Tree* out) {
  int fd = openat(root, path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  DIR* dir = fd < 0 ? nullptr : fdopendir(fd);
  if (!dir) {
    out->back().problem += " opendir: " + errnoName(errno);
    return;
  }
  size_t self = out->size() - 1;
  std::vector<Node> found;
  errno = 0;
  while (struct dirent* entry = readdir(dir)) {
    std::string name = entry->d_name;
    if (name == ".." || name == ".") continue;
    Node node;
    node.path = path == "." ? name : path + "/" + name;
    node.entryIno = entry->d_ino;
    node.entryType = entry->d_type;
    found.push_back(std::move(node));
    errno = 0;
  }
  if (errno) (*out)[self].problem += " readdir: " + errnoName(errno);
  closedir(dir);
  std::sort(found.begin(), found.end(), [](const Node& a, const Node& b) { return a.path < b.path; });
  for (Node& node : found) {
    fill(root, &node);
    bool directory = S_ISDIR(node.stat.stx_mode);
    std::string below = node.path;
    out->push_back(std::move(node));
    if (directory) walk(root, below, out);
  }
}

Tree snapshot(int root) {
  Tree out(1);
  out[0].path = ".";
  fill(root, &out[0]);
  walk(root, ".", &out);
  return out;
}

std::string signature(const std::string& dir) {
  int root = open(dir.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  std::string text;
  for (const Node& node : snapshot(root)) {
    const struct statx& s = node.stat;
    text += format("%s %o %u:%u %llu %u %u:%u %lld.%u %lld.%u", escape(node.path).c_str(), s.stx_mode, s.stx_uid,
                   s.stx_gid, s.stx_ino, s.stx_nlink, s.stx_rdev_major, s.stx_rdev_minor, s.stx_mtime.tv_sec,
                   s.stx_mtime.tv_nsec, s.stx_ctime.tv_sec, s.stx_ctime.tv_nsec);
    text += format(" %zx", std::hash<Bytes>()(node.content));
    for (auto& [name, value] : node.xattrs) text += " " + escape(name) + "=" + escape(value);
    text += node.problem + "\n";
  }
  close(root);
  return text;
}

Identity::Key Identity::keyOf(const struct statx& s) {
  return {s.stx_ino, s.stx_btime.tv_sec * 1000000000ull + s.stx_btime.tv_nsec};
}

static std::string timeText(const struct statx& s) {
  return s.stx_mtime.tv_sec > FRESH ? "now" : format("%lld.%09u", s.stx_mtime.tv_sec, s.stx_mtime.tv_nsec);
}

static Difference identify(const std::string& what, const struct statx& o, const struct statx& u, Identity& id) {
  uint64_t device = (static_cast<uint64_t>(u.stx_dev_major) << 32) | u.stx_dev_minor;
  if (!id.device) id.device = device;
  if (device != id.device) return {"device", what + ": st_dev differs from other objects'"};
  auto [at, added] = id.ino.try_emplace(Identity::keyOf(o), u.stx_ino);
  if (added || at->second == u.stx_ino) return {};
  return {"ino", format("%s: st_ino was %llu, is %llu", what.c_str(), (unsigned long long)at->second, u.stx_ino)};
}

static bool sameLinks(const struct statx& o, const struct statx& u, const Identity& id) {
  if (S_ISDIR(o.stx_mode) || o.stx_nlink == u.stx_nlink) return true;
  auto hidden = id.hiddenLinks.find(Identity::keyOf(o));
  unsigned slack = hidden == id.hiddenLinks.end() ? 0 : hidden->second;
  // Also with all that showed gone: names that upper layers hide count until the file is copied up.
  return o.stx_nlink + slack == u.stx_nlink;
}

Difference compareInode(const std::string& what, const struct statx& o, const struct statx& u, Identity& id) {
  Difference out;
  auto expect = [&](bool same, const char* kind, const std::string& want, const std::string& got) {
    if (!same && !out && !id.ignored.count(kind))
      out = {kind, what + ": " + kind + " should be " + want + ", is " + got};
  };
  auto owner = [](const struct statx& s) { return format("%u:%u", s.stx_uid, s.stx_gid); };
  auto device = [](const struct statx& s) { return format("%u:%u", s.stx_rdev_major, s.stx_rdev_minor); };
  expect(o.stx_mode == u.stx_mode, "mode", format("%o", o.stx_mode), format("%o", u.stx_mode));
  expect(owner(o) == owner(u), "owner", owner(o), owner(u));
  expect(S_ISDIR(o.stx_mode) || o.stx_size == u.stx_size, "size", format("%llu", o.stx_size), format("%llu", u.stx_size));
  expect(sameLinks(o, u, id), "nlink", format("%u", o.stx_nlink), format("%u", u.stx_nlink));
  expect(device(o) == device(u), "rdev", device(o), device(u));
  expect(timeText(o) == timeText(u), "mtime", timeText(o), timeText(u));
  if (!out && !id.ignored.count("ino")) out = identify(what, o, u, id);
  return out;
}

static std::string xattrText(const std::map<Bytes, Bytes>& xattrs) {
  std::string out;
  for (auto& [name, value] : xattrs) out += escape(name) + "=" + escape(value.substr(0, 48)) + " ";
  return out.empty() ? "none" : out;
}

static Difference compareContent(const Node& o, const Node& u) {
  if (o.content == u.content) return {};
  size_t at = 0, end = std::min(o.content.size(), u.content.size());
  while (at < end && o.content[at] == u.content[at]) at++;
  auto excerpt = [&](const Bytes& all) { return at < all.size() ? escape(all.substr(at, 8)) : "(end)"; };
  return {"content", format("%s: content differs from byte %zu: should be %s, is %s", escape(o.path).c_str(), at,
                            excerpt(o.content).c_str(), excerpt(u.content).c_str())};
}

static Difference compareNode(const Node& o, const Node& u, Identity& id) {
  std::string name = escape(o.path);
  if (o.problem != u.problem) return {"problem", name + ": should be '" + o.problem + "', is '" + u.problem + "'"};
  if (Difference d = compareInode(name, o.stat, u.stat, id)) return d;
  if (Difference d = compareContent(o, u)) return d;
  if (o.xattrs != u.xattrs && !id.ignored.count("xattr"))
    return {"xattr", name + ": xattrs should be " + xattrText(o.xattrs) + ", are " + xattrText(u.xattrs)};
  if (o.path == ".") return {};
  if (u.entryType != DT_UNKNOWN && u.entryType != o.entryType)
    return {"d_type", format("%s: d_type should be %u, is %u", name.c_str(), o.entryType, u.entryType)};
  if (!id.ignored.count("d_ino") && u.entryIno != u.stat.stx_ino)
    return {"d_ino", format("%s: d_ino is %llu, st_ino %llu", name.c_str(), (unsigned long long)u.entryIno,
                            u.stat.stx_ino)};
  return {};
}

/** No two inodes of the oracle may share an st_ino on the union. */
static Difference compareUnique(const Tree& oracle, const Tree& unionTree) {
  std::map<uint64_t, size_t> owner;
  for (size_t i = 0; i < oracle.size(); i++) {
    auto [at, added] = owner.try_emplace(unionTree[i].stat.stx_ino, i);
    if (added || oracle[at->second].stat.stx_ino == oracle[i].stat.stx_ino) continue;
    return {"ino", escape(oracle[i].path) + " and " + escape(oracle[at->second].path) + " share one st_ino"};
  }
  return {};
}

static Difference compareNames(const Tree& oracle, const Tree& unionTree) {
  std::set<std::string> wanted, found;
  for (const Node& node : oracle) wanted.insert(node.path);
  for (const Node& node : unionTree) {
    if (!found.insert(node.path).second) return {"twice", escape(node.path) + " is listed twice"};
    if (!wanted.count(node.path)) return {"extra", escape(node.path) + " should not be there"};
  }
  for (const Node& node : oracle)
    if (!found.count(node.path)) return {"missing", escape(node.path) + " is missing"};
  return {};
}

Difference compareTrees(const Tree& oracle, const Tree& unionTree, Identity& id) {
  if (Difference d = compareNames(oracle, unionTree)) return d;
  for (size_t i = 0; i < oracle.size(); i++)
    if (Difference d = compareNode(oracle[i], unionTree[i], id)) return d;
  return id.ignored.count("ino") ? Difference{} : compareUnique(oracle, unionTree);
}
