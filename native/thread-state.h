// What the addon knows per thread: one set per worker. A plain struct behind __thread, so that
// reading it needs no guard; what has a destructor hangs behind pointers.

#pragma once

#include <cstddef>
#include <cstdint>
#include <linux/capability.h>
#include <memory>
#include <node_api.h>
#include <string>
#include <sys/types.h>

class ReplyPort;
class Worker;
struct DevFuse;
struct Uring;
struct Place;
struct Listing;
struct AtOnce;
class Callers;

/** The request that TypeScript is working on. `isHere` goes when it is answered or handed over. */
struct Current {
  bool isHere;
  uint32_t opcode;
  uint32_t length;
  uint64_t unique;
  uint64_t token; // the port's own: which ring entry
  ReplyPort *port;
};

/** Ids and umask that this thread makes files with. See creds.cc. */
struct Creds {
  uid_t uid;
  gid_t gid;
  uid_t mappedUid; // the last foreign pair that the kernel took
  gid_t mappedGid;
  mode_t umask;
  bool isUmaskPrivate;
  bool canSwitch;
  bool hasCaps;
  __user_cap_data_struct caps[2];
};

struct ThreadState {
  uint8_t *arena;
  size_t arenaSize;
  uint8_t *names;
  size_t namesSize;
  Current current;
  Creds creds;
  std::shared_ptr<Worker> *worker; // made by attach()
  DevFuse *device;
  Uring *uring;
  Place *place;     // once it has stepped back
  Listing *listing; // once it has listed a directory
  AtOnce *atOnce;   // for requests that need no TypeScript
  Callers *callers; // of a worker that goes where they are
  std::string *message;
  napi_ref arenaRef;
  napi_ref namesRef;
  bool hasHook; // detach() is called when the environment goes
};

extern __thread ThreadState tls;
