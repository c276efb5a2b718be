// Extended attributes that users see, those they must not, and ACLs.
import assert from 'node:assert/strict'
import type { Case, Suite } from '../support/suite.js'
import { O_RDONLY, XATTR_CREATE, XATTR_REPLACE } from '../support/syscalls.js'
import {
  acl,
  dir,
  file,
  GROUP_OBJ,
  MASK,
  OTHER,
  opaque,
  symlink,
  USER,
  USER_OBJ,
  whiteout,
} from '../support/tree.js'

const userAcl = acl([USER_OBJ, 6], [USER, 6, 1000], [GROUP_OBJ, 4], [MASK, 6], [OTHER, 4])

const cases: Case[] = [
  {
    title: 'overlay xattrs of a layer are not listed and not readable',
    lines: [97],
    lowers: [
      {
        d: opaque({}, { xattrs: { 'user.seen': 's' } }),
        f: file('x', { xattrs: { 'trusted.overlay.origin': 'o' } }),
      },
    ],
    upper: { u: opaque({}, { xattrs: { 'trusted.overlay.impure': 'y', 'trusted.seen': 's' } }) },
    run(s) {
      assert.deepEqual(s.root.listxattr(s.at('d')), ['user.seen'])
      assert.deepEqual(s.root.listxattr(s.at('f')), [])
      assert.deepEqual(s.root.listxattr(s.at('u')), ['trusted.seen'])
      for (const [path, name] of [
        ['d', 'opaque'],
        ['f', 'origin'],
        ['u', 'opaque'],
        ['u', 'impure'],
      ]) {
        const outcome = s.root.errno('getxattr', s.at(path), `trusted.overlay.${name}`)
        assert.ok(['ENODATA', 'EOPNOTSUPP'].includes(outcome), outcome)
      }
    },
  },
  {
    title: 'setting an overlay xattr is refused or kept apart, and has no effect on the view',
    lines: [97],
    lowers: [{ d: dir({ f: 'x' }) }],
    run(s) {
      for (const name of ['opaque', 'redirect', 'whiteout', 'metacopy']) {
        const outcome = s.root.errno('setxattr', s.at('d'), `trusted.overlay.${name}`, 'y')
        assert.ok(['ok', 'EPERM', 'EOPNOTSUPP'].includes(outcome), outcome)
        if (outcome === 'ok') assert.equal(s.root.getxattr(s.at('d'), `trusted.overlay.${name}`), 'y')
        const real = s.root.errno('getxattr', s.up('d'), `trusted.overlay.${name}`)
        assert.ok(['ENODATA', 'ENOENT'].includes(real), real)
      }
      s.remount()
      assert.deepEqual(s.root.list(s.at('d')), ['f'])
    },
  },
  {
    title: 'trusted.overlayfoo and user.overlayfoo are ordinary names',
    lines: [97],
    lowers: [{ f: file('x', { xattrs: { 'trusted.overlayfoo': 'v', 'user.overlayfoo': 'v' } }) }],
    run(s) {
      assert.deepEqual(s.root.listxattr(s.at('f')), ['trusted.overlayfoo', 'user.overlayfoo'])
      s.root.setxattr(s.at('f'), 'trusted.overlayfoo', 'w')
      assert.equal(s.root.getxattr(s.up('f'), 'trusted.overlayfoo'), 'w')
      s.root.removexattr(s.at('f'), 'user.overlayfoo')
      assert.deepEqual(s.root.listxattr(s.at('f')), ['trusted.overlayfoo'])
    },
  },
  {
    title: 'getxattr and listxattr answer size 0, a short buffer and an absent name as ext4 does',
    lines: [98],
    lowers: [{ f: file('x', { xattrs: { 'user.x': 'value' } }) }],
    upper: { u: file('x', { xattrs: { 'user.x': 'value' } }) },
    run(s) {
      for (const name of ['f', 'u']) {
        assert.equal(s.root.call('getxattr_sized', s.at(name), 'user.x', 0), 5)
        assert.equal(s.root.call('getxattr_sized', s.at(name), 'user.x', 100), 5)
        assert.equal(s.root.errno('getxattr_sized', s.at(name), 'user.x', 4), 'ERANGE')
        assert.equal(s.root.errno('getxattr_sized', s.at(name), 'user.absent', 10), 'ENODATA')
        assert.equal(s.root.call('listxattr_sized', s.at(name), 0), 7)
        assert.equal(s.root.errno('listxattr_sized', s.at(name), 6), 'ERANGE')
        const nameTooLong = `user.${'n'.repeat(300)}`
        assert.equal(s.root.errno('setxattr', s.at(name), nameTooLong, 'v'), 'ERANGE')
        assert.equal(s.root.errno('setxattr', s.at(name), 'user.big', 'v'.repeat(65537)), 'E2BIG')
      }
    },
  },
  {
    title: 'XATTR_CREATE and XATTR_REPLACE are honoured, an empty value is one',
    lines: [98],
    lowers: [{ f: file('x', { xattrs: { 'user.there': 'old' } }) }],
    run(s) {
      const set = (name: string, flags: number) => s.root.errno('setxattr', s.at('f'), name, 'new', flags)
      assert.equal(set('user.there', XATTR_CREATE), 'EEXIST')
      assert.equal(set('user.absent', XATTR_REPLACE), 'ENODATA')
      assert.equal(set('user.absent', XATTR_CREATE), 'ok')
      assert.equal(set('user.there', XATTR_REPLACE), 'ok')
      s.root.setxattr(s.at('f'), 'user.empty', '')
      assert.equal(s.root.getxattr(s.at('f'), 'user.empty'), '')
      assert.deepEqual(s.root.listxattr(s.at('f')), ['user.absent', 'user.empty', 'user.there'])
      assert.equal(s.root.getxattr(s.at('f'), 'user.there'), 'new')
    },
  },
  {
    title: 'xattrs follow the rights of their namespaces',
    lines: [98],
    lowers: [
      {
        f: file('x', { mode: 0o666, xattrs: { 'trusted.t': 'v' } }),
        s: symlink('f'),
        d: dir({}, { mode: 0o1777 }),
      },
    ],
    run(s) {
      assert.deepEqual(s.user.listxattr(s.at('f')), [])
      assert.equal(s.user.errno('getxattr', s.at('f'), 'trusted.t'), 'ENODATA')
      assert.equal(s.user.errno('setxattr', s.at('f'), 'trusted.x', 'v'), 'EPERM')
      assert.equal(s.user.errno('setxattr', s.at('f'), 'security.capability', 'v'), 'EINVAL')
      assert.equal(s.root.errno('setxattr', s.at('s'), 'user.x', 'v', 0, false), 'EPERM')
      assert.equal(s.user.errno('setxattr', s.at('d'), 'user.x', 'v'), 'EPERM')
      s.user.setxattr(s.at('f'), 'user.mine', 'v')
      assert.equal(s.root.getxattr(s.up('f'), 'user.mine'), 'v')
    },
  },
  {
    title: 'a removed xattr of a lower file stays away after a remount',
    lines: [98],
    lowers: [{ f: file('x', { xattrs: { 'user.a': 'a', 'user.b': 'b' } }) }],
    run(s) {
      s.root.removexattr(s.at('f'), 'user.a')
      s.remount()
      assert.deepEqual(s.root.listxattr(s.at('f')), ['user.b'])
    },
  },
  {
    title: 'an ACL set on a lower file copies it up and is read back; chmod changes its mask',
    lines: [99],
    lowers: [
      {
        f: file('x', { mode: 0o600 }),
        had: file('x', { mode: 0o664, xattrs: { 'system.posix_acl_access': userAcl } }),
      },
    ],
    run(s) {
      assert.equal(s.root.getxattr(s.at('had'), 'system.posix_acl_access'), userAcl)
      assert.equal(s.user.errno('open', s.at('f'), O_RDONLY), 'EACCES')
      s.root.setxattr(s.at('f'), 'system.posix_acl_access', userAcl)
      for (const place of [s.at('f'), s.up('f')]) {
        assert.equal(s.root.getxattr(place, 'system.posix_acl_access'), userAcl)
        assert.equal(s.root.lstat(place).mode, 0o664)
      }
      assert.equal(s.user.errno('open', s.at('f'), 2), 'ok')
      for (const name of ['f', 'had']) {
        s.root.chmod(s.at(name), 0o614)
        const masked = acl([USER_OBJ, 6], [USER, 6, 1000], [GROUP_OBJ, 4], [MASK, 1], [OTHER, 4])
        assert.equal(s.root.getxattr(s.at(name), 'system.posix_acl_access'), masked)
        assert.equal(s.user.errno('open', s.at(name), O_RDONLY), 'EACCES')
      }
      s.root.removexattr(s.at('f'), 'system.posix_acl_access')
      assert.equal(s.root.errno('getxattr', s.at('f'), 'system.posix_acl_access'), 'ENODATA')
    },
  },
  {
    title: 'xattrs of a directory copy it up without its children and without opening whiteouts',
    lines: [97, 98],
    lowers: [{ d: dir({ f: 'x', gone: 'x' }) }],
    upper: { d: dir({ gone: whiteout() }) },
    run(s) {
      s.root.setxattr(s.at('d'), 'user.x', 'v')
      assert.equal(s.root.getxattr(s.at('d'), 'user.x'), 'v')
      assert.deepEqual(s.root.list(s.up('d')), ['gone'])
      assert.deepEqual(s.root.list(s.at('d')), ['f'])
    },
  },
]

export const xattrs: Suite = { name: 'extended attributes', cases }
