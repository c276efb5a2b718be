// Checks the shared tables of a union against one another: every count, list, slot and block.
// For a union at rest: no request is under way.

import { B_FLAGS, B_NEXT, B_REFERENCES, B_USED, N_SNAPSHOT } from '../../src/union/block-chain.js'
import { D_HASH, D_LENGTH, D_NEXT, D_NODE, D_PARENT } from '../../src/union/dentry-table.js'
import type { Reals } from '../../src/union/dir-stack.js'
import {
  at,
  F_COPYING,
  F_DEAD,
  F_LIGHT,
  F_LINKED,
  F_NAMELESS,
  F_STACK,
  F_STALE,
  findLinked,
  N_BACKING,
  N_CHILDREN,
  N_DENTRY,
  N_FORWARD,
  N_INFO,
  N_INO,
  N_IO,
  N_LAYER,
  N_LINK_NEXT,
  N_LOOKUPS,
  N_OPENS,
  N_PIN,
  N_SEQ,
  T_DIR,
  T_REG,
  TYPE_MASK,
} from '../../src/union/inode-table.js'
import type { Slabs } from '../../src/union/slabs.js'
import {
  BLOCK_BYTES,
  DENTRY_WORDS,
  H_DENTRY_LIVE,
  H_LOCK,
  H_NODE_LIVE,
  H_SLOTS,
  HANDLE_WORDS,
  NODE_WORDS,
  ROOT,
  type UnionState,
} from '../../src/union/state.js'
import { Tables } from '../../src/union/tables.js'

const BLOCK_WORDS = BLOCK_BYTES >> 2

/** What the tables hold, and what is wrong with them. */
export type Findings = {
  problems: string[]
  liveNodes: number
  unknownUnits: number
  usedUnits: number
  blocks: number
}

/**
 * Checks the tables of a union. `found`: reals that a worker still owns (union.found), whose paths
 * are in the name arena without a node.
 */
export function checkTables(state: UnionState, found?: Reals): Findings {
  const checker = new Checker(state, found)
  checker.run()
  return {
    problems: checker.problems,
    liveNodes: checker.live.size,
    unknownUnits: checker.usedUnits - checker.knownUnits,
    usedUnits: checker.usedUnits,
    blocks: checker.usedBlocks,
  }
}

class Checker {
  readonly problems: string[] = []
  readonly live = new Set<number>()
  usedUnits = 0
  usedBlocks = 0
  readonly #t: Tables
  readonly #found: Reals | undefined
  /** Holders of a snapshot by its first block. */
  readonly #holders = new Map<number, number>()
  readonly #opens = new Map<number, number>()
  knownUnits = 0

  constructor(state: UnionState, found: Reals | undefined) {
    this.#t = new Tables(state)
    this.#found = found
  }

