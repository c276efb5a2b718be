// The numbers of src/fuse/abi.ts and src/vfs/arena.ts are those that the C++ compiler sees.

import t from 'tap'
import { abiTable } from '../../src/fuse/abi.js'
import { native } from '../../src/sys/native.js'
import * as arena from '../../src/vfs/arena.js'
import { NO_REPLY, PARKED } from '../../src/vfs/file-system.js'

const fromC = native.abiTable()

t.test('every number of src/fuse/abi.ts equals the one in native/abi.h', async (t) => {
  t.ok(Object.keys(abiTable).length > 250, 'the table is there')
  t.same(
    Object.keys(abiTable).filter((name) => fromC[name] === undefined),
    [],
    'abi.h knows every name',
  )
  const wrong = Object.entries(abiTable).filter(([name, number]) => fromC[name] !== number)
  t.same(wrong, [])
})

t.test('abi.h has the sizes that the protocol prescribes', async (t) => {
  const sizes: Record<string, number> = {
    fuse_in_header: 40,
    fuse_out_header: 16,
    fuse_attr: 88,
    fuse_entry_out: 128,
    fuse_attr_out: 104,
    fuse_init_in: 64,
    fuse_init_out: 64,
    fuse_setattr_in: 88,
    fuse_open_out: 16,
    fuse_write_in: 40,
    fuse_kstatfs: 80,
    fuse_statx_out: 288,
    fuse_copy_file_range_in: 56,
    fuse_uring_req_header: 288,
    fuse_uring_cmd_req: 24,
    fuse_backing_map: 16,
  }
  for (const [name, bytes] of Object.entries(sizes)) t.equal(fromC[`sizeof ${name}`], bytes, name)
})

t.test('the arena is laid out for native code as for TypeScript', async (t) => {
  const ours: Record<string, number> = { ...(arena as Record<string, unknown>), PARKED, NO_REPLY } as Record<
    string,
    number
  >
  let compared = 0
  for (const [key, number] of Object.entries(fromC)) {
    if (!key.startsWith('arena.')) continue
    t.equal(ours[key.slice(6)], number, key)
    compared++
  }
  t.equal(compared, 32)
})
