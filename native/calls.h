// Every function that TypeScript can call; what each ensures is written in src/sys/native.ts.
// Plain C++ here; wrap<> of args.h makes the N-API callback.

#pragma once

#include "abi.h"
#include "args.h"
#include "arena.h"

// at.cc: looking
int64_t statAt(int32_t fd, Path path, Out<Stat> out);
int64_t statLayers(int32_t fds, int32_t count, int32_t from, Path path, int32_t dotWhiteouts, Out<Stat> out);
int64_t statMany(int32_t fd, int32_t list, int32_t count);
int64_t readlinkAt(int32_t fd, Path path, At out, uint32_t capacity);
int64_t getdents(int32_t fd, At out, uint32_t capacity);
int64_t lseekFd(int32_t fd, int64_t offset, int32_t whence);
int64_t fstatfsFd(int32_t fd, At out);
int64_t fsType(int32_t fd);

// open.cc
int64_t openAt(int32_t fd, Path path, int32_t flags);
int64_t openPath(Bytes path, int32_t flags, int32_t mode);
int64_t cloneReadOnly(int32_t fd);
int64_t closeFd(int32_t fd);
int64_t replaceFd(int32_t from, int32_t to);
int64_t getFl(int32_t fd);
int64_t setFl(int32_t fd, int32_t flags);

// create.cc
int64_t createAt(int32_t fd, Path path, int32_t flags, int32_t mode, int32_t uid, int32_t gid, int32_t umask);
int64_t tmpfileAt(int32_t fd, int32_t flags, int32_t mode, int32_t uid, int32_t gid, int32_t umask);
int64_t mkdirAt(int32_t fd, Path path, int32_t mode, int32_t uid, int32_t gid, int32_t umask);
int64_t mknodAt(int32_t fd, Path path, int32_t mode, uint32_t rdev, int32_t uid, int32_t gid, int32_t umask);
int64_t symlinkAt(Path target, int32_t fd, Path path, int32_t uid, int32_t gid);

// change.cc
int64_t linkAt(int32_t fromFd, Path from, int32_t toFd, Path to);
int64_t unlinkAt(int32_t fd, Path path, int32_t flags);
int64_t renameAt(int32_t fromFd, Path from, int32_t toFd, Path to, uint32_t flags);
int64_t chmodAt(int32_t fd, Path path, uint32_t mode);
int64_t chownAt(int32_t fd, Path path, int32_t uid, int32_t gid);
int64_t utimensAt(int32_t fd, Path path, At times);
int64_t truncateFd(int32_t fd, int64_t size);

// xattr.cc
int64_t getXattrAt(int32_t fd, Path path, Path name, At out, uint32_t capacity);
int64_t listXattrAt(int32_t fd, Path path, At out, uint32_t capacity);
int64_t setXattrAt(int32_t fd, Path path, Path name, At value, uint32_t size, int32_t flags);
int64_t removeXattrAt(int32_t fd, Path path, Path name);

// data.cc
int64_t readFd(int32_t fd, int64_t offset, uint32_t size, At out);
int64_t readNow(int32_t fd, int64_t offset, uint32_t size, At out);
int64_t writeFd(int32_t fd, int64_t offset, uint32_t size, At data);
int64_t seekReply(int32_t fd, int64_t offset, int32_t whence, At out);
int64_t ioctlFd(int32_t fd, uint32_t command, At data);
int64_t fsyncFd(int32_t fd, int32_t isDataOnly);
int64_t syncfsFd(int32_t fd);
int64_t fallocateFd(int32_t fd, int32_t mode, int64_t offset, int64_t length);
int64_t copyFileRange(int32_t fdIn, int64_t offsetIn, int32_t fdOut, int64_t offsetOut, int64_t length, At out);

// copy.cc, tree.cc
int64_t copyData(int32_t from, int32_t to, int64_t length, int32_t durability, int32_t job);
int64_t removeTree(int32_t fd);
napi_value removeTreeSoon(napi_env env, napi_callback_info info);
int64_t removeTreeLater(int32_t fd, Path path);

// listing.cc
int64_t listBegin(int32_t isMerged, int32_t hasUpper);
int64_t listName(Path name, uint32_t low, uint32_t high);
int64_t listDirectory(int32_t fd, uint32_t layer, At buffer, uint32_t capacity);
int64_t listEntries(Bytes entries, Bytes names, uint32_t firstName, uint32_t base);
int64_t listSort();
int64_t listTake(At out, uint32_t capacity);
/** For the end of a worker's thread. */
void dropListing();

