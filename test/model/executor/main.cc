// Runs one script, or makes one up from a seed and runs it while writing it down.
//
//   model --driver kernel|PATH --base DIR (--seed S --ops N | --replay FILE) [--trace FILE]
//         [--layers N] [--option O]… [--mutate VERB] [--each] [--cross] [--ignore KIND]…
//         [--no-hard-links] [--old-readers]
//
// --old-readers: an fd opened for reading before a copy-up may go on showing the lower's bytes, as
// when the kernel serves it from there without asking. Such an fd is closed when it is next used. And
// a file loses its set-id bits before it is written.
//
// --quick: the last unmount doesn't wait for the daemon, and the workdir is not looked at.
// Exit status: 0 both sides agree · 1 they differ (the reason on stdout) · 2 the run itself failed.
// The trace is flushed before each operation, so that a crash leaves it complete.
#include <errno.h>
#include <grp.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>
#include <fstream>
#include <iostream>
#include <stdexcept>
#include "model.h"

struct Options {
  std::string driver = "kernel", base, replay, trace, mutation;
  std::vector<std::string> mount;
  long seed = 1, ops = 400, layers = 0;
  std::set<std::string> ignored;
  bool each = false, quick = false, cross = false, hardLinks = true, oldReaders = false;
};

static Options parse(int argc, char** argv) {
  Options out;
  for (int i = 1; i < argc; i++) {
    std::string word = argv[i];
    auto value = [&] { return std::string(i + 1 < argc ? argv[++i] : ""); };
    if (word == "--driver") out.driver = value();
    else if (word == "--base") out.base = value();
    else if (word == "--replay") out.replay = value();
    else if (word == "--trace") out.trace = value();
    else if (word == "--mutate") out.mutation = value();
    else if (word == "--option") out.mount.push_back(value());
    else if (word == "--seed") out.seed = atol(value().c_str());
    else if (word == "--ops") out.ops = atol(value().c_str());
    else if (word == "--layers") out.layers = atol(value().c_str());
    else if (word == "--each") out.each = true;
    else if (word == "--quick") out.quick = true;
    else if (word == "--cross") out.cross = true;
    else if (word == "--ignore") out.ignored.insert(value());
    else if (word == "--old-readers") out.oldReaders = true;
    else if (word == "--no-hard-links") out.hardLinks = false;
    else throw std::runtime_error("unknown option " + word);
  }
  if (out.base.empty()) throw std::runtime_error("--base is missing");
  return out;
}

struct Run {
  Options options;
  Random random;
  Mount mount;
  Side oracle, unionSide;
  Identity identity;
  Known known;
  Tree last;
  std::ofstream trace;
  std::vector<std::string> lowers, script;
  Bytes openedWith[SLOTS];
  long oldReaders = 0;
  long done = 0, checks = 0, remounts = 0, failures = 0;
  std::string current = "(start)";

  explicit Run(const Options& o) : options(o), random(o.seed) {}

  void log(const std::string& line) {
    if (trace.is_open()) trace << line << std::endl;
  }

  void attach() {
    std::string problem = mount.mount();
    if (!problem.empty()) throw Difference{"mount", problem};
    oracle.openRoot();
    unionSide.openRoot();
    identity.device = 0;  // each mount has its own
    if (unionSide.root < 0) throw Difference{"mount", "the mount point can't be opened: " + errnoName(errno)};
  }

  void detach(bool isLast) {
    oracle.closeAll();
    unionSide.closeAll();
    std::string problem = mount.unmount(isLast);
    if (!problem.empty()) throw Difference{"unmount", problem};
    for (int i = 0; i < mount.layers; i++)
      if (signature(mount.base + format("/l%d", i)) != lowers[i])
        throw Difference{"lower", format("lower layer %d was changed", i)};
  }

  void prepare() {
    for (const char* name : {"/upper", "/work", "/mnt", "/oracle"})
      if (mkdir((options.base + name).c_str(), 0755)) throw std::runtime_error(options.base + name + ": " + errnoName(errno));
    std::vector<std::string> lines;
    if (options.replay.empty()) {
      mount.layers = static_cast<int>(options.layers ? options.layers : 1 + random.below(4));
      lines = generateLayers(random, mount.layers, options.hardLinks);
    } else {
      readScript(&lines);
    }
    log(format("layers %d", mount.layers));
    for (const std::string& line : lines) log("L " + line);
    mount.base = options.base;
    mount.driver = options.driver;
    mount.options = options.mount;
    buildLayers(options.base, mount.layers, lines);
    oracle.dir = options.base + "/oracle";
    oracle.oracle = true;
    unionSide.dir = mount.point();
    identity.ignored = options.ignored;
    mergeLayers(options.base, mount.layers, oracle, identity, options.driver == "kernel" || options.cross);
    for (int i = 0; i < mount.layers; i++) lowers.push_back(signature(options.base + format("/l%d", i)));
  }

