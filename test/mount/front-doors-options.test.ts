import t from 'tap'
import { formatArguments, parseMountArguments, parseOverlayArguments } from '../../src/mount/arguments.js'
import { UsageError } from '../../src/mount/errors.js'
import { helpText, manPage } from '../../src/mount/option-help.js'
import { splitOptions, splitPaths } from '../../src/mount/option-string.js'
import { nearestSpelling } from '../../src/mount/option-values.js'
import { defaultOptions, type MountOptions, OPTION_ROWS, type OptionRow } from '../../src/mount/options.js'

const ROWS: readonly OptionRow[] = OPTION_ROWS

/** Parses as container engines call: exactly `-o OPTIONS TARGET`. */
function overlay(text: string): { options: MountOptions; warnings: string[]; mountpoint: string } {
  return parseOverlayArguments(['-o', text, '/merged'])
}

const BASE = 'lowerdir=/a:/b,upperdir=/u,workdir=/w'

const accepted: [title: string, text: string, want: Partial<MountOptions>][] = [
  ['a plain string', BASE, { lower: ['/a', '/b'], upper: '/u', work: '/w', readOnly: false }],
  ['a trailing comma', `${BASE},`, { lower: ['/a', '/b'], work: '/w' }],
  ['a double comma', `${BASE},,volatile`, { work: '/w', volatile: true }],
  ['a leading comma', `,${BASE}`, { lower: ['/a', '/b'] }],
  ['lowerdir alone', 'lowerdir=/a:/b', { lower: ['/a', '/b'], upper: null, work: null }],
  [
    'mappings with a leading colon',
    `${BASE},uidmapping=:0:100000:65536,gidmapping=:0:100000:65536`,
    {
      uidMapping: [{ inside: 0, outside: 100000, count: 65536 }],
      gidMapping: [{ inside: 0, outside: 100000, count: 65536 }],
    },
  ],
  [
    'a mapping of two ranges',
    `${BASE},uidmapping=0:1000:1:1:100000:65536`,
    {
      uidMapping: [
        { inside: 0, outside: 1000, count: 1 },
        { inside: 1, outside: 100000, count: 65536 },
      ],
    },
  ],
  ['squash ids', `${BASE},squash_to_uid=7,squash_to_gid=8`, { squashToUid: 7, squashToGid: 8 }],
  ['squash_to_root', `${BASE},squash_to_root`, { squashToRoot: true }],
  ['xattr_permissions', `${BASE},xattr_permissions=2`, { xattrPermissions: 2 }],
  ['noacl', `${BASE},noacl`, { acl: false }],
  ['ro', `${BASE},ro`, { readOnly: true }],
  ['ro=false', `${BASE},ro=false`, { readOnly: false }],
  ['rw after ro', `${BASE},ro,rw`, { readOnly: false }],
  ['redirect_dir=off', `${BASE},redirect_dir=off`, { redirectDir: false }],
  ['redirect_dir=nofollow', `${BASE},redirect_dir=nofollow`, { redirectDir: false }],
  ['redirect_dir=on', `${BASE},redirect_dir=on`, { redirectDir: true }],
  ['xino=off', `${BASE},xino=off`, { xino: 'off' }],
  ['threaded=0 and private', `private,${BASE},threaded=0`, { lower: ['/a', '/b'] }],
  ['fsync=0', `${BASE},fsync=0`, { fsync: false }],
  ['static_nlink', `static_nlink,${BASE}`, { lower: ['/a', '/b'] }],
  ['a quoted context with commas', `context="a,b:c0,c1",${BASE}`, { lower: ['/a', '/b'], upper: '/u' }],
  ['a quoted context in the end', `${BASE},context="system_u:object_r:x:s0:c1,c2"`, { work: '/w' }],
  ['timeout', `${BASE},timeout=2.5`, { timeout: 2.5 }],
  [
    'containerd',
    'workdir=/w,upperdir=/u,lowerdir=/a:/b,dev,suid',
    { lower: ['/a', '/b'], dev: true, suid: true },
  ],
  ['nodev, nosuid, noexec', `${BASE},nodev,nosuid,noexec`, { dev: false, suid: false, exec: false }],
  ['an escaped colon', 'lowerdir=/a\\:b:/c', { lower: ['/a:b', '/c'] }],
  ['an escaped comma', 'lowerdir=/a\\,b:/c', { lower: ['/a,b', '/c'] }],
  ['escapes in upperdir', 'lowerdir=/a,upperdir=/u\\,1\\:2,workdir=/w', { upper: '/u,1:2' }],
  ['a backslash that escapes nothing', 'lowerdir=/a\\b', { lower: ['/a\\b'] }],
  ['an escaped backslash', 'lowerdir=/a\\\\:/b', { lower: ['/a\\', '/b'] }],
  ['an equals sign in a path', 'lowerdir=/a=b:/c', { lower: ['/a=b', '/c'] }],
  ['spaces in a path', 'lowerdir=/a b:/c', { lower: ['/a b', '/c'] }],
  [
    'a lower through a symbolic link and ..',
    'lowerdir=/r/l/N2YY../../diff1:/r/l/X../diff',
    { lower: ['/r/l/N2YY../../diff1', '/r/l/X../diff'] },
  ],
]

