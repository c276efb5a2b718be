// The addon's table of functions. What each one does is written in src/sys/native.ts.

#include "abi.h"
#include "calls.h"
#include "place.h"
#include "pool.h"
#include "sys.h"

namespace {

struct Row {
  const char *name;
  napi_callback callback;
};

const Row rows[] = {
    {"attach", attach},
    {"releasePages", wrap<releasePages>},
    {"trimHeap", wrap<trimHeap>},
    {"limitKernelCalls", wrap<limitKernelCalls>},

    {"statAt", wrap<statAt>},
    {"statLayers", wrap<statLayers>},
    {"statMany", wrap<statMany>},
    {"readlinkAt", wrap<readlinkAt>},
    {"getdents", wrap<getdents>},
    {"lseek", wrap<lseekFd>},
    {"listBegin", wrap<listBegin>},
    {"listName", wrap<listName>},
    {"listDirectory", wrap<listDirectory>},
    {"listEntries", wrap<listEntries>},
    {"listSort", wrap<listSort>},
    {"listTake", wrap<listTake>},
    {"mapFile", mapFile},
    {"fstatfs", wrap<fstatfsFd>},
    {"fsType", wrap<fsType>},

    {"openAt", wrap<openAt>},
    {"openPath", wrap<openPath>},
    {"cloneReadOnly", wrap<cloneReadOnly>},
    {"close", wrap<closeFd>},
    {"replaceFd", wrap<replaceFd>},
    {"getFl", wrap<getFl>},
    {"setFl", wrap<setFl>},

    {"createAt", wrap<createAt>},
    {"tmpfileAt", wrap<tmpfileAt>},
    {"mkdirAt", wrap<mkdirAt>},
    {"mknodAt", wrap<mknodAt>},
    {"symlinkAt", wrap<symlinkAt>},

    {"linkAt", wrap<linkAt>},
    {"unlinkAt", wrap<unlinkAt>},
    {"renameAt", wrap<renameAt>},
    {"chmodAt", wrap<chmodAt>},
    {"chownAt", wrap<chownAt>},
    {"utimensAt", wrap<utimensAt>},
    {"truncate", wrap<truncateFd>},

    {"getXattrAt", wrap<getXattrAt>},
    {"listXattrAt", wrap<listXattrAt>},
    {"setXattrAt", wrap<setXattrAt>},
    {"removeXattrAt", wrap<removeXattrAt>},

    {"read", wrap<readFd>},
    {"readNow", wrap<readNow>},
    {"write", wrap<writeFd>},
    {"seekReply", wrap<seekReply>},
    {"ioctl", wrap<ioctlFd>},
    {"fsync", wrap<fsyncFd>},
    {"syncfs", wrap<syncfsFd>},
    {"fallocate", wrap<fallocateFd>},
    {"copyFileRange", wrap<copyFileRange>},
    {"copyData", wrap<copyData>},
    {"removeTree", wrap<removeTree>},
    {"removeTreeSoon", removeTreeSoon},
    {"removeTreeLater", wrap<removeTreeLater>},

    {"park", wrap<park>},
    {"wake", wrap<wake>},
    {"nextCompletion", wrap<nextCompletion>},

    {"openDevice", wrap<openDevice>},
    {"cloneDevice", wrap<cloneDevice>},
    {"backingOpen", wrap<backingOpen>},
    {"backingClose", wrap<backingClose>},
    {"notify", wrap<notify>},
    {"devFuseStart", devFuseStart},
    {"devFuseStop", wrap<devFuseStop>},
    {"devFusePause", wrap<devFusePause>},
    {"devFuseNext", wrap<devFuseNext>},
    {"devFuseReplyAndNext", wrap<devFuseReplyAndNext>},
    {"reply", wrap<reply>},

    {"serveAtOnce", wrap<serveAtOnce>},
    {"enterRecords", wrap<enterRecords>},
    {"tryAtOnce", wrap<tryAtOnce>},
    {"uringProbe", wrap<uringProbe>},
    {"uringEvent", wrap<uringEvent>},
    {"uringSignal", wrap<uringSignal>},
    {"uringStart", wrap<uringStart>},
    {"uringStop", wrap<uringStop>},
    {"uringNext", wrap<uringNext>},
    {"uringReplyAndNext", wrap<uringReplyAndNext>},
    {"uringRefuse", wrap<uringRefuse>},

    {"mount", wrap<mountAt>},
    {"umount", wrap<umountAt>},
    {"moveMount", wrap<moveMount>},
    {"fusermount", wrap<fusermount>},
    {"lastMessage", lastMessage},

    {"unshare", wrap<unshareFlags>},
    {"setns", wrap<setnsFd>},
    {"chroot", wrap<chrootTo>},
    {"pivotRoot", wrap<pivotRoot>},
    {"leaveOldRoot", wrap<leaveOldRoot>},
    {"setgroups", wrap<clearGroups>},
    {"setuidgid", wrap<setuidgid>},
    {"setHostname", wrap<setHostname>},
    {"setsid", wrap<newSession>},
    {"dup2", wrap<dup2Fd>},
    {"setThreadName", wrap<setThreadName>},
    {"pinToCpu", wrap<pinToCpu>},
    {"stepBack", wrap<stepBack>},
    {"stepForward", wrap<stepForward>},
    {"cpuOf", wrap<cpuOf>},
    {"watchRingCallers", wrap<watchRingCallers>},
    {"watchDeviceCallers", wrap<watchDeviceCallers>},
    {"noteCaller", wrap<noteCaller>},
    {"mapBigBlocks", wrap<mapBigBlocks>},
    {"raiseFileLimit", wrap<raiseFileLimit>},

    {"terminalPeer", wrap<terminalPeer>},
    {"setTerminalSize", wrap<setTerminalSize>},
    {"rawMode", wrap<rawMode>},

    {"spawnProgram", wrap<spawnProgram>},
    {"execProgram", wrap<execProgram>},
    {"reapChildren", wrap<reapChildren>},

    {"abiTable", abiTable},
};

} // namespace

NAPI_MODULE_INIT() {
  // Once for the process, before any worker can be pinned.
  static bool isReady = (rememberCpus(), rememberPolicy(), probeKernelCalls(), true);
  (void)isReady;
  freeThread();
  napi_value abi;
  napi_create_int32(env, MICA_NATIVE_ABI, &abi);
  napi_set_named_property(env, exports, "abi", abi);
  for (const Row &row : rows) {
    napi_value function;
    if (napi_create_function(env, row.name, NAPI_AUTO_LENGTH, row.callback, nullptr, &function) != napi_ok) return nullptr;
    napi_set_named_property(env, exports, row.name, function);
  }
  return exports;
}