// park.cc
int64_t park(int64_t key);
int64_t wake(int64_t key, int32_t error);
int64_t nextCompletion();

// map.cc
napi_value mapFile(napi_env env, napi_callback_info info);

// device.cc
int64_t openDevice();
int64_t cloneDevice(int32_t device);
int64_t backingOpen(int32_t device, int32_t fd, int32_t isForUser);
int64_t backingClose(int32_t device, uint32_t id);
int64_t notify(int32_t device, int32_t code, At body, uint32_t length);

// dev-fuse.cc
napi_value devFuseStart(napi_env env, napi_callback_info info);
int64_t devFuseStop();
int64_t devFusePause(uint32_t ms);
int64_t devFuseNext();
int64_t devFuseReplyAndNext(int32_t result);
int64_t reply(int32_t result);

// at-once.cc
/** What requests are answered with, besides the tables. */
struct AtOnceSettings {
  uint32_t entryValid, entryValidNs, attrValid, attrValidNs, negativeValid, negativeValidNs;
  uint32_t indexBase;   // the index's first layer among the mount's
  uint32_t faults;      // the word of the index that counts unreadable pages
  uint32_t nameClasses; // size classes of the name arena
};
int64_t serveAtOnce(Bytes header, Bytes nodes, Bytes dentries, Bytes slots, Bytes links, Bytes nodeSlabs, Bytes dentrySlabs,
                    Bytes nameSlabs, Bytes index, Bytes ready, Bytes devices, Bytes counters, Out<AtOnceSettings> settings);
int64_t enterRecords(uint32_t directory, At records, uint32_t length);
int64_t tryAtOnce(Out<fuse_in_header> request, At args, uint32_t size, At out);

// uring.cc
int64_t uringProbe();
int64_t uringEvent();
int64_t uringSignal(int32_t event);
int64_t uringStart(int32_t device, int32_t event, At place, uint32_t payloadBytes, At queues, uint32_t count);
int64_t uringStop();
int64_t uringNext();
int64_t uringReplyAndNext(int32_t result);
int64_t uringRefuse(int32_t device);

// mount.cc
int64_t mountAt(std::string source, Bytes target, std::string type, int64_t flags, std::string data);
int64_t umountAt(Bytes target, int32_t flags);
int64_t moveMount(int32_t tree, Bytes target);
int64_t fusermount(std::string program, std::string options, Bytes target);
napi_value lastMessage(napi_env env, napi_callback_info info);

// process.cc
int64_t unshareFlags(int32_t flags);
int64_t setnsFd(int32_t fd, int32_t type);
int64_t chrootTo(Bytes path);
int64_t pivotRoot(Bytes path);
int64_t leaveOldRoot();
int64_t clearGroups();
int64_t setuidgid(int32_t uid, int32_t gid);
int64_t setHostname(std::string name);
int64_t newSession();
int64_t dup2Fd(int32_t from, int32_t to);
int64_t setThreadName(std::string name);
int64_t pinToCpu(int32_t cpu);
int64_t mapBigBlocks();
int64_t raiseFileLimit();

// terminal.cc
int64_t terminalPeer(int32_t master);
int64_t setTerminalSize(int32_t fd, int32_t rows, int32_t columns);
int64_t rawMode(int32_t fd, int32_t isRaw);

// spawn.cc
int64_t spawnProgram(int32_t terminal, Bytes argv, Bytes env, Bytes cwd, int32_t uid, int32_t gid, Bytes groups);
int64_t execProgram(Bytes argv, Bytes env);
int64_t reapChildren(int32_t pid);

// memory.cc
napi_value attach(napi_env env, napi_callback_info info);
int64_t releasePages(Bytes array, int64_t from, int64_t to);
int64_t trimHeap();
int64_t limitKernelCalls(int32_t isLimited);

// abi-table.cc
napi_value abiTable(napi_env env, napi_callback_info info);

// place.cc
int64_t stepBack(int32_t cpu);
int64_t stepForward();
int64_t cpuOf(int32_t thread);
int64_t watchRingCallers(Bytes last, uint32_t worker);
int64_t watchDeviceCallers();
int64_t noteCaller(uint32_t pid);