t.test('option strings as engines write them', async (t) => {
  for (const [title, text, want] of accepted) {
    const { options, warnings, mountpoint } = overlay(text)
    t.match(options, want, title)
    t.same(warnings, [], `${title}: no warning`)
    t.equal(mountpoint, '/merged')
  }
})

t.test('120 layers in one argument', async (t) => {
  const lower = Array.from(
    { length: 120 },
    (_, i) => `/var/lib/containers/storage/overlay/l/${i}AAAAAAAAAAAAAAAAAAAAA`,
  )
  t.same(overlay(`lowerdir=${lower.join(':')},`).options.lower, lower)
})

t.test('mica-overlay warns about what it does not know, and goes on', async (t) => {
  const { options, warnings } = overlay(`${BASE},frobnicate=1,volatil`)
  t.same(options.lower, ['/a', '/b'])
  t.same(warnings, ['unknown option frobnicate ignored', 'unknown option volatil ignored'])
  const flags = parseOverlayArguments(['--frobnicate', '-n', '-o', BASE, '/merged'])
  t.same(flags.warnings, ['unknown option --frobnicate ignored', 'unknown option -n ignored'])
  t.equal(flags.mountpoint, '/merged')
})

t.test('a mount helper gives a source first', async (t) => {
  const request = parseOverlayArguments(['overlay', '/merged', '-o', `${BASE},dev,suid`])
  t.equal(request.mountpoint, '/merged')
  t.same(request.options.lower, ['/a', '/b'])
})

t.test('--version asks for nothing else', async (t) => {
  t.equal(parseOverlayArguments(['--version']).instead, 'version')
  t.equal(parseMountArguments(['--help']).instead, 'help')
})

const refused: [title: string, args: string[], message: string | RegExp][] = [
  ['no mount point', ['--lower', '/a'], /^no mount point given; /],
  ['two mount points', ['--lower', '/a', '/m', '/n'], 'one mount point is enough, not also /n'],
  ['no layers', ['/m'], 'no layers given; add --lower DIR (or -o lowerdir=DIR)'],
  [
    'an upper without a workdir',
    ['--lower', '/a', '--upper', '/u', '/m'],
    /^an upper needs a workdir beside it; /,
  ],
  ['an upper alone', ['--upper', '/u', '--work', '/w', '/m'], /^an upper alone makes no union; /],
  ['an unknown flag', ['--lowr', '/a', '/m'], 'unknown option --lowr; did you mean --lower?'],
  ['an unknown flag near nothing', ['--zzzzzzzz', '/m'], 'unknown option --zzzzzzzz; see mica mount --help'],
  [
    'an unknown -o option',
    ['-o', 'lowerdri=/a', '/m'],
    "unknown option 'lowerdri' in -o; did you mean lowerdir?",
  ],
  ['a flag without its value', ['/m', '--lower'], '--lower needs a value: --lower DIR'],
  ['-o without options', ['/m', '-o'], '-o needs options after it'],
  ['an empty lowerdir', ['-o', 'lowerdir=', '/m'], 'lowerdir has an empty path in its list'],
  ['an empty path in lowerdir', ['-o', 'lowerdir=/a::/b', '/m'], 'lowerdir has an empty path in its list'],
  [
    'a mapping with a field missing',
    ['--lower', '/a', '--uidmapping', '0:1', '/m'],
    '--uidmapping=0:1 is malformed: give DISK:SHOWN:COUNT triplets, as in 0:100000:65536',
  ],
  [
    'a mapping with letters',
    ['-o', 'lowerdir=/a,uidmapping=a:b:c', '/m'],
    /^uidmapping=a:b:c is malformed: /,
  ],
  [
    'a mapping of nothing',
    ['-o', 'lowerdir=/a,gidmapping=0:0:0', '/m'],
    'gidmapping=0:0:0 has a range of no ids',
  ],
  ['a mapping too far', ['-o', 'lowerdir=/a,gidmapping=0:1:4294967295', '/m'], /goes beyond the last id/],
  [
    'a mapping twice',
    ['-o', 'lowerdir=/a,uidmapping=0:100:10:5:300:10', '/m'],
    'uidmapping maps the id 5 twice',
  ],
  [
    'a number that is none',
    ['--lower', '/a', '--workers=two', '/m'],
    '--workers=two is not a number from 0 to 256',
  ],
  [
    'a number too large',
    ['--lower', '/a', '--workers', '1000', '/m'],
    '--workers=1000 is not a number from 0 to 256',
  ],
  [
    'a negative id',
    ['-o', 'lowerdir=/a,squash_to_uid=-1', '/m'],
    /^squash_to_uid=-1 is not a number from 0 /,
  ],
  [
    'a choice that is none',
    ['--lower', '/a', '--data=fast', '/m'],
    '--data=fast is none of passthrough, cache, no-open',
  ],
  ['a flag that is neither', ['-o', 'lowerdir=/a,ro=maybe', '/m'], 'ro=maybe is neither on nor off'],
]