  void readScript(std::vector<std::string>* lines) {
    std::ifstream in(options.replay);
    for (std::string line; std::getline(in, line);) {
      if (line.empty() || line[0] == '#') continue;
      if (line.rfind("layers ", 0) == 0) mount.layers = atoi(line.c_str() + 7);
      else if (line.rfind("L ", 0) == 0) lines->push_back(line.substr(2));
      else script.push_back(line);
    }
  }

  void check() {
    checks++;
    last = snapshot(oracle.root);
    Tree tree = snapshot(unionSide.root);
    if (Difference d = compareTrees(last, tree, identity)) throw d;
    known.learn(last);
  }

  Difference compareResults(const std::string& verb, const Result& o, const Result& u) {
    if (o.err != u.err) return {"errno-" + verb, "should give " + errnoName(o.err) + ", gives " + errnoName(u.err)};
    if (o.rc != u.rc) return {"result-" + verb, format("should give %ld, gives %ld", o.rc, u.rc)};
    if (o.data != u.data) {
      size_t at = 0;
      while (at < o.data.size() && at < u.data.size() && o.data[at] == u.data[at]) at++;
      return {"data-" + verb, format("differs from byte %zu of %zu (union: %zu): '%s' should be, '%s' is", at, o.data.size(),
                                     u.data.size(), escape(o.data.substr(at, 60)).c_str(), escape(u.data.substr(at, 60)).c_str())};
    }
    for (size_t i = 0; i < o.stats.size(); i++)
      if (Difference d = compareInode(verb, o.stats[i], u.stats[i], identity)) return d;
    return {};
  }

  Difference comparePath(const std::string& path) {
    struct statx o, u;
    int ro = statAt(oracle.root, path, AT_SYMLINK_NOFOLLOW, &o), eo = ro ? errno : 0;
    int ru = statAt(unionSide.root, path, AT_SYMLINK_NOFOLLOW, &u), eu = ru ? errno : 0;
    if (eo != eu) return {"errno-lstat", escape(path) + ": should give " + errnoName(eo) + ", gives " + errnoName(eu)};
    return ro ? Difference{} : compareInode(escape(path), o, u, identity);
  }

  Result on(Side& side, const Verb* verb, int user, const Args& args) {
    if (fchdir(side.root)) throw std::runtime_error("fchdir: " + errnoName(errno));
    setUser(user);
    Result out = verb->run(side, args);
    setUser(0);
    if (chdir("/")) throw std::runtime_error("chdir");
    return out;
  }

  static Bytes readSlot(const Side& side, int slot) {
    int flags = fcntl(side.slots[slot], F_GETFL);
    struct stat s;
    if (flags < 0 || (flags & O_ACCMODE) != O_RDONLY || fstat(side.slots[slot], &s) || !S_ISREG(s.st_mode)) return "";
    // To its end, not to the size: an old reader's file may be longer than what took its place.
    Bytes out;
    char block[65536];
    for (ssize_t n; (n = pread(side.slots[slot], block, sizeof block, out.size())) > 0;) out.append(block, n);
    return out;
  }

  // Through an fd that is older than a file's set-id bits the kernel writes without asking: whether they go
  // depends on who opened the file first. Nobody writes to such a file here before it has lost them.
  void dropSetIds(const std::string& verb, const std::string& target) {
    bool byFd = verb == "fwrite";
    if (!byFd && verb != "write" && verb != "append" && verb != "creat") return;
    for (Side* side : {&oracle, &unionSide}) {
      struct stat s;
      int slot = byFd ? side->slots[atoi(target.c_str())] : -1;
      if (byFd ? fstat(slot, &s) : fstatat(side->root, target.c_str(), &s, 0)) continue;
      if (!S_ISREG(s.st_mode) || !(s.st_mode & 06000)) continue;
      if (byFd) fchmod(slot, s.st_mode & 01777);
      else fchmodat(side->root, target.c_str(), s.st_mode & 01777, 0);
    }
  }

  void closeOldReader(const std::string& verb, const Args& args) {
    if (verb[0] != 'f' || verb == "falloc") return;
    for (size_t i = 0; i < (verb == "fcfr" ? 2 : 1); i++) {
      int slot = atoi(args[i].c_str());
      Bytes now = readSlot(unionSide, slot);
      if (now == readSlot(oracle, slot) || now != openedWith[slot]) continue;
      for (Side* side : {&oracle, &unionSide}) close(side->slots[slot]), side->slots[slot] = -1;
      oldReaders++;
    }
  }

