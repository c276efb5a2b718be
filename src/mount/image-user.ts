// Who `USER` of an image is: names looked up in the image's own /etc/passwd and /etc/group. Needs
// the image to be this thread's root directory.

import { readFileSync } from 'node:fs'
import { MountError } from './errors.js'

export type ImageUser = {
  readonly uid: number
  readonly gid: number
  /** Further groups: those that list the user, as docker and login(1) have it. */
  readonly groups: readonly number[]
  readonly home: string
  readonly name: string
}

const ID_MAX = 0xfffffffe

function lines(path: string): string[][] {
  try {
    return readFileSync(path, 'utf8')
      .split('\n')
      .map((line) => line.split(':'))
  } catch {
    return []
  }
}

function parseId(text: string): number | undefined {
  return /^[0-9]{1,10}$/.test(text) && Number(text) <= ID_MAX ? Number(text) : undefined
}

/** Returns the user that `user[:group]` means; '' is root. Throws for a name that the image does not know. */
export function imageUser(text: string): ImageUser {
  const [userText = '', groupText] = text.split(':')
  const wanted = userText === '' ? '0' : userText
  const number = parseId(wanted)
  const passwd = lines('/etc/passwd')
  const entry = passwd.find(([name, , uid]) => name === wanted || (number !== undefined && uid === wanted))
  const uid = entry === undefined ? number : parseId(entry[2] ?? '')
  if (uid === undefined) throw new MountError(`the image knows no user ${wanted}`, 'EINVAL')
  return {
    uid,
    gid: groupText === undefined ? (parseId(entry?.[3] ?? '') ?? 0) : imageGroup(groupText),
    groups: groupText === undefined && entry !== undefined ? groupsOf(entry[0]!) : [],
    home: entry?.[5] || (uid === 0 ? '/root' : '/'),
    name: entry?.[0] ?? String(uid),
  }
}

function groupsOf(name: string): number[] {
  return lines('/etc/group').flatMap(([, , gid, members = '']) => {
    const number = parseId(gid ?? '')
    return number !== undefined && members.trim().split(',').includes(name) ? [number] : []
  })
}

function imageGroup(text: string): number {
  const number = parseId(text)
  if (number !== undefined) return number
  const gid = parseId(lines('/etc/group').find(([name]) => name === text)?.[2] ?? '')
  if (gid === undefined) throw new MountError(`the image knows no group ${text}`, 'EINVAL')
  return gid
}
