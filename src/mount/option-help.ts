// Help text and man page, both made from the option rows.

import { OPTION_ROWS, type OptionRow } from './options.js'

const ROWS: readonly OptionRow[] = OPTION_ROWS

const GROUPS = ['Layers', 'Ownership', 'Behaviour', 'Speed', 'Running'] as const

function flags(row: OptionRow): string {
  const set = row.names.filter((name) => name.startsWith('-'))
  const isOnByDefault = row.kind === 'flag' && row.default === true
  const shown = isOnByDefault ? [...(row.off ?? []).filter((name) => name.startsWith('-')), ...set] : set
  const ordered = [...shown].sort((a, b) => a.length - b.length || 0)
  const long = isOnByDefault ? shown : ordered
  const value = row.choices !== undefined ? row.choices.join('|') : row.value
  return long.join(', ') + (value === undefined ? '' : ` ${value}`)
}

function inOptionString(row: OptionRow): string {
  const names = [...row.names, ...(row.off ?? [])].filter((name) => !name.startsWith('-'))
  return names.map((name) => (row.kind === 'flag' || row.kind === 'ignored' ? name : `${name}=`)).join(', ')
}

function defaultText(row: OptionRow): string {
  if (row.kind === 'flag') return row.default === true ? ' Default: on.' : ''
  if (row.kind === 'paths' || row.kind === 'mapping' || row.default === null) return ''
  return ` Default: ${String(row.default)}.`
}

function wrap(text: string, indent: number, width: number): string {
  const lines: string[] = []
  let line = ''
  for (const word of text.split(' ')) {
    if (line !== '' && line.length + 1 + word.length > width - indent) {
      lines.push(line)
      line = word
    } else line = line === '' ? word : `${line} ${word}`
  }
  return [...lines, line].map((each) => ' '.repeat(indent) + each).join('\n')
}

const SYNOPSES = [
  'mica mount --lower DIR [--lower DIR…] [--upper DIR --work DIR] [OPTIONS] MOUNTPOINT',
  'mica mount -o lowerdir=DIR[:DIR…],upperdir=DIR,workdir=DIR[,OPTIONS] MOUNTPOINT',
  'mica mount [--root STORE] oci:DIR[:TAG] [OPTIONS] MOUNTPOINT',
  'mica mount [--root STORE] CONTAINER',
]
const FURTHER =
  'oci:DIR:TAG stands for the lowers of an image in an OCI layout. A container of the store has its own place, ' +
  'which is printed.'

/** Returns the text of `mica mount --help`. */
export function helpText(width = 96): string {
  const out = [...SYNOPSES.map((line, at) => `${at === 0 ? 'Usage:' : '      '} ${line}`), '']
  out.push(
    wrap('Merges read-only layers under a writable upper and shows the result at MOUNTPOINT.', 0, width),
    wrap(FURTHER, 0, width),
  )
  for (const group of GROUPS) {
    out.push('', `${group}:`)
    for (const row of ROWS.filter((each) => each.group === group)) {
      const inString = inOptionString(row)
      out.push(`  ${flags(row)}${inString === '' ? '' : `   (-o ${inString})`}`)
      out.push(wrap(row.help + defaultText(row), 6, width))
    }
  }
  const accepted = ROWS.filter((row) => row.kind === 'ignored').map((row) => row.name)
  out.push('', 'Accepted in -o without effect:', wrap(accepted.join(' '), 2, width))
  return `${out.join('\n')}\n`
}

function roff(text: string): string {
  return text
    .replace(/\\/g, '\\e')
    .replace(/-/g, '\\-')
    .replace(/…/g, '...')
    .replace(/^([.'])/gm, '\\&$1')
}

/** Returns the man page mica-mount(8) as roff source. */
export function manPage(version: string): string {
  const out = [`.TH MICA\\-MOUNT 8 "" "mica ${roff(version)}" "System Administration"`]
  out.push('.SH NAME', 'mica\\-mount \\- mount image layers as one file system')
  out.push('.SH SYNOPSIS', SYNOPSES.map(roff).join('\n.br\n'))
  out.push('.SH DESCRIPTION')
  out.push(
    roff(
      'Merges read-only layers under a writable upper and shows the result at MOUNTPOINT. Returns when the mount is live.',
    ),
    roff(FURTHER),
    roff('In -o strings a backslash makes a comma or colon part of a path.'),
  )
  for (const group of GROUPS) {
    out.push(`.SH ${group.toUpperCase()}`)
    for (const row of ROWS.filter((each) => each.group === group)) {
      out.push('.TP', `\\fB${roff(flags(row))}\\fR`, roff(row.help + defaultText(row)))
      const inString = inOptionString(row)
      if (inString !== '') out.push('.br', `In \\-o: \\fB${roff(inString)}\\fR`)
    }
  }
  out.push('.SH ACCEPTED WITHOUT EFFECT')
  for (const row of ROWS.filter((each) => each.kind === 'ignored')) {
    out.push('.TP', `\\fB${roff(row.name)}\\fR`, `${roff(row.help)}.`)
  }
  out.push('.SH EXIT STATUS', '0: the mount is live. 1: it could not be made. 2: wrong usage.')
  return `${out.join('\n')}\n`
}
