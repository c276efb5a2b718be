import t from 'tap'
import { formatTable } from '../../src/cli/table.js'
import { parseMountInfo } from '../../src/mount/mount-info.js'
import { decodePath, encodePath, showPath } from '../../src/mount/path-bytes.js'

t.test('columns are as wide as their widest cell, colours take no room', async (t) => {
  t.same(
    formatTable(
      ['A', 'LONG'],
      [
        ['\u001b[32mgreen\u001b[39m', 'x'],
        ['y', 'z'],
      ],
    ),
    ['A      LONG', '\u001b[32mgreen\u001b[39m  x', 'y      z'],
  )
})

const bytes: [title: string, path: Buffer, shown: string][] = [
  ['ASCII', Buffer.from('/a/b'), '/a/b'],
  ['UTF-8', Buffer.from('/ä/😀'), '/ä/😀'],
  ['a stray byte', Buffer.from([0x2f, 0xff, 0x61]), '/\\xffa'],
  ['latin1', Buffer.from('/caf\u00e9', 'latin1'), '/caf\\xe9'],
  ['a cut sequence', Buffer.from([0x2f, 0xe2, 0x82]), '/\\xe2\\x82'],
  ['a surrogate in UTF-8', Buffer.from([0x2f, 0xed, 0xb2, 0x80]), '/\\xed\\xb2\\x80'],
  ['a newline', Buffer.from('/a\nb'), '/a\\x0ab'],
]

t.test('every path survives as a string, and through JSON', async (t) => {
  for (const [title, path, shown] of bytes) {
    const text = decodePath(path)
    t.same(encodePath(text), path, title)
    t.same(encodePath(JSON.parse(JSON.stringify(text)) as string), path, `${title}, through JSON`)
    t.equal(showPath(text), shown, `${title}, shown`)
  }
})

t.test('mountinfo is read with its escapes and optional fields', async (t) => {
  const text = [
    '36 35 0:52 / /mnt/a\\040b\\011c rw,noatime master:1 shared:2 - fuse.mica mica rw,user_id=0',
    '37 35 8:1 /sub /x rw - ext4 /dev/sda1 rw',
    'nonsense',
    '',
  ].join('\n')
  t.match(parseMountInfo(text), [
    {
      id: 36,
      parentId: 35,
      device: '0:52',
      root: '/',
      mountpoint: '/mnt/a b\tc',
      type: 'fuse.mica',
      source: 'mica',
    },
    { id: 37, device: '8:1', root: '/sub', mountpoint: '/x', type: 'ext4', source: '/dev/sda1' },
  ])
})