  void operate(const std::string& line) {
    Args words = split(line);
    const Verb* verb = words.size() > 1 ? findVerb(words[1]) : nullptr;
    if (!verb) throw std::runtime_error("unknown operation: " + line);
    int user = atoi(words[0].c_str());
    Args args(words.begin() + 2, words.end());
    args.resize(6);
    if (options.oldReaders) closeOldReader(verb->name, args);
    if (options.oldReaders) dropSetIds(verb->name, args[0]);
    Result u = on(unionSide, verb, user, args);
    if (options.oldReaders && words[1] == "open") openedWith[atoi(args[0].c_str())] = readSlot(unionSide, atoi(args[0].c_str()));
    Result o = on(oracle, verb, user, mutate(options.mutation, verb->name, args));
    done++;
    failures += o.err != 0;
    Difference result = compareResults(verb->name, o, u);
    if (result && !options.ignored.count(result.kind)) throw result;
    for (unsigned i = 0; i < args.size(); i++)
      if ((verb->pathArgs >> i & 1) && !args[i].empty())
        if (Difference d = comparePath(args[i])) throw d;
    if (o.err == 0 && verb->pathArgs & 3) learn(args[verb->pathArgs & 2 ? 1 : 0]);
  }

  void learn(const std::string& path) {
    struct statx s;
    if (!path.empty() && statAt(oracle.root, path, AT_SYMLINK_NOFOLLOW, &s) == 0) known.add(path, s.stx_mode);
  }

  void step(const std::string& line) {
    current = line;
    log(line);
    if (line == "remount") {
      remounts++;
      detach(false);
      attach();
    } else if (line == "drop") {
      mount.dropDentries();
    } else if (line == "check") {
      check();
    } else {
      operate(line);
      if (options.each) check();
    }
  }

  void generate() {
    long toCheck = 10;
    while (done < options.ops) {
      known.learnSlots(oracle);
      step(generateOp(random, known));
      if (--toCheck == 0) {
        step("check");
        toCheck = 1 + random.below(30);
      }
      if (random.chance(1)) step("drop");
      if (random.below(160) == 0) step("remount");
    }
  }

  /** Between mounts the workdir holds its folders, the index of hard links and spare whiteouts only. */
  void checkWorkdir() {
    int root = open((options.base + "/work").c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    Tree tree = snapshot(root);
    close(root);
    for (const Node& node : tree) {
      const std::string& path = node.path;
      bool kept = path == "." || path == "work" || path == "index" || path.rfind("index/", 0) == 0 ||
                  path == "work/mica%";  // the claim: its daemon may still be on its way out
      bool spare = path.rfind("work/", 0) == 0 && path.back() == '%' && S_ISCHR(node.stat.stx_mode);
      if (!kept && !spare) throw Difference{"workdir", "left in the workdir: " + escape(path)};
    }
  }

  /** The upper that the driver wrote, seen through the kernel's own overlayfs. */
  void crossCheck() {
    current = "(the upper under kernel overlayfs)";
    std::string work = options.base + "/cross";
    mkdir(work.c_str(), 0755);
    std::string problem = mount.mountKernel(mount.point(), work);
    if (!problem.empty()) throw Difference{"cross-mount", problem};
    Side kernel;
    kernel.dir = mount.point();
    kernel.openRoot();
    oracle.openRoot();
    Identity loose;
    loose.ignored = {"ino", "d_ino", "nlink"};
    Difference d = compareTrees(snapshot(oracle.root), snapshot(kernel.root), loose);
    kernel.closeAll();
    oracle.closeAll();
    umount2(mount.point().c_str(), 0);
    if (d) throw Difference{"cross-" + d.kind, d.text};
  }

  void everything() {
    if (!options.trace.empty()) trace.open(options.trace);
    prepare();
    attach();
    step("check");
    if (options.replay.empty()) generate();
    for (const std::string& line : script) step(line);
    step("check");
    detach(!options.quick);
    if (!options.quick) checkWorkdir();
    if (options.cross) crossCheck();
  }
};

int main(int argc, char** argv) try {
  gid_t groups[] = {2000};
  setgroups(1, groups);
  umask(022);
  Run run(parse(argc, argv));
  int status = 0;
  try {
    run.everything();
  } catch (const Difference& d) {
    printf("differ %s\n  after: %s\n  %s\n", d.kind.c_str(), run.current.c_str(), d.text.c_str());
    run.oracle.closeAll();
    run.unionSide.closeAll();
    run.mount.unmount(false);
    umount2(run.mount.point().c_str(), MNT_DETACH);
    status = 1;
  }
  printf("operations %ld failing %ld checks %ld remounts %ld layers %d old readers %ld\n", run.done, run.failures,
         run.checks, run.remounts, run.mount.layers, run.oldReaders);
  return status;
} catch (const std::exception& e) {
  fprintf(stderr, "model: %s\n", e.what());
  return 2;
}