t.test('what mica mount refuses, in one line', async (t) => {
  for (const [title, args, message] of refused) {
    try {
      parseMountArguments(args)
      t.fail(title)
    } catch (error) {
      t.ok(error instanceof UsageError, `${title}: a usage error`)
      t.match((error as Error).message, message, title)
      t.notMatch((error as Error).message, '\n', `${title}: one line`)
    }
  }
})

t.test('flags and -o strings mean the same', async (t) => {
  const byFlags = parseMountArguments([
    ...['--lower', '/a', '--lower=/b', '--upper', '/u', '--work', '/w', '--volatile', '--no-acl'],
    ...['--uidmapping', '0:100000:65536', '--squash-to-uid=5', '--xino', '--redirect-dir=off', '/m'],
  ])
  const byString = parseMountArguments([
    '-o',
    'lowerdir=/a:/b,upperdir=/u,workdir=/w,volatile,noacl',
    '-ouidmapping=0:100000:65536,squash_to_uid=5,xino=on,redirect_dir=off',
    '/m',
  ])
  t.same(byFlags.options, byString.options)
  t.same([...byFlags.given].sort(), [...byString.given].sort())
})

t.test('a colon in --lower is part of the path', async (t) => {
  t.same(parseMountArguments(['--lower', '/a:b', '/m']).options.lower, ['/a:b'])
})

t.test('options survive the way to arguments and back', async (t) => {
  const options: MountOptions = {
    ...defaultOptions(),
    lower: ['/a:1', '/b,2'],
    upper: '/u',
    work: '-w',
    readOnly: true,
    acl: false,
    uidMapping: [
      { inside: 0, outside: 1000, count: 1 },
      { inside: 1, outside: 100000, count: 65536 },
    ],
    squashToGid: 12,
    data: 'cache',
    timeout: 0.5,
  }
  const back = parseMountArguments(formatArguments('-m', options))
  t.same(back.options, options)
  t.equal(back.mountpoint, '-m')
})

t.test('splitting keeps escapes for later', async (t) => {
  t.same(splitOptions('a,,b="1,2",c=\\,d,'), ['a', 'b="1,2"', 'c=\\,d'])
  t.same(splitOptions('a="unclosed,b'), ['a="unclosed', 'b'])
  t.same(splitPaths('/a\\:b:/c'), ['/a:b', '/c'])
})

t.test('the nearest spelling is of the same kind', async (t) => {
  t.equal(nearestSpelling('--uper'), '--upper')
  t.equal(nearestSpelling('uperdir'), 'upperdir')
  t.equal(nearestSpelling('--read-onyl'), '--read-only')
  t.equal(nearestSpelling('qqqqqqq'), undefined)
})

t.test('every option is in the help and in the man page', async (t) => {
  const help = helpText()
  const man = manPage('0.0.0')
  for (const row of ROWS) {
    const name = row.names[0]!
    t.match(
      help,
      row.kind === 'flag' && row.default === true && row.off?.[0]?.startsWith('-') ? row.off[0] : name,
    )
    t.ok(man.includes(name.replace(/-/g, '\\-')), `${name} in the man page`)
  }
  t.notOk(
    help.split('\n').some((line) => line.length > 120),
    'no line is longer than a wide terminal',
  )
})

t.test('no spelling stands for two options', async (t) => {
  const all = ROWS.flatMap((row) => [...row.names, ...(row.off ?? [])])
  t.equal(new Set(all).size, all.length)
})
