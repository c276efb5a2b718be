// The numbers of src/fuse/abi.ts and src/vfs/arena.ts are those that the C++ compiler sees.

import t, { type Test } from 'tap'
import { abiTable } from '../../src/fuse/abi.js'
import { COUNTED_OPCODES } from '../../src/fuse/session-shared.js'
import * as format from '../../src/index/format.js'
import { native } from '../../src/sys/native.js'
import * as chain from '../../src/union/block-chain.js'
import * as dentries from '../../src/union/dentry-table.js'
import * as stack from '../../src/union/dir-stack.js'
import * as eagerness from '../../src/union/eagerness.js'
import * as nodes from '../../src/union/inode-table.js'
import * as names from '../../src/union/name-arena.js'
import * as slabs from '../../src/union/slabs.js'
import * as state from '../../src/union/state.js'
import * as arena from '../../src/vfs/arena.js'
import { LIGHT_HANDLE, NO_REPLY, PARKED } from '../../src/vfs/file-system.js'

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

/** Compares what C++ has under a prefix with what modules export; returns how many there are. */
function compare(t: Test, prefix: string, ...modules: object[]): number {
  const ours = Object.assign({}, ...modules) as Record<string, number>
  const theirs = Object.entries(fromC).filter(([key]) => key.startsWith(prefix))
  for (const [key, number] of theirs) t.equal(ours[key.slice(prefix.length)], number, key)
  return theirs.length
}

t.test('the arena is laid out for native code as for TypeScript', async (t) => {
  t.equal(compare(t, 'arena.', arena, { PARKED, NO_REPLY }), 32)
})

t.test('so are the tables, and an index', async (t) => {
  const union = [
    { LIGHT_HANDLE, COUNTED_OPCODES },
    state,
    nodes,
    dentries,
    stack,
    chain,
    slabs,
    eagerness,
    names,
  ]
  t.equal(compare(t, 'union.', ...union), 52)
  t.equal(compare(t, 'index.', format), 28)
})