  #expect(isRight: boolean, problem: string): void {
    if (!isRight) this.problems.push(problem)
  }

  run(): void {
    const { header } = this.#t
    this.#expect(header[H_LOCK] === 0, 'the lock is held')
    this.#nodes()
    this.#dentries()
    this.#handles()
    this.#nodeStates()
    this.#links()
    this.#snapshots()
    this.#nameArena()
  }

  #freeOf(slabs: Slabs, what: string): Set<number> {
    const { free, problems } = slabs.inspect()
    this.problems.push(...problems.map((problem) => `${what}: ${problem}`))
    return free
  }

  #nodes(): void {
    const { header, nodes } = this.#t
    const { end } = this.#t.nodeSlabs
    const free = this.#freeOf(this.#t.nodeSlabs, 'nodes')
    for (let node = ROOT; node < end; node++) {
      if (nodes[at(node) + N_INFO] !== 0) this.live.add(node)
      this.#expect(
        free.has(node) === (nodes[at(node) + N_INFO] === 0),
        `node ${node} is free and live, or neither`,
      )
    }
    this.#expect(
      header[H_NODE_LIVE] === this.live.size - 1,
      `${header[H_NODE_LIVE]} live nodes counted, ${this.live.size - 1} are`,
    )
  }

  #dentries(): void {
    const { dentries, header, nodes, slots } = this.#t
    const { end } = this.#t.dentrySlabs
    const free = this.#freeOf(this.#t.dentrySlabs, 'dentries')
    const children = new Map<number, number>()
    let live = 0
    for (let dentry = 1; dentry < end; dentry++) {
      const d = dentry * DENTRY_WORDS
      const node = dentries[d + D_NODE]!
      this.#expect(free.has(dentry) === (node === 0), `dentry ${dentry} is free and live, or neither`)
      if (node === 0) continue
      live++
      const parent = dentries[d + D_PARENT]!
      this.#expect(this.live.has(node), `dentry ${dentry} names the dead node ${node}`)
      this.#expect(this.live.has(parent), `dentry ${dentry} lies in the dead node ${parent}`)
      this.#expect(
        (nodes[at(parent) + N_INFO]! & TYPE_MASK) === T_DIR,
        `dentry ${dentry} lies in no directory`,
      )
      children.set(parent, (children.get(parent) ?? 0) + 1)
      this.knownUnits += this.#t.names.unitsOf(dentries[d + D_LENGTH]! + 1)
      this.#expect(this.#isInSlots(dentry), `dentry ${dentry} is not found by its hash`)
    }
    this.#expect(
      header[H_DENTRY_LIVE] === live,
      `${header[H_DENTRY_LIVE]} live dentries counted, ${live} are`,
    )
    const used = slots.subarray(0, header[H_SLOTS]).reduce((count, slot) => count + (slot === 0 ? 0 : 1), 0)
    this.#expect(used === live, `${used} slots for ${live} dentries`)
    for (const node of this.live) this.#dentriesOf(node, children.get(node) ?? 0)
  }

  #isInSlots(dentry: number): boolean {
    const { dentries, header, slots } = this.#t
    const mask = header[H_SLOTS]! - 1
    for (
      let slot = dentries[dentry * DENTRY_WORDS + D_HASH]! & mask;
      slots[slot] !== 0;
      slot = (slot + 1) & mask
    ) {
      if (slots[slot] === dentry) return true
    }
    return false
  }

  #dentriesOf(node: number, children: number): void {
    const { dentries, nodes } = this.#t
    this.#expect(
      nodes[at(node) + N_CHILDREN] === children,
      `node ${node} counts ${nodes[at(node) + N_CHILDREN]} children, has ${children}`,
    )
    let hops = 0
    for (let dentry = nodes[at(node) + N_DENTRY]!; dentry !== 0 && hops < 1e6; hops++) {
      this.#expect(
        dentries[dentry * DENTRY_WORDS + D_NODE] === node,
        `dentry ${dentry} is not of node ${node}`,
      )
      dentry = dentries[dentry * DENTRY_WORDS + D_NEXT]!
    }
  }

  #handles(): void {
    const { handles } = this.#t
    const open = (node: number) => this.#opens.set(node, (this.#opens.get(node) ?? 0) + 1)
    for (let h = 0; h < handles.length; h += HANDLE_WORDS) if (handles[h] !== 0) open(handles[h]!)
  }

  #hold(snapshot: number): void {
    if (snapshot !== 0) this.#holders.set(snapshot, (this.#holders.get(snapshot) ?? 0) + 1)
  }

  #nodeStates(): void {
    const { nodes } = this.#t
    for (const node of this.live) {
      const n = at(node)
      const info = nodes[n + N_INFO]!
      const isDir = (info & TYPE_MASK) === T_DIR
      const opens = this.#opens.get(node) ?? 0
      this.#expect((nodes[n + N_SEQ]! & 1) === 0, `node ${node} is odd`)
      this.#expect((info & F_COPYING) === 0, `node ${node} is being copied`)
      // Light handles are in no table; the kernel reads their files through its page cache.
      const light = nodes[n + N_OPENS]! - opens
      const mayBeLight = (info & TYPE_MASK) === T_REG && (info & F_LIGHT) !== 0 && nodes[n + N_IO]! <= -light
      this.#expect(
        light === 0 || (light > 0 && mayBeLight),
        `node ${node} counts ${nodes[n + N_OPENS]} handles, has ${opens}`,
      )
      this.#expect(nodes[n + N_LOOKUPS]! >= 0, `node ${node} has ${nodes[n + N_LOOKUPS]} references`)
      const isUsed = nodes[n + N_LOOKUPS]! > 0 || nodes[n + N_CHILDREN]! > 0 || nodes[n + N_OPENS]! > 0
      this.#expect(isUsed, `nobody holds node ${node}`)
      this.#expect((info & F_DEAD) === 0 || nodes[n + N_OPENS]! > 0, `node ${node} is dead but not freed`)
      if ((info & F_STALE) !== 0)
        this.#expect(this.live.has(nodes[n + N_FORWARD]!), `node ${node} forwards to nothing`)
      else if (node !== ROOT) {
        const hasName = nodes[n + N_DENTRY] !== 0
        this.#expect(hasName === ((info & F_NAMELESS) === 0), `node ${node} has a name and has none`)
      }
      this.#expect(
        nodes[n + N_PIN] === 0 || (info & (F_NAMELESS | F_LINKED)) !== 0,
        `node ${node} is pinned and named`,
      )
      if (isDir) {
        this.#hold(nodes[n + N_SNAPSHOT]!)
        this.#table(nodes[n + N_BACKING]!)
        if ((info & F_STACK) !== 0) this.knownUnits += this.#stack(nodes[n + N_LAYER]!)
      }
    }
  }

  /** A table of lowers: first block of its snapshot, mask, slots. */
  #table(ref: number): void {
    if (ref >= 0) return
    const { words } = this.#t.names
    this.#hold(words[-ref * 2]!)
    this.knownUnits += this.#t.names.unitsOf((words[-ref * 2 + 1]! + 3) * 4)
  }

  #stack(ref: number): number {
    const { words } = this.#t.names
    const w = -ref * 2
    const count = words[w]!
    let total = this.#t.names.unitsOf(4 + 8 * count)
    for (let i = 0; i < count; i++) total += this.#path(words[w + 2 + 2 * i]!)
    return total
  }

  #path(ref: number): number {
    if (ref === 0) return 0
    const { bytes } = this.#t.names
    const start = -ref * 8
    return this.#t.names.unitsOf(bytes.indexOf(0, start) - start + 1)
  }

  #links(): void {
    const { links, nodes } = this.#t
    const linked = new Set<number>()
    for (const head of links) {
      for (let node = head; node !== 0 && linked.size < 1e6; node = nodes[at(node) + N_LINK_NEXT]!) {
        if (linked.has(node)) {
          this.problems.push(`the link table is damaged at ${node}`)
          break
        }
        linked.add(node)
      }
    }
    for (const node of linked) this.#expect(this.live.has(node), `the link table holds the dead node ${node}`)
    for (const node of this.live) {
      const isLinked = (nodes[at(node) + N_INFO]! & F_LINKED) !== 0
      this.#expect(isLinked === linked.has(node), `node ${node} is linked and is not`)
      if (!isLinked) continue
      const same = findLinked(
        this.#t,
        nodes[at(node) + N_INO]!,
        nodes[at(node) + N_INO + 1]!,
        nodes[at(node) + N_LAYER]!,
      )
      this.#expect(same === node, `node ${node} is not found by its ino`)
    }
  }

  #snapshots(): void {
    const { blocks } = this.#t
    const { end } = this.#t.blockSlabs
    const free = this.#freeOf(this.#t.blockSlabs, 'blocks')
    const used = new Set<number>()
    for (const [first, holders] of this.#holders) {
      const references = blocks[first * BLOCK_WORDS + B_REFERENCES]
      this.#expect(references === holders, `snapshot ${first} counts ${references} holders, has ${holders}`)
      for (let block = first; block !== 0; block = blocks[block * BLOCK_WORDS + B_NEXT]!) {
        if (used.has(block) || free.has(block)) {
          this.problems.push(`block ${block} is in two lists`)
          break
        }
        used.add(block)
        this.#expect(blocks[block * BLOCK_WORDS + B_USED]! <= BLOCK_BYTES, `block ${block} is overfull`)
        this.#expect(blocks[block * BLOCK_WORDS + B_FLAGS]! >> 3 === 0, `block ${block} has unknown flags`)
      }
    }
    this.usedBlocks = used.size
    this.#expect(used.size + free.size === end - 1, `${end - 1 - used.size - free.size} blocks are lost`)
  }

  /** Every unit of the arena is free, or in use by something that was counted. */
  #nameArena(): void {
    const { used, problems } = this.#t.names.slabs.inspect()
    this.problems.push(...problems.map((problem) => `names: ${problem}`))
    for (let i = 0; i < (this.#found?.count ?? 0); i++) this.knownUnits += this.#path(this.#found!.paths[i]!)
    // Unit 0 belongs to nobody.
    this.usedUnits = used - 1
  }
}

export { NODE_WORDS }
