// What a snapshot is: one writable or finished layer in a tree of them.

export type Kind = 'view' | 'active' | 'committed'
export type Labels = Readonly<Record<string, string>>

export type Snapshot = {
  /** The name of its directory below `snapshots`; never given twice. */
  readonly id: number
  /** The key of an active one or a view, the name of a committed one; one space of names. */
  readonly name: string
  /** The parent's name, '' for a base. */
  readonly parent: string
  readonly kind: Kind
  readonly createdMs: number
  readonly updatedMs: number
  readonly labels: Labels
}

/** Bytes and inodes on disk, of the change alone. */
export type Usage = { readonly size: number; readonly inodes: number }
